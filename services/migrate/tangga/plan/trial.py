"""The pending steps, tried out on a scratch copy of the live database's schema, with a few rows."""

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from alembic.script import Script
from sqlalchemy import Connection, Engine

from tangga.catalogue import model
from tangga.catalogue.model import Schema
from tangga.catalogue.ours import title
from tangga.causes import one_line
from tangga.connect import LOCK_NOT_AVAILABLE, QUERY_CANCELED, diagnosis, is_of_integrity, sqlstate
from tangga.exits import STEP_FAILED, Stop
from tangga.failures import explain
from tangga.plan.assertions import Question
from tangga.plan.besides import besides
from tangga.plan.demands import demands
from tangga.plan.model import Statement, Step
from tangga.plan.recording import Recorder
from tangga.plan.steps import losses, step_of
from tangga.project import Project
from tangga.scratch.rows import generate
from tangga.scratch.server import Scratch

# For each table that has rows in the live database: enough for each branch of a step, and a scan costs nothing.
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
        table = _table(error) if error else None
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
    scratch = Scratch(project)
    with scratch.copy_of_live() as engine, _autocommit(engine) as observer:
        recorder = Recorder(engine, observer, project.settings.statement_timeout)
        with scratch.seeing_all(engine).begin() as filling:
            wanted = [table for table in filled if table not in empty]
            # Not what verify looks for, values that a step might cut: what a step refuses here would end the plan.
            attempt.without_rows |= generate(filling, _ROWS, wanted, odd=False).empty
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
        with _bounded(script):
            with besides(script) as also, self._recorder.step() as statements:
                try:
                    self._project.upgrade(connection, script.revision)
                except Exception as error:
                    self._attempt.failure = error
                    # It holds locks no longer than it would in the database that it is for.
                    connection.rollback()
            self._now = model.read(self._observer)
        step = step_of(self._project, script, statements, losses(before, self._now, self._live))
        step.besides = also
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


def _broken_by_rows(failure: BaseException | None) -> BaseException | None:
    """Return the error if a step failed because rows do not meet a constraint."""
    while failure is not None:
        if is_of_integrity(failure):
            return failure
        failure = failure.__cause__ or failure.__context__
    return None


def _table(error: BaseException) -> str | None:
    said = diagnosis(error)
    return title(said.schema_name, said.table_name) if said.table_name else None


def _decides(question: Question, error: BaseException, step: Step) -> bool:
    """Tell whether the live rows can be asked just what the generated ones failed in this step."""
    assertion, said = question.assertion, diagnosis(error)
    broken = said.constraint_name
    if question.sql is None or assertion.table != _table(error):
        return False
    if assertion.demand != "not null":
        return bool(assertion.name == broken)
    if broken is None:
        return bool(assertion.name == said.column_name)
    # safe.set_not_null: a CHECK that says so, validated, and dropped again.
    says_so = re.compile(rf"{re.escape(broken)}\W.*\b{re.escape(assertion.name)}\W+IS NOT NULL", re.DOTALL)
    return any(says_so.search(statement.sql) for statement in step.statements)


@contextmanager
def _bounded(script: Script) -> Iterator[None]:
    """Say what it means that a look at the copy has to wait: nobody but the steps works there."""
    try:
        yield
    except Exception as error:
        if sqlstate(error) not in (LOCK_NOT_AVAILABLE, QUERY_CANCELED):
            raise
        raise Stop(
            f"what step {script.revision} ({script.doc}) does cannot be looked at: it, or a step before it, has left "
            f"a transaction open that holds locks ({one_line(error)})",
            "see whether it opens a connection of its own and does not close it; the step's own is op.get_bind()",
            STEP_FAILED,
        ) from error


@contextmanager
def _autocommit(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as connection:
        yield connection.execution_options(isolation_level="AUTOCOMMIT")
