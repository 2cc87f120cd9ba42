"""Show what migrate would do now: it is tried out on a scratch copy of the live database's schema, with a few rows.

Every statement of the pending steps, the locks that PostgreSQL took for it, whether it rewrites or scans a table, how
large that is in the live database, what the linter finds, what would be lost, and whether the rows that are there meet
what the steps demand of them. The live database is only read.
"""

import argparse
import ast
import json
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from alembic.script import Script
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from tangga import connect, lint
from tangga.catalogue import model
from tangga.catalogue.model import Schema
from tangga.catalogue.ours import OURS
from tangga.connect import LOCK_NOT_AVAILABLE, diagnosis, is_of_integrity, sqlstate
from tangga.exits import FINDINGS, STEP_FAILED, TABLE_LOCK_NOT_OBTAINED, Stop
from tangga.failures import explain
from tangga.plan import assertions
from tangga.plan.assertions import Assertion, Question
from tangga.plan.demands import demands
from tangga.plan.recording import Recorder, Statement, first_word, strength
from tangga.project import Project, applied
from tangga.scratch import rows
from tangga.scratch.server import Scratch
from tangga.settings import Settings, bounds

HELP = "Show what migrate would do: statements, locks, sizes, findings."

# Of each table that is not empty in the live database. Enough for each branch of a step; a scan of them costs nothing.
_ROWS = 20
_sizes = text("""
    SELECT CASE nspname WHEN 'public' THEN c.relname ELSE nspname || '.' || c.relname END AS title,
           format('%I.%I', nspname, c.relname) AS sql,
           greatest(reltuples, n_live_tup, 0)::int8 AS rows, pg_total_relation_size(c.oid) AS bytes,
           (relrowsecurity AND (relforcerowsecurity OR NOT pg_has_role(relowner, 'USAGE'))
            AND NOT EXISTS (SELECT FROM pg_roles WHERE rolname = current_user AND (rolbypassrls OR rolsuper))) AS hidden
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
    LEFT JOIN pg_stat_all_tables AS s ON s.relid = c.oid
    WHERE relkind IN ('r', 'p', 'm') AND nspname !~ '^pg_' AND nspname <> 'information_schema'
      AND has_table_privilege(c.oid, 'SELECT')
""")


@dataclass
class Size:
    """How large a table is in the live database: rows as PostgreSQL estimates them, bytes with indexes."""

    rows: int
    bytes: int


@dataclass
class Step:
    """A pending revision, and what it did on the scratch copy."""

    revision: str
    message: str
    file: str
    reversible: bool
    # Why it cannot be undone, in the revision's own words.
    irreversible: str | None
    destructive: bool
    losses: list[str]
    statements: list[Statement]
    findings: list[dict[str, Any]] = field(default_factory=list)
    assertions: list[Assertion] = field(default_factory=list)
    error: str | None = None


@dataclass
class Plan:
    """What migrate would do."""

    database: str
    applied: list[str]
    to: list[str]
    steps: list[Step]
    # Revisions after one that failed.
    not_tried: list[str]
    # The live tables that are touched.
    tables: dict[str, Size]
    # Tables that hold rows in the live database and none in the copy, and why.
    without_rows: dict[str, str]

    @property
    def failed(self) -> Step | None:
        """The step that failed on the scratch copy."""
        return next((step for step in self.steps if step.error), None)

    def with_outcome(self, outcome: str) -> list[Assertion]:
        """Return the assertions that came out so."""
        return [assertion for step in self.steps for assertion in step.assertions if assertion.outcome == outcome]


@dataclass
class _Attempt:
    """One try on a scratch copy."""

    steps: list[Step]
    questions: list[tuple[Step, Question, set[int], set[int]]]
    failure: Exception | None
    without_rows: dict[str, str]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("to", nargs="?", default="head", help="the revision to go up to (default: head)")
    parser.add_argument("--json", action="store_true", help="one document with everything, for programs")
    parser.add_argument(
        "--seconds", type=int, default=60, help="how long a question to the live database may take (default: 60)"
    )


def run(project: Project) -> None:
    """Print the plan; raises Stop if a step fails, or the live rows do not meet what a step demands."""
    options = project.config.cmd_opts
    assert options is not None
    # What a step prints is not part of the document.
    with redirect_stdout(sys.stderr):
        plan = make(project, options.to, seconds=options.seconds)
    if options.json:
        sys.stdout.write(json.dumps(as_document(plan), indent=2) + "\n")
    else:
        from tangga.plan import view as plan_table

        plan_table.show(plan)
    verdict(plan)


