"""The way through all steps on one scratch database: up, down and up again, with rows in every table before each."""

import time
from contextlib import ExitStack

from alembic.script import Script
from sqlalchemy import Connection

from tangga.catalogue.dump import differences, facts
from tangga.causes import one_line
from tangga.drift import models
from tangga.project import Project
from tangga.scratch.rows import RowsRefused, generate
from tangga.scratch.snapshot import Snapshot
from tangga.verify.model import Findings, Report, Timing
from tangga.verify.places import Place, Places, below
from tangga.verify.printed import Objects, Printed


def verify(project: Project, rows: int = 100, start: str | None = None) -> Report:
    """Prove every step from `start` (default: all), with so many rows a table; the command's page says what is proven.

    Raises what Alembic raises for a revision that is unknown, and Stop if the throwaway server fails.
    """
    began = time.monotonic()
    steps = project.revisions()
    first = 0
    if start:
        revision = project.scripts.get_revision(start)
        assert revision is not None
        first = [step.revision for step in steps].index(revision.revision)
    walk = _Walk(project, rows)
    walk.run(steps, first)
    seconds = time.monotonic() - began
    overhead = (seconds - walk.places.in_steps) / max(len(steps) - first, 1)
    found = walk.found
    return Report(walk.timings, found.faults, found.notes, walk.unseen, round(seconds, 2), round(overhead, 3))


class _UpFailedError(Exception):
    def __init__(self, error: Exception) -> None:
        self.error = error


class _Walk:
    def __init__(self, project: Project, rows: int) -> None:
        self.places = Places(project)
        self.found = Findings()
        self.timings: list[Timing] = []
        # What of the models was not compared is said by a note.
        self.unseen = False
        self._project = project
        self._rows = rows

    def run(self, steps: list[Script], first: int) -> None:
        """Walk the steps from number `first`, then compare with the way straight up, and with the models."""
        schemas: dict[str, Objects] = {}  # after the first way up
        with ExitStack() as databases:
            place = databases.enter_context(self.places.after(steps[:first]))
            before = self.places.objects(place)
            for number, step in enumerate(steps[first:], first):
                try:
                    after, whole = self._step(place, step, before)
                except _UpFailedError as failure:
                    text = f"up fails: {one_line(failure.error)}; the steps after it were not tried"
                    self.found.fault(step, text)
                    return
                schemas[step.revision] = before = after
                if not whole:
                    databases.close()
                    place = databases.enter_context(self.places.after(steps[: number + 1]))
            Printed(self.places, self.found, steps, first).compare(self.places.objects(place), schemas)
            self._look_at_the_end(place)

    def _step(self, place: Place, step: Script, before: Objects) -> tuple[Objects, bool]:
        """Return the schema after the step, and whether the database is still fit for the next one."""
        excepted = [*getattr(step.module, "changes_data", {})]
        self._fill(place.connection)
        rows = Snapshot(place.observer)
        down = None
        try:
            up = self.places.run(place, step.revision)
        except Exception as error:
            raise _UpFailedError(error) from error
        try:
            self.found.values(step, "up", rows.changes(excepted))
            after = self.places.objects(place)
            if hasattr(step.module, "irreversible"):
                self.found.note(
                    f"{step.revision} is irreversible, so it was not taken back: {step.module.irreversible}"
                )
                return after, True
            down, whole = self._down_and_up(place, step, before, rows, excepted)
            return after, whole
        finally:
            self.timings.append(Timing(step.revision, step.doc, up, down))
            rows.forget()

    def _down_and_up(
        self, place: Place, step: Script, before: Objects, rows: Snapshot, excepted: list[str]
    ) -> tuple[float | None, bool]:
        """Return how long the way down took (None: it fails), and whether both ways succeed."""
        try:
            down = self.places.run(place, below(step), down=True)
        except Exception as error:
            self.found.fault(step, f"down fails: {one_line(error)}")
            return None, False
        for line in differences(before, self.places.objects(place)):
            self.found.fault(step, f"after down, {line}")
        self.found.values(step, "up and down", rows.changes(excepted) + rows.surplus(excepted))
        try:
            self.places.run(place, step.revision)
        except Exception as error:
            self.found.fault(step, f"up fails the second time: {one_line(error)}")
            return down, False
        self.found.values(step, "up, down and up", rows.changes(excepted))
        return down, True

    def _fill(self, connection: Connection) -> None:
        try:
            with connection.begin():
                generate(connection, self._rows, top_up=True)
        except RowsRefused as refused:
            self.found.note(f"not all tables have rows: {refused}")

    def _look_at_the_end(self, place: Place) -> None:
        compared, note = models.compare(place.connection, lambda: self.places.dump(place), self._project.metadata)
        self.unseen = note is not None
        if note:
            self.found.note(note)
        for line in compared:
            self.found.fault(None, f"models: {line}")
        for name, definition in facts(place.observer).items():
            self.found.fault(None, f"{name}: {definition}")
