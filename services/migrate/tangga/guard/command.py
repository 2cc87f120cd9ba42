"""Which command is running, and what it must not do."""

import os
from collections.abc import Collection
from pathlib import Path

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from tangga.catalogue.ours import OF_THE_APPLICATION, THE_MIGRATORS, title
from tangga.exits import DRIFT, Stop
from tangga.project import rehearsal
from tangga.remedies import say

# An extension's tables are not the application's.
_tables = text(f"""
    SELECT nspname, relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
    WHERE {OF_THE_APPLICATION} AND relkind IN ('r', 'p') AND NOT {THE_MIGRATORS}
      AND NOT EXISTS (SELECT FROM pg_depend WHERE (classid, objid, deptype) = ('pg_class'::regclass, c.oid, 'e'))
    ORDER BY nspname, relname
""")  # noqa: S608 - a condition of ours.py


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


def goes_up_for_real(heads: Collection[str], context: MigrationContext) -> bool:
    """Tell whether steps are about to go up in a database that is somebody's."""
    del heads
    config = context.config
    return not (context.as_sql or config is None or rehearsal()) and is_upgrade(config)


def require_writable(config: Config, scripts: ScriptDirectory) -> None:
    """Refuse `revision` and `merge` where the file could not be kept; raises NotWritable."""
    if _command(config) in ("revision", "merge"):
        require_folder(Path(scripts.versions))


def require_folder(folder: Path) -> None:
    """Raise NotWritable if a file in this folder could not be kept."""
    if not os.access(folder, os.W_OK):
        shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
        raise NotWritable(f"cannot write to {shown} here")


def require_version(heads: Collection[str], context: MigrationContext) -> None:
    """Refuse to go up from nothing in a database that holds tables; raises Stop. Asks only if there is no revision."""
    if heads or not goes_up_for_real(heads, context):
        return
    assert context.connection is not None
    found = [title(*row) for row in context.connection.execute(_tables)]
    if found:
        names = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        raise Stop(
            f"the database holds tables ({names}) but no revision, so it is not known which steps it needs",
            f"if its schema is that of a revision, note which: {say('stamp', revision='...')}, and then {say('check')} "
            "tells whether it is; else use an empty database",
            DRIFT,
        )
