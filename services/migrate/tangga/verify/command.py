"""Prove every step on a scratch database: up, down and up again, with generated rows in every table before it.

A step is at fault if the schema after going down is not the one before it (leftover types, functions, triggers,
sequences, grants, lost defaults), if values change or rows go that were there before it, or if going up again fails or
gives another schema. What a step means to change it declares, with the reason, and what cannot be undone too:

    changes_data = {"posts.nama": "spaces at both ends are cut off, for good"}
    irreversible = "the old passwords are gone"

Besides: the SQL that --sql prints must build the same schema, and the models must agree with it.
"""

import json
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import pglast
from alembic.script import Script
from sqlalchemy import Connection, Engine

from tangga.catalogue import dump as schema
from tangga.causes import one_line
from tangga.drift import models as comparison
from tangga.exits import FINDINGS, Stop
from tangga.project import Project
from tangga.remedies import say
from tangga.scratch.rows import RowsRefused, generate
from tangga.scratch.server import Scratch
from tangga.scratch.snapshot import Snapshot
from tangga.words import file_name

HELP = "go up, down and up again through every step, with rows, on a scratch database"


class Timing(NamedTuple):
    """One step, and how long it took (seconds; None: it was not run)."""

    revision: str
    message: str
    up: float | None
    down: float | None


class Finding(NamedTuple):
    """One fault; `revision` and `file` are empty if it is no single step's."""

    revision: str
    file: str
    text: str


class Report(NamedTuple):
    """What was found. `overhead` is the time beyond the steps themselves, in seconds a step."""

    timings: list[Timing]
    findings: list[Finding]
    notes: list[str]
    unseen: bool  # a note says what of the models was not compared
    seconds: float
    overhead: float


