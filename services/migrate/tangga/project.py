"""The one door to a project: Alembic's configuration, its steps, its models, and what `[tool.tangga]` says.

[tool.tangga]
metadata = ["services.api.db.models:Base.metadata"]   # one or several
settings = "services.migrate.settings:database"       # a function that returns tangga.settings.Settings
scratch = "services.migrate.settings:scratch"         # and one that returns ScratchSettings

[tool.tangga.commands]                                # commands of the project's own, module by name
[tool.tangga.remedies]                                # remedies.py
"""

import importlib
import io
import operator
import tomllib
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from alembic import context
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, MetaData, text

from tangga import remedies, settings
from tangga.exits import WRONG_SETTING, Stop
from tangga.settings import ScratchSettings, Settings
from tangga.version_rows import refuse_surplus

_REHEARSAL = "rehearsal"


class Rehearsal(NamedTuple):
    """A run on a connection of our own, to a scratch database: nobody else is there to be protected."""

    connection: Connection | None


class Project:
    """One Alembic environment; what is expensive is read when it is asked for, once."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.table = _table(self.folder)
        remedies.use(self.table.get("remedies", {}))

    @classmethod
    def from_file(cls, file: str | Path = "alembic.ini") -> "Project":
        """Return the project of a configuration file."""
        return cls(Config(str(file)))

    @classmethod
    def running(cls) -> "Project":
        """Return the project whose env.py is running."""
        return cls(context.config)

    @property
    def folder(self) -> Path:
        """Where the configuration file is: paths are shown from there."""
        names = (self.config.config_file_name, self.config.toml_file_name, "alembic.ini")
        files = [Path(name).absolute() for name in names if name]
        return next((file for file in files if file.exists()), files[-1]).parent

    @property
    def has_steps(self) -> bool:
        """Whether the configuration names a folder of steps: a help page is printed without one."""
        return bool(self.config.get_alembic_option("script_location"))

    @cached_property
    def scripts(self) -> ScriptDirectory:
        """The folder of the steps."""
        return ScriptDirectory.from_config(self.config)

    @cached_property
    def settings(self) -> Settings:
        """The database, and the bounds; raises Stop, or ends the program, if they are wrong."""
        if "settings" in self.table:
            found: Settings = self._named("settings")()
            return found
        return settings.from_environment(self.config.get_main_option("sqlalchemy.url"))

    @cached_property
    def scratch(self) -> ScratchSettings:
        """The throwaway server; raises Stop, or ends the program, if there is none."""
        if "scratch" in self.table:
            found: ScratchSettings = self._named("scratch")()
            return found
        return settings.scratch_from_environment()

    @cached_property
    def metadata(self) -> list[MetaData]:
        """The models; [] if the project has not said where they are."""
        names = self.table.get("metadata", [])
        return [_load(name, "metadata") for name in ([names] if isinstance(names, str) else names)]

    @property
    def commands(self) -> dict[str, str]:
        """The project's own commands: name -> module."""
        return dict(self.table.get("commands", {}))

    def _named(self, key: str) -> Any:
        self.scripts  # noqa: B018 - it puts prepend_sys_path on the path
        return _load(self.table[key], key)

    # The steps ------------------------------------------------------------------------------------------------------

    def revisions(self) -> list[Script]:
        """Return all steps, the oldest first."""
        return [*self.scripts.walk_revisions()][::-1]

    def pending(self, applied: Iterable[str], to: str = "heads") -> list[Script]:
        """Return the steps between what is applied and `to`, in the order in which they would run."""
        rows = tuple(applied)
        refuse_surplus(self.scripts, rows)
        return [*self.scripts.iterate_revisions(to, rows or "base")][::-1]

    def file_of(self, script: Script) -> str:
        """Return the path of a step's file as a person in the project's folder types it."""
        path = Path(script.path)
        return str(path.relative_to(self.folder)) if path.is_relative_to(self.folder) else str(path)

    # Runs of env.py on a connection of our own: what is tried is what will run --------------------------------------

    def upgrade(self, connection: Connection, to: str) -> None:
        """Go up to a revision."""
        self._run(connection, lambda rev, _: self.scripts._upgrade_revs(to, rev), destination_rev=to)

    def downgrade(self, connection: Connection, to: str) -> None:
        """Go down to a revision."""
        self._run(connection, lambda rev, _: self.scripts._downgrade_revs(to, rev), destination_rev=to)

    def sql(self, start: str, to: str, *, down: bool = False, into: io.StringIO | None = None) -> str:
        """Return the SQL that goes from one revision to another, printed as `--sql` prints it."""
        compute = self.scripts._downgrade_revs if down else self.scripts._upgrade_revs
        output = into or io.StringIO()
        self.config.output_buffer = output
        self._run(None, lambda rev, _: compute(to, rev), as_sql=True, starting_rev=start, destination_rev=to)
        return output.getvalue()

    def _run(self, connection: Connection | None, fn: Callable[..., Any], **options: Any) -> None:
        options[_REHEARSAL] = Rehearsal(connection)
        with EnvironmentContext(self.config, self.scripts, fn=fn, **options):
            self.scripts.run_env()


def environment() -> EnvironmentContext | None:
    """Return Alembic's environment while it runs env.py, None outside of it."""
    found: EnvironmentContext | None = getattr(context, "_proxy", None)
    return found


def rehearsal() -> Rehearsal | None:
    """Return what env.py runs on now, if that is a connection of our own (Project.upgrade and so on)."""
    running = environment()
    return running.context_opts.get(_REHEARSAL) if running else None


def applied(connection: Connection) -> tuple[str, ...]:
    """Return the revisions that a database is at; () before the first step."""
    if connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return ()
    return tuple(connection.scalars(text("SELECT version_num FROM alembic_version ORDER BY 1")))


def _table(folder: Path) -> dict[str, Any]:
    file = folder / "pyproject.toml"
    if not file.exists():
        return {}
    try:
        found: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("tangga", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Stop(f"{file} cannot be read: {error}", "mend that file", WRONG_SETTING) from error
    return found


def _load(name: str, key: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        return operator.attrgetter(attribute)(importlib.import_module(module))
    except (ImportError, AttributeError, ValueError) as error:
        raise Stop(
            f"[tool.tangga] {key} = {name!r} cannot be loaded: {error}",
            'it is "package.module:name", found from the folders of prepend_sys_path in Alembic\'s configuration',
            WRONG_SETTING,
        ) from error
