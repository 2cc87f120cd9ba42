"""What was done to the schema, when, how long it took and by which version: the table migration_log.

A row is written in the step's own transaction, so it is there exactly if the step is. A step that failed leaves one
too, written afterwards. The app can read the table (default privileges), not write it (bookkeeping.py).
"""

import hashlib
import logging
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script
from sqlalchemy import create_engine, text
from sqlalchemy.dialects.postgresql import psycopg2
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from services.migrate import bookkeeping
from services.migrate.steps import Steps

logger = logging.getLogger("tangga.journal")

_INSERT = text("""
INSERT INTO migration_log (revision, direction, outcome, started_at, seconds, checksum, image_version, error)
VALUES (:revision, :direction, :outcome, clock_timestamp() - :seconds * interval '1 second', :seconds, :checksum,
        :version, :error)
""")
# Compiled once: hundreds of steps in a row should not notice.
_INSERT_COMPILED = str(_INSERT.compile(dialect=psycopg2.dialect()))  # type: ignore[no-untyped-call]


def checksum(file: str | Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with open(file, "rb") as content:  # noqa: PTH123 - hundreds of steps in a row should not notice
        return hashlib.file_digest(content, "sha256").hexdigest()


def record(steps: Steps) -> Any:
    """Return Alembic's on_version_apply hook that writes a row for the step, in its transaction."""

    def hook(ctx: MigrationContext, step: MigrationInfo, heads: Collection[Any], run_args: dict[str, Any]) -> None:
        del heads, run_args
        bookkeeping.prepare(ctx)
        # A stamp has no step of ours, and may pass several revisions at once.
        seconds = 0.0 if step.is_stamp or ctx.as_sql else time.monotonic() - steps.started
        direction = "stamp" if step.is_stamp else "up" if step.is_upgrade else "down"
        for revision in step.up_revisions:
            assert isinstance(revision, Script)
            row = {
                "revision": revision.revision,
                "direction": direction,
                "outcome": "done",
                "seconds": round(seconds, 3),
                "checksum": checksum(revision.path),
                "version": steps.settings.tag,
                "error": None,
            }
            if ctx.as_sql or ctx.connection is None:
                ctx.impl.execute(_INSERT.bindparams(**row))
            else:
                cursor = ctx.connection.connection.cursor()
                cursor.execute(_INSERT_COMPILED, row)
                cursor.close()

    return hook


def record_failure(steps: Steps, error: str) -> None:
    """Write a row for the step that failed, if one did; on a connection of its own.

    The table is there once a step has succeeded.
    """
    step = steps.current
    if step is None:
        return
    engine = create_engine(steps.settings.url, poolclass=NullPool, connect_args={"connect_timeout": 5})
    try:
        with engine.begin() as connection:
            if connection.scalar(text("SELECT to_regclass('migration_log')")) is None:
                return
            connection.execute(
                _INSERT.bindparams(
                    revision=step.revision.revision,
                    direction="up" if step.is_upgrade else "down",
                    outcome="failed",
                    seconds=round(time.monotonic() - steps.started, 3),
                    checksum=checksum(step.revision.path),
                    version=steps.settings.tag,
                    error=error,
                )
            )
    except DBAPIError as problem:
        logger.warning("the failure could not be noted in migration_log: %s", str(problem.orig).strip())