def arguments(parser: ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--rows", type=int, default=100, metavar="N", help="rows in every table (default: 100)")
    parser.add_argument("--from", dest="start", metavar="REVISION", help="verify this step and those after it only")
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def run(project: Project) -> None:
    """Print how long each step took and one line per fault; raises Stop (FINDINGS) if there is any."""
    options = project.config.cmd_opts
    assert options is not None
    report = verify(project, options.rows, options.start)
    if options.json:
        page = report._asdict() | {
            "timings": [timing._asdict() for timing in report.timings],
            "findings": [finding._asdict() for finding in report.findings],
        }
        sys.stdout.write(json.dumps(page) + "\n")
    else:
        sys.stdout.write(_page(report, options.rows))
    if report.findings:
        count = len(report.findings)
        raise Stop(
            f"verify: {count} {'fault' if count == 1 else 'faults'}",
            "mend the step; what it means to change it declares as changes_data, what cannot be undone as irreversible"
            + say("more-on-proof"),
            FINDINGS,
        )


def verify(project: Project, rows: int = 100, start: str | None = None) -> Report:
    """Prove every step from `start` (default: all); see the module."""
    began = time.monotonic()
    walk = _Walk(project, Scratch(project), rows)
    steps = project.revisions()
    first = 0
    if start:
        revision = project.scripts.get_revision(start)
        assert revision is not None
        first = [step.revision for step in steps].index(revision.revision)
    walk.run(steps, first)
    seconds = time.monotonic() - began
    overhead = (seconds - walk.in_steps) / max(len(steps) - first, 1)
    return Report(walk.timings, walk.findings, walk.notes, walk.unseen, round(seconds, 2), round(overhead, 3))


def _page(report: Report, rows: int) -> str:
    width = max([len(timing.message) for timing in report.timings], default=0)
    lines = [f"{'step':12}  {'message':{width}}  {'up':>9}  {'down':>9}"]
    for timing in report.timings:
        up, down = ("not run" if value is None else f"{value:.3f} s" for value in timing[2:])
        lines.append(f"{timing.revision:12}  {timing.message:{width}}  {up:>9}  {down:>9}")
    lines += [f"note: {note}" for note in report.notes]
    for finding in report.findings:
        where = f"{finding.revision} ({finding.file}): " if finding.revision else ""
        lines.append(f"fault: {where}{finding.text}")
    lines.append(
        f"{len(report.timings)} steps with {rows} rows a table in {report.seconds:.1f} s, "
        f"{report.overhead:.2f} s a step beyond the steps themselves"
    )
    if not report.findings:
        lines.append(f"verified: up, down and up again, printed SQL{'' if report.unseen else ', models'}")
    return "".join(f"{line}\n" for line in lines)


class _Place(NamedTuple):
    """A scratch database, with a connection for the steps and one that observes."""

    engine: Engine
    connection: Connection
    observer: Connection


class _UpFailedError(Exception):
    def __init__(self, error: Exception) -> None:
        self.error = error


class _Walk:
    """The way through all steps on one scratch database, next to one that is built by the printed SQL."""

    def __init__(self, project: Project, scratch: Scratch, rows: int) -> None:
        self.timings: list[Timing] = []
        self.findings: list[Finding] = []
        self.notes: list[str] = []
        self.unseen = False
        self.in_steps = 0.0
        self._project = project
        self._scratch = scratch
        self._rows = rows

    def run(self, steps: list[Script], first: int) -> None:
        """Walk the steps from number `first`, then compare with the way straight up."""
        schemas: dict[str, dict[str, str]] = {}  # after the first way up
        with ExitStack() as databases:
            place = databases.enter_context(self._database(steps[:first]))
            before = self._objects(place)
            for number, step in enumerate(steps[first:], first):
                try:
                    after, whole = self._step(place, step, before)
                except _UpFailedError as failure:
                    self._found(step, f"up fails: {one_line(failure.error)}; the steps after it were not tried")
                    return
                schemas[step.revision] = before = after
                if not whole:
                    databases.close()
                    place = databases.enter_context(self._database(steps[: number + 1]))
            self._compare_with_printed(steps, first, self._objects(place), schemas)
            compared, note = comparison.compare(
                place.connection, lambda: self._scratch.dump(place.engine), self._project.metadata
            )
            self.unseen = note is not None
            self.notes += [note] if note else []
            for line in compared:
                self._found(None, f"models: {line}")
            for name, definition in schema.facts(place.observer).items():
                self._found(None, f"{name}: {definition}")

    def _step(self, place: _Place, step: Script, before: dict[str, str]) -> tuple[dict[str, str], bool]:
        """Return the schema after the step, and whether the database is still fit for the next one."""
        excepted = [*getattr(step.module, "changes_data", {})]
        self._fill(place.connection)
        rows = Snapshot(place.observer)
        down = None
        try:
            up = self._timed(place, step.revision)
        except Exception as error:
            raise _UpFailedError(error) from error
        try:
            self._values(step, "up", rows.changes(excepted))
            after = self._objects(place)
            if hasattr(step.module, "irreversible"):
                self.notes.append(
                    f"{step.revision} is irreversible, so it was not taken back: {step.module.irreversible}"
                )
                return after, True
            try:
                down = self._timed(place, _below(step), down=True)
            except Exception as error:
                self._found(step, f"down fails: {one_line(error)}")
                return after, False
            for line in schema.differences(before, self._objects(place)):
                self._found(step, f"after down, {line}")
            self._values(step, "up and down", rows.changes(excepted) + rows.surplus(excepted))
            try:
                self._timed(place, step.revision)
            except Exception as error:
                self._found(step, f"up fails the second time: {one_line(error)}")
                return after, False
            self._values(step, "up, down and up", rows.changes(excepted))
            return after, True
        finally:
            self.timings.append(Timing(step.revision, step.doc, up, down))
            rows.forget()

    def _fill(self, connection: Connection) -> None:
        try:
            with connection.begin():
                generate(connection, self._rows, top_up=True)
        except RowsRefused as refused:
            note = f"not all tables have rows: {refused}"
            if note not in self.notes:
                self.notes.append(note)

    def _timed(self, place: _Place, to: str, *, down: bool = False) -> float:
        start = time.monotonic()
        try:
            (self._project.downgrade if down else self._project.upgrade)(place.connection, to)
            return time.monotonic() - start
        finally:
            # After a failure there is a transaction to be ended.
            place.connection.rollback()
            self.in_steps += time.monotonic() - start

    def _values(self, step: Script, when: str, changes: list[str]) -> None:
        known = {finding.text.partition(": ")[2] for finding in self.findings if finding.revision == step.revision}
        for line in changes:
            if line not in known:
                self._found(step, f"after {when}, values that were there before: {line}")

    def _objects(self, place: _Place) -> dict[str, str]:
        return schema.objects(self._scratch.dump(place.engine))

    @contextmanager
    def _database(self, steps: list[Script]) -> Iterator[_Place]:
        """Make a scratch database that has gone straight up these steps."""
        with self._scratch.database() as engine, engine.connect() as connection:
            observing = engine.execution_options(isolation_level="AUTOCOMMIT")
            with observing.connect() as observer:
                place = _Place(engine, connection, observer)
                for step in steps:
                    self._timed(place, step.revision)
                yield place

    def _compare_with_printed(
        self, steps: list[Script], first: int, walked: dict[str, str], schemas: dict[str, dict[str, str]]
    ) -> None:
        """Prove the second ways up and the printed SQL by one dump; find the guilty step only if they differ."""
        with self._database(steps[:first]) as place:
            printed = all(self._print_and_run(place, step) is None for step in steps[first:])
            if printed and not schema.differences(walked, self._objects(place)):
                return
        self._find_guilty(steps, first, walked, schemas)

    def _print_and_run(self, place: _Place, step: Script) -> str | None:
        """Run what --sql prints of a step, and return the error if it fails.

        A step that cannot be printed is noted, and run as usual.
        """
        try:
            printed = self._project.sql(_below(step), step.revision)
        except Exception as error:
            note = f"{step.revision} cannot be printed as SQL: {one_line(error)}"
            if note not in self.notes:
                self.notes.append(note)
            self._timed(place, step.revision)
            return None
        start = time.monotonic()
        try:
            for statement in pglast.split(printed):
                place.observer.exec_driver_sql(statement.replace("%", "%%"))
        except Exception as error:
            return one_line(error)
        finally:
            self.in_steps += time.monotonic() - start
        return None

    def _find_guilty(
        self, steps: list[Script], first: int, walked: dict[str, str], schemas: dict[str, dict[str, str]]
    ) -> None:
        """Go up once more by both ways with a dump after each step."""
        printing, walking = True, True
        with self._database(steps[:first]) as straight, self._database(steps[:first]) as printed:
            before = None
            for step in steps[first:]:
                self._timed(straight, step.revision)
                expected = self._objects(straight)
                if printing:
                    error = self._print_and_run(printed, step)
                    lines = [error] if error else schema.differences(expected, self._objects(printed))
                    for line in lines:
                        self._found(
                            step, f"the SQL that --sql prints {'fails' if error else 'does something else'}: {line}"
                        )
                    printing = not lines
                after = schemas.get(step.revision, expected)
                if walking and (lines := schema.differences(expected, after)):
                    # What it started from was the step below after its second way up.
                    for line in lines:
                        self._found(before or step, f"after the second up, {line}")
                    walking = False
                before = step
            if walking:
                for line in schema.differences(expected, walked):
                    self._found(before, f"after the second up, {line}")

    def _found(self, step: Script | None, text: str) -> None:
        if step is None:
            self.findings.append(Finding("", "", text))
        else:
            self.findings.append(Finding(step.revision, file_name(step.path), text))


def _below(step: Script) -> str:
    down = step.down_revision
    return "base" if not down else down if isinstance(down, str) else next(iter(down))
