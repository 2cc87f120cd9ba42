"""Where a database stands with each step, and how that looks."""

from collections.abc import Iterable
from typing import NamedTuple

from alembic.script import ScriptDirectory

from tangga.journal.history import applied_below


class Look(NamedTuple):
    """How a step is drawn: the sign and its style in a terminal, the colour in an SVG."""

    sign: str
    style: str
    colour: str


LOOKS = {
    "current": Look("◉", "bold green", "#2d9d5a"),
    "applied": Look("●", "green", "#b7e4c7"),
    "pending": Look("○", "yellow", "#ffe08a"),
}


def states(scripts: ScriptDirectory, current: Iterable[str]) -> dict[str, str]:
    """Return the state of each revision (a key of LOOKS) in a database that is at `current`."""
    at = tuple(current)
    below = applied_below(scripts, at)
    found = {script.revision: "pending" for script in scripts.walk_revisions()}
    return found | dict.fromkeys(below, "applied") | dict.fromkeys(at, "current")
