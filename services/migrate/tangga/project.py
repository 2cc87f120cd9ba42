"""The one door to a project: Alembic's configuration, its steps, its models, and what `[tool.tangga]` says.

[tool.tangga]
metadata = ["services.api.db.models:Base.metadata"]   # one or several
settings = "services.migrate.settings:database"       # a function that returns tangga.settings.Settings
scratch = "services.migrate.settings:scratch"         # and one that returns ScratchSettings
lint_from = "3b7d90c5e2a6"                            # the first step that the linter looks at (lint/selection.py)
lint_also = ["prefer-identity"]                       # rules that hold only where they are asked for
head_file = true                                      # the file HEAD beside the steps is kept (revision/head_file.py)

[tool.tangga.commands]                                # commands of the project's own, module by name
[tool.tangga.remedies]                                # remedies.py
"""

import importlib
import io
import operator
import os
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from alembic import context, op
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationStep
from alembic.script import Script, ScriptDirectory
from sqlalchemy import URL, Connection, MetaData, text

from tangga import container, flask_migrate, remedies, settings
from tangga.catalogue import ours
from tangga.exits import WRONG_SETTING, Stop
from tangga.rehearsal import REHEARSAL, Rehearsal, is_placeholder
from tangga.settings import ScratchSettings, Settings
from tangga.version_rows import refuse_surplus


class Project:
    """One Alembic environment; what is expensive is read when it is asked for, once."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._root = flask_migrate.complete(config)
        self.table = _table(self.folder)
        remedies.use(self.table.get("remedies", {}))
        ours.use(self.table)
        self._ends = ExitStack()
        # What env.py told Alembic when it ran last, on a connection of our own.
        self.told: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what was started for it (`--scratch docker`)."""
        self._ends.close()

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
        """Where the configuration file is (Flask-Migrate's: above it): paths are shown from there."""
        if self._root:
            return self._root
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
        given = self._option("database_url")
        if "settings" in self.table:
            found: Settings = self._named("settings")()
            return replace(found, url=settings.address_of(given)) if given else found
        configured = self.config.get_main_option("sqlalchemy.url")
        return settings.from_environment(None if is_placeholder(configured) else configured, given)

    @property
    def names_a_database(self) -> bool:
        """Whether somebody says which the live database is: what only tries steps out does without it."""
        configured = self.config.get_main_option("sqlalchemy.url")
        own = (
            "settings" in self.__dict__
            or "settings" in self.table
            or self._option("database_url")
            or os.environ.get("DATABASE_URL")
        )
        return bool(own or not is_placeholder(configured))

    @property
    def trial_settings(self) -> Settings:
        """The settings for a trial: if no database is named, with an owner who is nobody."""
        return self.settings if self.names_a_database else Settings(URL.create("postgresql", username="tangga_nobody"))

    @cached_property
    def scratch(self) -> ScratchSettings:
        """The throwaway server; raises Stop, or ends the program, if there is none."""
        given = self._option("scratch_url")
        if "scratch" in self.table and not given:
            found: ScratchSettings = self._named("scratch")()
            # What that server knows are the users of the database that is configured.
            return replace(found, credentials="") if self._option("database_url") else found
        if (given or os.environ.get("SCRATCH_URL")) == "docker":
            major = container.major_of(self.settings.url) if self.names_a_database else None
            return self._ends.enter_context(container.throwaway(self._option("scratch_image"), major))
        return settings.scratch_from_environment(given)

    @cached_property
    def _named_metadata(self) -> list[MetaData]:
        names = self.table.get("metadata", [])
        return [_load(name, "metadata") for name in ([names] if isinstance(names, str) else names)]

    @property
    def metadata(self) -> list[MetaData]:
        """The models: where the project says they are, or what env.py told Alembic when it ran last; else []."""
        if "metadata" in self.table:
            return self._named_metadata
        told = self.told.get("target_metadata") or []
        return [*told] if isinstance(told, Sequence) else [told]

    @property
    def commands(self) -> dict[str, str]:
        """The project's own commands: name -> module."""
        return dict(self.table.get("commands", {}))

    def _option(self, name: str) -> str | None:
        found: str | None = getattr(self.config.cmd_opts, name, None)
        return found

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
        return self.shown(script.path)

    def shown(self, file: str | Path) -> str:
        """Return a path as a person in the project's folder types it."""
        path = Path(file)
        return str(path.relative_to(self.folder)) if path.is_relative_to(self.folder) else str(path)

    # Runs of env.py on a connection of our own: what is tried is what will run --------------------------------------

    def upgrade(self, connection: Connection, to: str) -> None:
        """Go up to a revision."""
        self._run(connection, lambda rev, _: self.scripts._upgrade_revs(to, rev), destination_rev=to)

    def downgrade(self, connection: Connection, to: str) -> None:
        """Go down to a revision."""
        self._run(connection, lambda rev, _: self.scripts._downgrade_revs(to, rev), destination_rev=to)

    def begin(self, connection: Connection) -> None:
        """Run env.py without a step: what it makes itself (the version table, a schema) is no step's doing."""
        self._run(connection, lambda *_: [], destination_rev="base")

    def step(self, connection: Connection, script: Script, *, down: bool = False) -> None:
        """Run one step and no other, whatever stands beside it."""
        self._run(connection, self._alone(script, down=down), destination_rev=script.revision)

    def sql_of(self, script: Script, heads: Sequence[str]) -> str:
        """Return the SQL of one step up, printed as `--sql` prints it for a database at these heads."""
        self.config.output_buffer = output = io.StringIO()
        start = [*heads] or "base"
        self._run(None, self._alone(script), as_sql=True, starting_rev=start, destination_rev=script.revision)
        return output.getvalue()

    def _alone(self, script: Script, *, down: bool = False) -> Callable[..., Any]:
        one = MigrationStep.downgrade_from_script if down else MigrationStep.upgrade_from_script
        return lambda *_: [one(self.scripts.revision_map, script)]

    def sql(self, start: str, to: str, *, down: bool = False, into: io.StringIO | None = None) -> str:
        """Return the SQL that goes from one revision to another, printed as `--sql` prints it."""
        compute = self.scripts._downgrade_revs if down else self.scripts._upgrade_revs
        output = into or io.StringIO()
        self.config.output_buffer = output
        self._run(None, lambda rev, _: compute(to, rev), as_sql=True, starting_rev=start, destination_rev=to)
        return output.getvalue()

    def _run(self, connection: Connection | None, fn: Callable[..., Any], **options: Any) -> None:
        with _put_back():
            Rehearsal(connection, self.told).run(
                self.config, self.scripts, self._option("database_url"), fn=fn, **options
            )


