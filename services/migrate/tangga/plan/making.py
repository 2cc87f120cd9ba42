"""Make a plan: what is pending, tried out on a scratch copy, and what the live database says; that is only read."""

from collections.abc import Sequence

from alembic.script import Script
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from tangga import connect, lint
from tangga.catalogue.ours import OF_THE_APPLICATION, THE_MIGRATORS, title
from tangga.connect import LOCK_NOT_AVAILABLE, sqlstate
from tangga.exits import TABLE_LOCK_NOT_OBTAINED, Stop
from tangga.plan.assertions import ask
from tangga.plan.model import Plan, Size
from tangga.plan.trial import try_out
from tangga.project import Project, applied
from tangga.settings import Settings, bounds

_SIZES = text(f"""
    SELECT nspname, c.relname, format('%I.%I', nspname, c.relname) AS sql, relkind <> 'm' AND NOT relispartition AS own,
           greatest(reltuples, n_live_tup, 0)::int8 AS rows, pg_total_relation_size(c.oid) AS bytes,
           (relrowsecurity AND (relforcerowsecurity OR NOT pg_has_role(relowner, 'USAGE'))
            AND NOT EXISTS (SELECT FROM pg_roles WHERE rolname = current_user AND (rolbypassrls OR rolsuper))) AS hidden
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
    LEFT JOIN pg_stat_all_tables AS s ON s.relid = c.oid
    WHERE relkind IN ('r', 'p', 'm') AND {OF_THE_APPLICATION} AND has_table_privilege(c.oid, 'SELECT')
      AND NOT {THE_MIGRATORS}
""")  # noqa: S608 - a condition of ours.py


def make(project: Project, to: str = "head", *, seconds: int = 60) -> Plan:
    """Try out on a scratch copy what is pending up to `to`, and ask the live database what has to be asked.

    A question may take `seconds`. Raises what Alembic raises for a revision that is unknown, and DBAPIError if a
    database cannot be reached; a step that fails is part of the plan.
    """
    settings = project.settings
    with read_only(settings, seconds).connect() as live:
        at = applied(live)
        # Just as `upgrade` computes it, refusals included.
        pending = [step.revision for step in project.scripts._upgrade_revs(to, at)]  # type: ignore[arg-type]
        sizes, filled = _tables(live, settings) if pending else ({}, [])
    attempt = try_out(project, pending, filled)
    with read_only(settings, seconds).connect() as live:
        for asked in attempt.questions:
            asked.step.assertions.append(ask(live, asked.question, asked.changed, asked.grown))
    findings = lint.findings(project, [script.revision for script in pending]) if pending else ()
    for finding in findings:
        for step in attempt.steps:
            if step.revision == finding.revision:
                step.findings.append(finding.plain())
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


def _heads(scripts: Sequence[Script]) -> list[str]:
    below = {revision for script in scripts for revision in script._all_down_revisions}
    return [script.revision for script in scripts if script.revision not in below]


def read_only(settings: Settings, seconds: int) -> Engine:
    """Return an engine that cannot write to the live database, and lets a question take so many seconds."""
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


def _tables(live: Connection, settings: Settings) -> tuple[dict[str, Size], list[str]]:
    """Return the size of each live table, and which are not empty; raises Stop if one cannot be read at all."""
    sizes, filled = {}, []
    try:
        for row in live.execute(_SIZES).all():
            name = title(row.nspname, row.relname)
            sizes[name] = Size(row.rows, row.bytes)
            # A partition is its table's, and a view is filled by others.
            if not row.own:
                continue
            if row.hidden:
                holds = row.bytes > 0
            else:
                holds = live.exec_driver_sql(f"SELECT EXISTS (SELECT FROM {row.sql})").scalar_one()  # noqa: S608 - quoted
            filled += [name] if holds else []
    except DBAPIError as error:
        if sqlstate(error) != LOCK_NOT_AVAILABLE:
            raise
        raise Stop(
            f"a table of database {settings.database} cannot even be read: {str(error.orig).strip()}",
            "wait for whoever holds it (ACCESS EXCLUSIVE, see pg_locks), then again",
            TABLE_LOCK_NOT_OBTAINED,
        ) from error
    return sizes, filled
