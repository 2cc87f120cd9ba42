"""The way through all steps on one scratch database: up, down and up again, with rows in every table before each."""

import textwrap
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from typing import NamedTuple

from alembic.script import Script

from tangga.catalogue.dump import differences, facts
from tangga.causes import one_line
from tangga.drift import models
from tangga.drift.comparison import NO_MODELS, without_models
from tangga.exits import UNKNOWN_REVISION, Stop
from tangga.project import Project
from tangga.scratch.snapshot import Snapshot
from tangga.verify import besides
from tangga.verify.declared import declared
from tangga.verify.filling import Filling, RowsNotUsableError, refused
from tangga.verify.model import Findings, Report, Timing
from tangga.verify.places import Place, Places
from tangga.verify.printed import Objects, Printed


def verify(project: Project, rows: int = 100, start: str | None = None, to: str | None = None) -> Report:
    """Prove the steps from `start` up to `to` (default: all), with so many rows a table.

    The command's page says what is proven. Raises what Alembic raises for a revision that is unknown, and Stop if the
    throwaway server fails.
    """
    began = time.monotonic()
    every = project.revisions()
    steps = project.pending((), to) if to else every
    first = 0
    if start:
        revision = project.scripts.get_revision(start)
        names = [step.revision for step in steps]
        if revision is None or revision.revision not in names:
            raise Stop(
                f"{start} is not below {to or 'a head'}, so there is nothing from there up to it",
                "name two steps of which one is above the other", UNKNOWN_REVISION,
            )  # fmt: skip
        first = names.index(revision.revision)
    with Places(project) as places:
        walk = _Walk(project, places, rows, whole=len(steps) == len(every))
        walk.run(steps, first)
    seconds = time.monotonic() - began
    overhead = (seconds - places.in_steps) / max(len(steps) - first, 1)
    return walk.found.report(walk.timings, len(every), round(seconds, 2), round(overhead, 3))


# Characters of a statement that is named.
_LONG = 100


class _UpFailedError(Exception):
    def __init__(self, error: Exception) -> None:
        self.error = error


class _Before(NamedTuple):
    """What a step starts from: a database with rows, what its tables hold, its schema, and what neither shows."""

    place: Place
    rows: Snapshot
    schema: Objects
    states: dict[str, str]
    settings: list[str]

    def worse(self, excepted: Collection[str]) -> list[str]:
        """Return what is wrong now with what was there and right before; `excepted`: "table" or "table.column"."""
        return [
            f"{name}: {wrong}"
            for name, wrong in besides.states(self.place.observer).items()
            if wrong
            and not {name.rpartition(" ")[2], name.rpartition(".")[0]} & {*excepted}
            and (self.states[name] == "" if name in self.states else self.rows.holds(name))
        ]