@contextmanager
def _put_back() -> Iterator[None]:
    """Let the body run env.py inside a run of it: Alembic's `context` and `op` are the outer run's again afterwards."""
    outer = [running for module in (context, op) if (running := getattr(module, "_proxy", None))]
    try:
        yield
    finally:
        for running in outer:
            running._install_proxy()


def environment() -> EnvironmentContext | None:
    """Return Alembic's environment while it runs env.py, None outside of it."""
    found: EnvironmentContext | None = getattr(context, "_proxy", None)
    return found


def rehearsal() -> Rehearsal | None:
    """Return what env.py runs on now, if that is a connection of our own (Project.upgrade and so on)."""
    running = environment()
    return running.context_opts.get(REHEARSAL) if running else None


_NAMES = text("""
    SELECT nspname, relname, pg_table_is_visible(pg_class.oid) AS visible
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE pg_class.oid = to_regclass(:table)
""")


def version_table(connection: Connection) -> str | None:
    """Return Alembic's version table, quoted, whatever env.py calls it; None before the first step.

    Raises Stop if it cannot be told which of several it is.
    """
    if connection.scalar(text("SELECT to_regclass('alembic_version')")) is not None:
        return "alembic_version"
    found = connection.scalars(text(ours.VERSION_TABLES)).all()
    if len(found) > 1:
        raise Stop(
            f"several tables could be Alembic's version table: {', '.join(found)}",
            "put the schema of this environment's on the search_path: ?options=-csearch_path%3D... in the URL",
            WRONG_SETTING,
        )
    return found[0] if found else None


def version_options(connection: Connection) -> dict[str, Any]:
    """Return where that table is, as `context.configure` is told; nothing, if it is where Alembic looks by itself."""
    table = version_table(connection)
    if table in (None, ours.VERSION):
        return {}
    found = connection.execute(_NAMES, {"table": table}).one()
    # Alembic leaves its table out of comparisons only if it is named as it is found.
    return {"version_table": found.relname, **({} if found.visible else {"version_table_schema": found.nspname})}


def applied(connection: Connection) -> tuple[str, ...]:
    """Return the revisions that a database is at; () before the first step."""
    table = version_table(connection)
    if table is None:
        return ()
    return tuple(connection.scalars(text(f"SELECT version_num FROM {table} ORDER BY 1")))  # noqa: S608 - quoted


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
