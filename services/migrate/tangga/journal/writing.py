"""What was done to the schema, when, how long it took and by which version: the table migration_log.

A row is written in the step's own transaction, so it is there exactly if the step is. A step that failed leaves one
too, written afterwards. The app can read the table (default privileges), not write it (tables.py).
"""

import functools
import hashlib
import logging
import re
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo, RevisionStep
from alembic.script import Script
from sqlalchemy import Connection, event, text
from sqlalchemy.dialects.postgresql import psycopg2
from sqlalchemy.exc import DBAPIError

from tangga.catalogue import ours
from tangga.journal import tables
from tangga.settings import Settings

logger = logging.getLogger("tangga.journal")

_INSERT = """
INSERT INTO {log}
    (revision, direction, outcome, started_at, seconds, checksum, image_version, error, breaking)
VALUES (:revision, :direction, :outcome, clock_timestamp() - :seconds * interval '1 second', :seconds, :checksum,
        :version, :error, :breaking)
"""
# A step's attribute: the reason why the release that still runs cannot work with it.
BREAKS: Final = "breaks_previous_release"
_OF_A_STEP = re.compile(r"(?:INSERT INTO|UPDATE|DELETE FROM) (\S+) ")


@functools.cache
def _compiled(log: str) -> str:
    """Return the statement as the driver takes it; once, for hundreds of steps in a row should not notice."""
    return str(text(_INSERT.format(log=log)).compile(dialect=psycopg2.dialect()))  # type: ignore[no-untyped-call]


class Running(Protocol):
    """The step that runs now, and since when (monotonic)."""

    current: RevisionStep | None
    started: float
    settings: Settings


def checksum(file: str | Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with open(file, "rb") as content:  # noqa: PTH123 - hundreds of steps in a row should not notice
        return hashlib.sha256(content.read()).hexdigest()


@contextmanager
def recorded(steps: Running, connection: Connection) -> Iterator[None]:
    """Write a row for each step that runs on the connection in the body, in the step's transaction.

    It travels in one message with Alembic's own statement on alembic_version, the last of each step, and before it, so
    that the row count that Alembic looks at is that of its own.
    """
    written: RevisionStep | None = None

    def before(
        _: Connection, cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool
    ) -> tuple[str, Any]:
        nonlocal written
        step = steps.current
        # A merge of branches has several such statements: the first is enough.
        found = _OF_A_STEP.match(statement)
        if step is None or step is written or found is None or found[1] != tables.version_of(context.get_context()):
            return statement, parameters
        written = step
        tables.prepare(context.get_context())
        row = _row(steps, step.revision, _direction(step), time.monotonic() - steps.started)
        if not hasattr(cursor, "mogrify"):  # psycopg (3) sends values apart, so one statement at a time
            with cursor.connection.cursor() as other:
                other.execute(_compiled(ours.log()), row)
            return statement, parameters
        insert = cursor.mogrify(_compiled(ours.log()), row).decode().replace("%", "%%")
        return f"{insert};\n{statement}", parameters

    event.listen(connection, "before_cursor_execute", before, retval=True)
    try:
        yield
    finally:
        event.remove(connection, "before_cursor_execute", before)


def record(steps: Running) -> Any:
    """Return Alembic's on_version_apply hook that writes the rows that `recorded` does not: of stamps, and offline."""

    def hook(ctx: MigrationContext, step: MigrationInfo, heads: Collection[Any], run_args: dict[str, Any]) -> None:
        del heads, run_args
        if not (step.is_stamp or ctx.as_sql):
            return
        tables.prepare(ctx)
        for revision in step.up_revisions:  # a stamp may pass several at once
            assert isinstance(revision, Script)
            direction = "stamp" if step.is_stamp else _direction(step)
            ctx.impl.execute(text(_INSERT.format(log=ours.log())).bindparams(**_row(steps, revision, direction)))

    return hook


def _direction(step: MigrationInfo | RevisionStep) -> str:
    return "up" if step.is_upgrade else "down"


def _row(steps: Running, revision: Script, direction: str, seconds: float = 0.0) -> dict[str, Any]:
    return {
        "revision": revision.revision,
        "direction": direction,
        "outcome": "done",
        "seconds": round(seconds, 3),
        "checksum": checksum(revision.path),
        "version": steps.settings.version,
        "error": None,
        # An older release works on until a step says that it cannot.
        "breaking": bool(getattr(revision.module, BREAKS, "")),
    }


def record_failure(steps: Running, connection: Connection, error: str) -> None:
    """Write a row for the step that failed, if one did; on a connection beside the one on which it did.

    The table is there once a step has succeeded.
    """
    step = steps.current
    if step is None:
        return
    try:
        with connection.engine.begin() as beside:
            if (log := tables.place(beside)) is None:
                return
            tables.complete(beside, log)
            row = _row(steps, step.revision, _direction(step), time.monotonic() - steps.started)
            beside.execute(text(_INSERT.format(log=log)).bindparams(**row | {"outcome": "failed", "error": error}))
    except DBAPIError as problem:
        logger.warning("the failure could not be noted in migration_log: %s", str(problem.orig).strip())
