"""The pending steps, tried out on a scratch copy of the live database's schema, with a few rows."""

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from alembic.script import Script
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from tangga.catalogue import model
from tangga.catalogue.model import Schema
from tangga.catalogue.ours import OURS
from tangga.connect import diagnosis, is_of_integrity
from tangga.failures import explain
from tangga.plan.assertions import Question
from tangga.plan.demands import demands
from tangga.plan.model import Statement, Step
from tangga.plan.recording import Recorder
from tangga.plan.steps import losses, step_of
from tangga.project import Project
from tangga.scratch import rows
from tangga.scratch.server import Scratch

# Of each table that is not empty in the live database. Enough for each branch of a step; a scan of them costs nothing.
_ROWS = 20


@dataclass
class Asked:
    """A question that a step raises; in the tables `changed` and `grown`, the run changes or adds rows up to it."""

    step: Step
    question: Question
    changed: set[int]
    grown: set[int]


@dataclass
class Attempt:
    """One try on a scratch copy."""

    steps: list[Step]
    questions: list[Asked]
    failure: Exception | None
    # Tables that hold rows in the live database and none in the copy, and why.
    without_rows: dict[str, str]


def try_out(project: Project, pending: Sequence[Script], filled: Collection[str]) -> Attempt:
    """Run the pending steps on a scratch copy, with rows where the live database has some.

    Generated rows may fail what the live ones meet, or fail it for a reason of their own (a new unique index). Then the
    step is tried again without rows in that table, and the live rows decide, if they can be asked just that.
    """
    empty: dict[str, str] = {}
    failed: list[tuple[BaseException, Attempt]] = []
    while True:
        attempt = _attempt(project, pending, filled, empty)
        error = _broken_by_rows(attempt.failure)
        table = diagnosis(error).table_name if error else None
        if error is None or table is None or table in empty or table not in filled:
            break
        failed.append((error, attempt))
        empty[table] = "the generated rows do not meet what a step demands"
    for error, earlier in failed:
        if not any(_decides(asked.question, error, earlier.steps[-1]) for asked in attempt.questions):
            return earlier
    return attempt


def _attempt(project: Project, pending: Sequence[Script], filled: Collection[str], empty: dict[str, str]) -> Attempt:
    attempt = Attempt([], [], None, dict(empty))
    if not pending:
        return attempt
    with Scratch(project).copy_of_live() as engine, _autocommit(engine) as observer:
        recorder = Recorder(engine, observer)
        _fill(engine, [table for table in filled if table not in empty], attempt.without_rows)
        run = _Run(project, recorder, observer, attempt)
        with recorder.engine.connect() as connection:
            for script in pending:
                run.step(connection, script)
                if attempt.failure:
                    break
    return attempt


class _Run:
    """One way up through the pending steps."""

    def __init__(self, project: Project, recorder: Recorder, observer: Connection, attempt: Attempt) -> None:
        self._project = project
        self._recorder = recorder
        self._observer = observer
        self._attempt = attempt
        self._live = self._now = model.read(observer)
        self._changed: set[int] = set()
        self._grown: set[int] = set()

    def step(self, connection: Connection, script: Script) -> None:
        """Run one step; what comes of it is added to the attempt."""
        before = self._now
        with self._recorder.step() as statements:
            try:
                self._project.upgrade(connection, script.revision)
            except Exception as error:
                self._attempt.failure = error
        self._now = model.read(self._observer)
        step = step_of(self._project, script, statements, losses(before, self._now, self._live))
        self._attempt.steps.append(step)
        if self._attempt.failure:
            step.error = explain(self._attempt.failure, self._project).what
            return
        self._note_rows(statements, before)
        self._attempt.questions += [
            Asked(step, question, {*self._changed}, {*self._grown})
            for question in demands(self._live, before, self._now)
        ]

    def _note_rows(self, statements: Sequence[Statement], before: Schema) -> None:
        for touch in (touch for statement in statements for touch in statement.touches):
            number = before.number(touch.table) or self._now.number(touch.table)
            if number and {"change", "truncate"} & {*touch.work}:
                self._changed.add(number)
            if number and "insert" in touch.work:
                self._grown.add(number)


def _fill(engine: Engine, tables: Collection[str], without_rows: dict[str, str]) -> None:
    """Generate rows; a table that takes none is noted."""
    with engine.begin() as connection:
        left = {table: "" for table in tables if table not in OURS}
        while left:
            refused: dict[str, str] = {}
            # All at once, parents first; only if that is refused, table by table, as far as it goes.
            for group in ([*left],) if not any(left.values()) else [[table] for table in left]:
                try:
                    with connection.begin_nested():
                        rows.generate(connection, _ROWS, group)
                except (rows.RowsRefused, DBAPIError) as error:
                    why = str(getattr(error, "orig", error)).strip().partition("\n")[0]
                    refused |= dict.fromkeys(group, why)
            if len(refused) == len(left) and any(left.values()):
                without_rows.update(refused)
                return
            left = refused


def _broken_by_rows(failure: BaseException | None) -> BaseException | None:
    """Return the error if a step failed because rows do not meet a constraint."""
    while failure is not None:
        if is_of_integrity(failure):
            return failure
        failure = failure.__cause__ or failure.__context__
    return None


def _decides(question: Question, error: BaseException, step: Step) -> bool:
    """Tell whether the live rows can be asked just what the generated ones failed in this step."""
    assertion, said = question.assertion, diagnosis(error)
    broken = said.constraint_name
    if question.sql is None or assertion.table != said.table_name:
        return False
    if assertion.demand != "not null":
        return bool(assertion.name == broken)
    if broken is None:
        return bool(assertion.name == said.column_name)
    # safe.set_not_null: a CHECK that says so, validated, and dropped again.
    says_so = re.compile(rf"{re.escape(broken)}\W.*\b{re.escape(assertion.name)}\W+IS NOT NULL", re.DOTALL)
    return any(says_so.search(statement.sql) for statement in step.statements)


@contextmanager
def _autocommit(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as connection:
        yield connection.execution_options(isolation_level="AUTOCOMMIT")
