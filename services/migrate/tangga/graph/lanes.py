"""Where each step stands in a drawing, and the lines between them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from alembic.script import Script


class Place(NamedTuple):
    """Where a step is drawn: its lane, and the lanes that pass it, end at it (a branch) and begin at it (a merge)."""

    script: Script
    lane: int
    passing: set[int]
    ending: list[int]
    opening: list[int]


class Edge(NamedTuple):
    """From a step down to one that it stands on: (row, lane) of both, and the lane of the line between them."""

    start: tuple[int, int]
    lane: int
    end: tuple[int, int]


def lanes(scripts: Iterable[Script]) -> tuple[list[Place], list[Edge]]:
    """Return where to draw the steps, given the newest first, a row for each.

    A lane is a line that waits for the step below; a merge opens lanes, a branch point ends them.
    """
    waiting: list[str | None] = []
    started: dict[int, tuple[int, int]] = {}
    places: list[Place] = []
    edges: list[Edge] = []
    for row, script in enumerate(scripts):
        arriving = [lane for lane, revision in enumerate(waiting) if revision == script.revision]
        lane, *ending = arriving or [_free(waiting)]
        edges += [Edge(started.pop(each), each, (row, lane)) for each in arriving]
        for each in arriving:
            waiting[each] = None
        passing = {each for each, revision in enumerate(waiting) if revision}
        opening: list[int] = []
        for down in script._versioned_down_revisions:
            free = lane if waiting[lane] is None else _free(waiting, besides=ending)
            waiting[free], started[free] = down, (row, lane)
            opening += [free] if free != lane else []
        places.append(Place(script, lane, passing, ending, opening))
    return places, edges


def _free(waiting: list[str | None], besides: Sequence[int] = ()) -> int:
    for lane, revision in enumerate(waiting):
        if revision is None and lane not in besides:
            return lane
    waiting.append(None)
    return len(waiting) - 1