def verdict(plan: Plan) -> None:
    """Raise Stop if this plan must not be carried out."""
    if step := plan.failed:
        assert step.error is not None
        raise Stop(
            f"on the scratch copy, {step.error}",
            "mend the step; the live database is as it was",
            STEP_FAILED,
        )
    if violated := plan.with_outcome(assertions.VIOLATED):
        names = ", ".join(f"{each.demand} {each.name} on {each.table}" for each in violated)
        raise Stop(
            f"the rows of the live database do not meet {names}",
            "mend them first, by a step of its own that comes before; the counts are above",
            FINDINGS,
        )


def make(project: Project, to: str = "head", *, seconds: int = 60) -> Plan:
    """Try out on a scratch copy what is pending up to `to`, and ask the live database what has to be asked.

    A question may take `seconds`. Raises what Alembic raises for a revision that is unknown, and DBAPIError if a
    database cannot be reached; a step that fails is part of the plan.
    """
    settings = project.settings
    with _read_only(settings, seconds).connect() as live:
        at = applied(live)
        # Just as `upgrade` computes it, refusals included.
        pending = [step.revision for step in project.scripts._upgrade_revs(to, at)]  # type: ignore[arg-type]
        try:
            sizes, filled = _tables(live) if pending else ({}, [])
        except DBAPIError as error:
            if sqlstate(error) != LOCK_NOT_AVAILABLE:
                raise
            raise Stop(
                f"a table of database {settings.database} cannot even be read: {str(error.orig).strip()}",
                "wait for whoever holds it (ACCESS EXCLUSIVE, see pg_locks), then again",
                TABLE_LOCK_NOT_OBTAINED,
            ) from error
    attempt = _try_out(project, pending, filled)
    with _read_only(settings, seconds).connect() as live:
        for step, question, changed, grown in attempt.questions:
            step.assertions.append(assertions.ask(live, question, changed, grown))
    for finding in lint.findings(project, [script.revision for script in pending]) if pending else ():
        for step in attempt.steps:
            if step.revision == finding.revision:
                step.findings.append(finding._asdict())
    touched = {touch.table for step in attempt.steps for statement in step.statements for touch in statement.touches}
    return Plan(
        database=f"{settings.database} at {settings.address}",
        applied=[*at],
        to=_heads(pending) or [*at],
        steps=attempt.steps,
        not_tried=[script.revision for script in pending[len(attempt.steps) :]],
        tables={title: size for title, size in sizes.items() if title in touched},
        without_rows=attempt.without_rows,
    )


def as_document(plan: Plan) -> dict[str, Any]:
    """Return everything as JSON's types."""
    strongest = strongest_lock(plan)
    return asdict(plan) | {
        "summary": {
            "steps": len(plan.steps) + len(plan.not_tried),
            "strongest_lock": strongest and {"mode": strongest[0], "table": strongest[1]},
            "findings": sum(finding["exception"] is None for step in plan.steps for finding in step.findings),
            "exceptions": sum(finding["exception"] is not None for step in plan.steps for finding in step.findings),
            "destructive": [step.revision for step in plan.steps if step.destructive],
            "irreversible": [step.revision for step in plan.steps if not step.reversible],
            "assertions": {
                outcome: len(plan.with_outcome(outcome))
                for outcome in (
                    assertions.HOLDS, assertions.VIOLATED, assertions.OPEN, assertions.UNANSWERED, assertions.NOT_ASKED
                )
            },
            "failed": plan.failed.revision if plan.failed else None,
        }
    }  # fmt: skip


def strongest_lock(plan: Plan) -> tuple[str, str] | None:
    """Return the strongest lock on a table of the live database, and which (of several, the largest); None if none."""
    found = [
        (strength((touch.lock,)), plan.tables[touch.table].bytes, touch.lock, touch.table)
        for step in plan.steps
        for statement in step.statements
        for touch in statement.touches
        if not touch.new and touch.table in plan.tables
    ]
    return max(found)[2:] if found else None


def _heads(scripts: Sequence[Script]) -> list[str]:
    below = {revision for script in scripts for revision in script._all_down_revisions}
    return [script.revision for script in scripts if script.revision not in below]


def _read_only(settings: Settings, seconds: int) -> Engine:
    options = {
        "default_transaction_read_only": "on",
        # A policy (FORCE ROW LEVEL SECURITY) would hide rows from the questions, not from the steps: rather no answer.
        "row_security": "off",
        "statement_timeout": f"{seconds}s",
        **bounds({"lock_timeout": settings.lock_timeout}),
        "client_connection_check_interval": "1s",
    }
    # No long transaction: it would keep VACUUM from cleaning up.
    return connect.engine(settings.url, "plan", autocommit=True, session=options)


