"""The way through all steps on one scratch database: up, down and up again, with rows in every table before each."""

import time
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
from tangga.verify.filling import Filling, RowsNotUsableError, own_rows, refused
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


class _UpFailedError(Exception):
    def __init__(self, error: Exception) -> None:
        self.error = error


class _Before(NamedTuple):
    """What a step starts from: a database with rows, what its tables hold, and its schema."""

    place: Place
    rows: Snapshot
    schema: Objects


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
                    if place is None or own_rows(step):
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
        excepted = [*getattr(step.module, "changes_data", {})]
        place, rows, up = self._up(place, step, below)
        down = None
        try:
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
            down, whole = self._down_and_up(_Before(place, rows, before), step, excepted, doubtful)
            return place, self._places.objects(place) if whole else None
        finally:
            self.timings.append(Timing(step.revision, step.doc, up, down))

    def _up(self, place: Place, step: Script, below: list[Script]) -> tuple[Place, Snapshot, float]:
        """Go up a step with rows in all tables; where it refuses them, without them in the table that it names.

        Return the database, its rows before the step, and the seconds that it took.
        """
        without: list[str] = []
        failures: list[Exception] = []
        wrong: dict[str, str] = {}  # table -> what is wrong with any rows in it
        own = own_rows(step)
        while True:
            try:
                schema = self._filling.fill(place, step, own, without)
            except RowsNotUsableError as error:
                self.found.fault(step, f"its own rows cannot be inserted: {error}")
                own = {}
                continue
            rows = self._snapshot(place)
            try:
                up = self._places.run(place.connection, step)
            except Exception as error:
                failures.append(error)
                empty, by_any_rows = refused(error, place, schema, without, self._places.statements)
                if not empty:
                    raise _UpFailedError(failures[0]) from failures[0]
                wrong |= dict.fromkeys(empty, one_line(error)) if by_any_rows else {}
                without += empty
                place = self._new_place(below)
                continue
            for table, what in wrong.items():
                self.found.fault(step, f"up fails with any rows in {table}: {what}; it goes on without them")
            if spared := [table for table in without if table not in wrong]:
                said = [one_line(each) for each in failures]
                first = next((each for each in said if each not in wrong.values()), said[0])
                self.found.unproven(
                    f"{step.revision} refused the rows of {', '.join(spared)}, and was tried without them: {first}"
                )
            return place, rows, up

    def _down_and_up(
        self, before: _Before, step: Script, excepted: list[str], doubtful: list[str]
    ) -> tuple[float | None, bool]:
        """Return how long the way down took (None: it fails), and whether both ways succeed.

        `doubtful`: what has changed on the way up, unless it is as it was when the step is down.
        """
        place, rows, schema = before
        try:
            down = self._places.run(place.connection, step, down=True)
        except Exception as error:
            self.found.values(step, "up", doubtful)
            self.found.fault(step, f"down fails: {one_line(error)}")
            return None, False
        lost = rows.changes(excepted)
        subjects = {line.partition(": ")[0] for line in lost}
        self.found.values(step, "up", [line for line in doubtful if line.partition(": ")[0] in subjects])
        for line in differences(schema, self._places.objects(place)):
            self.found.fault(step, f"after down, {line}")
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
