"""Which command is running, and what it must not do."""

import os
from collections.abc import Collection
from pathlib import Path

from alembic.config import Config
from alembic.operations import MigrationScript
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import msg
from sqlalchemy import text

from tangga.journal import tables as bookkeeping
from tangga.drift import options as compared
from tangga.exits import BEHIND, DRIFT, Stop
from tangga.journal.history import applied_below

# An extension's tables are not the application's.
_tables = text("""
    SELECT relname FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND relname <> ALL (:own)
      AND NOT EXISTS (SELECT FROM pg_depend WHERE (classid, objid, deptype) = ('pg_class'::regclass, pg_class.oid, 'e'))
    ORDER BY relname
""")


class NotWritable(Exception):
    """A new revision file would be lost with the container."""


def _command(config: Config) -> str:
    # Set by Alembic's command line; a program that calls alembic.command itself has none, and is taken for an upgrade.
    command = getattr(config.cmd_opts, "cmd", None)
    return command[0].__name__ if command else "upgrade"


def is_upgrade(config: Config) -> bool:
    """Tell whether the command goes up."""
    return _command(config) == "upgrade"


def is_stamp(config: Config) -> bool:
    """Tell whether the command only notes where the database is."""
    return _command(config) == "stamp"


def changes_database(config: Config) -> bool:
    """Tell whether the command writes to the database, so that it needs the lock."""
    return _command(config) in ("upgrade", "downgrade", "stamp")


def require_writable(config: Config, scripts: ScriptDirectory) -> None:
    """Refuse `revision` and `merge` where the file could not be kept; raises NotWritable."""
    if _command(config) in ("revision", "merge") and not os.access(Path(scripts.versions), os.W_OK):
        raise NotWritable("this container cannot write to migrations/versions")


def require_version(heads: Collection[str], context: MigrationContext) -> None:
    """Refuse to go up from nothing in a database that holds tables; raises Stop. Asks only if there is no revision."""
    config = context.config
    if heads or context.as_sql or config is None or "runs" in config.attributes or not is_upgrade(config):
        return
    assert context.connection is not None
    found = context.connection.scalars(_tables, {"own": ["alembic_version", *bookkeeping.TABLES]}).all()
    if found:
        names = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        raise Stop(
            f"the database holds tables ({names}) but no revision, so it is not known which steps it needs",
            "if its schema is that of a revision, note which: make stamp r=..., and then make check tells whether it "
            "is; else use an empty database",
            DRIFT,
        )


def check_revision(
    context: MigrationContext, at: tuple[str, ...] | str | None, directives: list[MigrationScript]
) -> None:
    """Alembic's process_revision_directives hook: look before a file is written.

    A new step stands on steps that have run: raises Stop while the database is behind. An autogenerate that found
    nothing writes no file, and says so.
    """
    assert context.config is not None
    assert context.script is not None
    if context.connection is not None:
        current = (at,) if isinstance(at, str) else at or ()
        below = applied_below(context.script, current)
        wanted = {
            script.revision for each in directives for script in context.script.get_revisions(each.head or "head")
        }
        if missing := sorted(wanted - below):
            raise Stop(
                f"the database is behind: it is at {', '.join(current) or 'nothing yet (base)'}, "
                f"and the new step would stand on {', '.join(missing)}",
                "make migrate, then make revision again",
                BEHIND,
            )
    if not getattr(context.config.cmd_opts, "autogenerate", False):
        return
    if all(directive.upgrade_ops is None or directive.upgrade_ops.is_empty() for directive in directives):
        directives.clear()
        msg("Alembic finds no difference between models and database, so no file was written.")
        msg(f"It does not compare {compared.NOT_BY_ALEMBIC}: make check does, then write the step by hand.")