def _tables(live: Connection) -> tuple[dict[str, Size], list[str]]:
    """Return the size of each live table, and which are not empty."""
    sizes, filled = {}, []
    for row in live.execute(_sizes).all():
        sizes[row.title] = Size(row.rows, row.bytes)
        if row.hidden:
            if row.bytes:
                filled.append(row.title)
        elif live.exec_driver_sql(f"SELECT EXISTS (SELECT FROM {row.sql})").scalar_one():  # noqa: S608 - quoted
            filled.append(row.title)
    return sizes, filled


def _try_out(project: Project, pending: Sequence[Script], filled: Collection[str]) -> _Attempt:
    """Run the pending steps on a scratch copy, with rows where the live database has some.

    Generated rows may fail what the live ones meet, or fail it for a reason of their own (a new unique index). Then the
    step is tried again without rows in that table, and the live rows decide, if they can be asked just that.
    """
    empty: dict[str, str] = {}
    failed: list[tuple[BaseException, _Attempt]] = []
    while True:
        attempt = _attempt(project, pending, filled, empty)
        error = _broken_by_rows(attempt.failure)
        table = diagnosis(error).table_name if error else None
        if error is None or table is None or table in empty or table not in filled:
            break
        failed.append((error, attempt))
        empty[table] = "the generated rows do not meet what a step demands"
    for error, earlier in failed:
        if not any(_decides(question, error, earlier.steps[-1]) for _, question, *_ in attempt.questions):
            return earlier
    return attempt


def _attempt(project: Project, pending: Sequence[Script], filled: Collection[str], empty: dict[str, str]) -> _Attempt:
    attempt = _Attempt([], [], None, dict(empty))
    if not pending:
        return attempt
    with Scratch(project).copy_of_live() as engine, _autocommit(engine) as observer:
        recorder = Recorder(engine, observer)
        _fill(engine, [table for table in filled if table not in empty], attempt.without_rows)
        live = now = model.read(observer)
        changed: set[int] = set()
        grown: set[int] = set()
        with recorder.engine.connect() as connection:
            for script in pending:
                before = now
                with recorder.step() as statements:
                    try:
                        project.upgrade(connection, script.revision)
                    except Exception as error:
                        attempt.failure = error
                now = model.read(observer)
                step = _step(project, script, statements, _losses(before, now, live))
                attempt.steps.append(step)
                if attempt.failure:
                    step.error = explain(attempt.failure, project).what
                    break
                for statement in statements:
                    for touch in statement.touches:
                        number = before.number(touch.table) or now.number(touch.table)
                        if number and {"change", "truncate"} & {*touch.work}:
                            changed.add(number)
                        if number and "insert" in touch.work:
                            grown.add(number)
                attempt.questions += [
                    (step, question, set(changed), set(grown)) for question in demands(live, before, now)
                ]
    return attempt


def _losses(before: Schema, after: Schema, live: Schema) -> list[str]:
    """Name the tables and columns of the live database that are there before, and gone afterwards."""
    tables = [
        f"table {table.title}" for oid, table in before.tables.items() if oid in live.tables and oid not in after.tables
    ]
    columns = [
        f"column {table.title}.{column.name}"
        for oid, table in before.tables.items()
        if oid in after.tables
        for number, column in table.columns.items()
        if live.column(oid, number) and not after.column(oid, number)
    ]
    return sorted(tables) + sorted(columns)


def _step(project: Project, script: Script, statements: list[Statement], gone: list[str]) -> Step:
    overwritten = []
    for statement in statements:
        for touch in statement.touches:
            if not touch.new and {"change", "truncate"} & {*touch.work}:
                word = "TRUNCATE" if "truncate" in touch.work else first_word(statement.sql)
                overwritten.append(f"rows of {touch.table} ({word})")
    losses = gone + list(dict.fromkeys(overwritten))
    why = _why_irreversible(script)
    return Step(
        revision=script.revision,
        message=script.doc,
        file=project.file_of(script),
        reversible=why is None,
        irreversible=why,
        destructive=bool(losses),
        losses=losses,
        statements=statements,
    )


def _why_irreversible(script: Script) -> str | None:
    """Return why a step cannot be undone, None if it can: as it declares, or because `downgrade` does nothing."""
    if declared := getattr(script.module, "irreversible", None):
        return str(declared)
    functions = {
        node.name: [line for line in node.body if not _is_doc(line)]
        for node in ast.parse(Path(script.path).read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    up, down = (functions.get(name, []) for name in ("upgrade", "downgrade"))
    does_nothing = all(isinstance(line, ast.Pass) for line in down)
    if does_nothing and not all(isinstance(line, ast.Pass) for line in up):
        return "downgrade does nothing"
    return "downgrade raises" if down and isinstance(down[0], ast.Raise) else None


def _is_doc(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)


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
