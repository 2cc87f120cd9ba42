"""Which command is running, and what `alembic revision` must not do."""

import os
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.operations import MigrationScript
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import msg


class NotWritable(Exception):
    """A new revision file would be lost with the container."""


def _command(config: Config) -> str:
    # Set by Alembic's command line; a program that calls alembic.command itself has none, and is taken for an upgrade.
    command = getattr(config.cmd_opts, "cmd", None)
    return command[0].__name__ if command else "upgrade"


def is_upgrade(config: Config) -> bool:
    """Tell whether the command goes up."""
    return _command(config) == "upgrade"


def changes_database(config: Config) -> bool:
    """Tell whether the command writes to the database, so that it needs the lock."""
    return _command(config) in ("upgrade", "downgrade", "stamp")


def require_writable(config: Config, scripts: ScriptDirectory) -> None:
    """Refuse `revision` and `merge` where the file could not be kept; raises NotWritable."""
    if _command(config) in ("revision", "merge") and not os.access(Path(scripts.versions), os.W_OK):
        raise NotWritable("this container cannot write to migrations/versions")


def skip_empty_autogenerate(context: MigrationContext, _revision: Any, directives: list[MigrationScript]) -> None:
    """Alembic's process_revision_directives hook: an autogenerate that found nothing writes no file, and says so."""
    assert context.config is not None
    if not getattr(context.config.cmd_opts, "autogenerate", False):
        return
    if all(directive.upgrade_ops is None or directive.upgrade_ops.is_empty() for directive in directives):
        directives.clear()
        msg("Models and database agree: no file was written.")