class _Walk:
    def __init__(self, project: Project, places: Places, rows: int, *, whole: bool) -> None:
        self.found = Findings()
        self.timings: list[Timing] = []
        self._places = places
        self._project = project
        self._filling = Filling(rows)
        # The walk ends where the models may be compared.
        self._whole = whole
        self._databases = ExitStack()
        # Of the database that is walked on.
        self._rows: Snapshot | None = None

    def run(self, steps: list[Script], first: int) -> None:
        """Walk the steps from number `first`, then compare with the way straight up, and with the models."""
        schemas: dict[str, Objects] = {}  # after the second way up
        with self._databases:
            place: Place | None = None
            before: Objects = {}
            for number, step in enumerate(steps[first:], first):
                below = steps[:number]
                try:
                    if place is None or declared(step).rows:
                        place = self._new_place(below)
                    before = before or self._places.objects(place)
                    place, after = self._step(place, step, below, before)
                except _UpFailedError as failure:
                    text = f"up fails: {one_line(failure.error)}; the steps after it were not tried"
                    self.found.fault(step, text)
                    break
                before = after or {}
                if after is None:
                    place = None
                else:
                    schemas[step.revision] = after
            else:
                place = place or self._new_place(steps)
                Printed(self._places, self.found, steps, first).compare(self._places.objects(place), schemas)
                self._look_at_the_end(place)
        for line in self._filling.unproven():
            self.found.unproven(line)

    def _new_place(self, steps: list[Script]) -> Place:
        self._databases.close()
        self._rows = None
        return self._databases.enter_context(self._places.after(steps))

    def _snapshot(self, place: Place) -> Snapshot:
        if self._rows:
            self._rows.again()
        else:
            self._rows = Snapshot(place.observer)
        return self._rows

    def _step(self, place: Place, step: Script, below: list[Script], before: Objects) -> tuple[Place, Objects | None]:
        """Return the database, and its schema after all ways; None if it is not fit for the next step."""
        said = declared(step)
        excepted = [*said.changes]
        for wrong in said.wrong:
            self.found.fault(step, wrong)
        was, up = self._up(place, step, below, before)
        place, rows = was.place, was.rows
        down = None
        try:
            self._say_more(step, was, excepted)
            irreversible = getattr(step.module, "irreversible", None)
            changed = rows.changes(excepted)
            # The same value of another type may be printed otherwise: the way back shows whether anything was lost.
            sure = rows.changes(excepted, retyped=False) if changed and not irreversible else changed
            self.found.values(step, "up", sure)
            if irreversible:
                self.found.note(
                    f"{step.revision} is irreversible, so it was not taken back: {step.module.irreversible}"
                )
                return place, self._places.objects(place)
            doubtful = [line for line in changed if line not in sure]
            down, whole = self._down_and_up(was, step, excepted, doubtful)
            return place, self._places.objects(place) if whole else None
        finally:
            self.timings.append(Timing(step.revision, step.doc, up, down))

    def _say_more(self, step: Script, was: _Before, excepted: Collection[str]) -> None:
        """Say what the way that was just taken has left worse, and what it has not shown."""
        for line in was.worse(excepted):
            self.found.fault(step, line)
        for statement in self._places.heard.met_nothing():
            shown = textwrap.shorten(statement, _LONG, placeholder="…")
            self.found.unproven(f"{step.revision} met no row with: {shown}")

    def _up(self, place: Place, step: Script, below: list[Script], schema: Objects) -> tuple[_Before, float]:
        """Go up a step with rows in all tables; where it refuses them, with plain ones in the table that it names, and
        where it refuses those too, without any.

        Return what the step started from, and the seconds that it took; `schema` is the one before it.
        """
        # Table -> why it has no rows, or plain ones; wrong: what is wrong with any rows in it.
        without: dict[str, str] = {}
        plain: dict[str, str] = {}
        wrong: dict[str, str] = {}
        first: Exception | None = None
        own = declared(step).rows
        while True:
            try:
                tables = self._filling.fill(place, step, own, without, plain)
            except RowsNotUsableError as error:
                self.found.fault(step, f"its own rows cannot be inserted: {error}")
                own = {}
                continue
            states, settings = besides.states(place.observer), besides.settings(place.observer)
            was = _Before(place, self._snapshot(place), schema, states, settings)
            try:
                up = self._places.run(place.connection, step)
            except Exception as error:
                first = first or error
                about, by_any_rows = refused(error, place, tables, without, self._places.heard.statements)
                if not about:
                    raise _UpFailedError(first) from first
                odd = [] if by_any_rows else [table for table in about if table not in plain]
                plain |= dict.fromkeys(odd, one_line(error))
                without |= {table: one_line(error) for table in about if table not in odd}
                wrong |= {table: without[table] for table in about if by_any_rows}
                place = self._new_place(below)
                continue
            self._say_refused(step, plain, without, wrong)
            return was, up

    def _say_refused(
        self, step: Script, plain: Mapping[str, str], without: Mapping[str, str], wrong: Mapping[str, str]
    ) -> None:
        for table, what in wrong.items():
            self.found.fault(step, f"up fails with any rows in {table}: {what}; it goes on without them")
        spared = {table: why for table, why in without.items() if table not in wrong}
        kept = {table: why for table, why in plain.items() if table not in without}
        for tables, refused_rows, tried in (
            (spared, "the rows of", "without them"),
            (kept, "some of the rows of", "with plainer ones"),
        ):
            if tables:
                why = next(iter(tables.values()))
                self.found.unproven(
                    f"{step.revision} refused {refused_rows} {', '.join(tables)}, and was tried {tried}: {why}"
                )

    def _down_and_up(
        self, before: _Before, step: Script, excepted: list[str], doubtful: list[str]
    ) -> tuple[float | None, bool]:
        """Return how long the way down took (None: it fails), and whether both ways succeed.

        `doubtful`: what has changed on the way up, unless it is as it was when the step is down.
        """
        place, rows, schema = before.place, before.rows, before.schema
        try:
            down = self._places.run(place.connection, step, down=True)
        except Exception as error:
            self.found.values(step, "up", doubtful)
            self.found.fault(step, f"down fails: {one_line(error)}")
            return None, False
        lost = rows.changes(excepted)
        subjects = {line.partition(": ")[0] for line in lost}
        self.found.values(step, "up", [line for line in doubtful if line.partition(": ")[0] in subjects])
        self._say_more(step, before, excepted)
        for line in differences(schema, self._places.objects(place)):
            self.found.fault(step, f"after down, {line}")
        for line in sorted({*before.settings} ^ {*besides.settings(place.observer)}):
            where = "missing" if line in before.settings else "extra"
            self.found.fault(step, f"after down, setting of the database {line}: {where}")
        self.found.values(step, "up and down", lost + rows.surplus(excepted))
        try:
            self._places.run(place.connection, step)
        except Exception as error:
            self.found.fault(step, f"up fails the second time: {one_line(error)}")
            return down, False
        self.found.values(step, "up, down and up", rows.changes(excepted, retyped=False))
        return down, True

    def _look_at_the_end(self, place: Place) -> None:
        if not self._project.metadata:
            self.found.note(NO_MODELS)
        elif self._whole:
            project = self._project
            compared, note = models.compare(
                place.connection, lambda: self._places.dump(place), project.metadata, project.told
            )
            for line in compared:
                self.found.fault(None, f"models: {' '.join(line.split())}")
            if note:
                self.found.unproven(note)
            else:
                self.found.models = True
            for line in without_models(place.connection, self._project.metadata):
                self.found.note(line)
        for name, definition in facts(place.observer).items():
            self.found.fault(None, f"{name}: {definition}")
