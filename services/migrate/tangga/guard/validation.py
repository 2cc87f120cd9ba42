"""Constraints that a step adds NOT VALID are validated after the step has committed, in a transaction of their own.

VALIDATE scans the table under a lock that lets reads and writes through; inside the step's transaction it would run
under the ACCESS EXCLUSIVE lock that the step already holds. A step asks for it by a module attribute:

    validate_after_commit = ("posts.post_users_fk",)    # in a schema of its own: "shop.posts.post_users_fk"

The step and its row in alembic_version are committed together first, so a migrator killed here leaves the database at
the step, with a constraint that already holds for new rows; the next upgrade finishes the scan of the old ones.
"""

import logging
from collections.abc import Collection
from typing import Any

from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script, ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tangga.catalogue.ours import LEFT_OVER, OF_THE_APPLICATION
from tangga.catalogue.sql import quoted
from tangga.guard.blockers import Retries, gave_way
from tangga.guard.steps import Steps

logger = logging.getLogger("tangga.constraints")

ATTRIBUTE = "validate_after_commit"
_left_over = text(LEFT_OVER)
# The name is found as the step's own statements find it.
_not_validated = text("""
    SELECT EXISTS (SELECT FROM pg_constraint
                   WHERE NOT convalidated AND conrelid = to_regclass(:table) AND conname = :constraint)
""")
# A partitioned table's index is invalid until each partition has its own: no accident.
_invalid_indexes = text(f"""
    SELECT indexrelid::regclass::text AS name, indrelid::regclass::text AS table_name
    FROM pg_index JOIN pg_class AS c ON c.oid = indexrelid JOIN pg_namespace AS n ON n.oid = relnamespace
    WHERE NOT indisvalid AND relkind = 'i' AND {OF_THE_APPLICATION}
      AND indexrelid NOT IN (SELECT index_relid FROM pg_stat_progress_create_index WHERE index_relid IS NOT NULL)
    ORDER BY 1
""")  # noqa: S608 - a condition of ours.py


class NotValidated(Exception):
    """The scan of the old rows failed; the step that added the constraint is committed."""


def validate_after_commit(
    ctx: MigrationContext, step: MigrationInfo, heads: Collection[Any], run_args: dict[str, Any]
) -> None:
    """Alembic's on_version_apply hook: commit the step with its version row, then validate what it asked for."""
    del heads, run_args
    if not step.is_upgrade or step.is_stamp or step.up_revision is None:
        return
    assert isinstance(step.up_revision, Script)
    _validate(ctx, getattr(step.up_revision.module, ATTRIBUTE, ()))


def validate_unfinished(ctx: MigrationContext, scripts: ScriptDirectory) -> None:
    """Validate what an earlier upgrade, killed between commit and scan, left behind."""
    assert ctx.connection is not None
    left_over = ctx.connection.scalar(_left_over)
    ctx.connection.rollback()
    if not left_over:
        return
    applied = scripts.iterate_revisions(ctx.get_current_heads(), "base")
    asked_for = [name for script in applied for name in getattr(script.module, ATTRIBUTE, ())]
    unfinished = [
        name for name in asked_for
        if ctx.connection.scalar(_not_validated, dict(zip(("table", "constraint"), _parts(name), strict=True)))
    ]  # fmt: skip
    ctx.connection.rollback()
    _validate(ctx, unfinished)


def warn_of_invalid_indexes(ctx: MigrationContext) -> None:
    """Name the indexes that an interrupted build left behind, wherever it came from."""
    assert ctx.connection is not None
    for name, table in ctx.connection.execute(_invalid_indexes):
        logger.warning(
            "index %s on %s is INVALID: its build was interrupted. No query uses it, and every write to the table "
            "keeps it up. DROP INDEX CONCURRENTLY %s, or build it again in a step (safe.create_index)",
            name, table, name,
        )  # fmt: skip
    ctx.connection.rollback()


def _validate(ctx: MigrationContext, names: Collection[str]) -> None:
    steps = Steps.of(ctx)
    for name in names:
        logger.info("validating %s; reads and writes go on", name)
        retries = Retries(steps.settings.lock_retry_for)
        # The step stands, so only this is tried again.
        while not _validated(ctx, name):
            retries.pause(f"{name} could not be validated", steps.blockers())


def _validated(ctx: MigrationContext, name: str) -> bool:
    """Validate a constraint; tell whether the lock for it was obtained. Raises NotValidated for any other error."""
    table, constraint = _parts(name)
    try:
        with ctx.autocommit_block():
            ctx.impl.execute(text(f"ALTER TABLE {table} VALIDATE CONSTRAINT {quoted(constraint)}"))
    except DBAPIError as error:
        if gave_way(error):
            return False
        raise NotValidated(f"{name} could not be validated") from error
    return True


def _parts(name: str) -> tuple[str, str]:
    """Return a constraint's table, as SQL wants it, and its name."""
    *table, constraint = name.split(".")
    return ".".join(quoted(part) for part in table), constraint
