"""A run of env.py on a connection of our own, to a scratch database: whatever env.py connects to and configures."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from tangga import connect
from tangga.brought import brought
from tangga.exits import WRONG_SETTING, Stop
from tangga.hurried import hurried, within

# The option of Alembic's environment that marks such a run.
REHEARSAL = "rehearsal"
# What is noted on an error of such a run: nothing has happened to the live database.
TRIED_OUT = "tried out on the scratch server"
# A step of which so much time has gone, beyond the server's bounds on its statements, does not end.
_SECONDS = 1800
# The loggers by whose level SQLAlchemy prints statements; "root" is above them.
_OF_STATEMENTS = ("root", "sqlalchemy", "sqlalchemy.engine", "sqlalchemy.engine.Engine", "sqlalchemy.pool")


class Rehearsal(NamedTuple):
    """A run on a connection of our own: nobody else is there to be protected. Without one, SQL is printed."""

    connection: Connection | None
    # What env.py tells Alembic.
    told: dict[str, Any]

    def run(self, config: Config, scripts: ScriptDirectory, address: str | None, **options: Any) -> None:
        """Run env.py; `address` is what DATABASE_URL is if it has no value (brought.py)."""
        try:
            with (
                hurried(),
                within(_SECONDS),
                brought(self.connection, address),
                _Rehearsed(config, scripts, **options, **{REHEARSAL: self}),
                _addressed(config, self.connection),
                _quiet(),
            ):
                scripts.run_env()
        except Exception as error:
            if self.connection is not None:
                error.add_note(TRIED_OUT)
            raise
        # A step that has ended its transaction itself leaves another one open, with Alembic's row in it.
        if self.connection is not None and self.connection.in_transaction():
            self.connection.commit()


class _Rehearsed(EnvironmentContext):
    """Alembic's environment for a run on a connection of our own, whatever env.py connects to and configures."""

    def configure(self, connection: Connection | None = None, **options: Any) -> None:  # type: ignore[override]
        """Configure, but with our connection, each step in a transaction of its own; or with none, to print SQL."""
        ours = self.context_opts[REHEARSAL].connection
        if ours is None:
            options |= {"url": None, "dialect_name": "postgresql", "literal_binds": True}
            options["dialect_opts"] = {"paramstyle": "named"}
        elif connection is not None and connection is not ours:
            self._once(connection)
            _as_it_is_there(connection, ours)
        # Whoever began the transaction of env.py's own connection, ours is begun and ended by each step.
        super().configure(connection=ours, **options | {"transaction_per_migration": True})
        self.context_opts[REHEARSAL].told.update(self.context_opts)

    def _once(self, connection: Connection) -> None:
        """Refuse an env.py for several databases: on one, the second would find its steps done already."""
        before = self.context_opts.setdefault("tangga_of", connection.engine.url)
        if before != connection.engine.url:
            raise Stop(
                f"env.py migrates several databases: {before.database}, {connection.engine.url.database}",
                "give each a section of its own in Alembic's configuration, and name it with -n", WRONG_SETTING,
            )  # fmt: skip


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what env.py's logging tells of each step: these runs are not the live database's.

    A configuration that has SQLAlchemy print every statement would go on with ours afterwards.
    """
    before = logging.root.manager.disable
    levels = {name: logging.getLogger(name).level for name in _OF_STATEMENTS}
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


# `from alembic import context` in env.py is the instance of this class, too.
_Rehearsed._setups[_Rehearsed] = _Rehearsed._setups[EnvironmentContext]


@contextmanager
def _addressed(config: Config, connection: Connection | None) -> Iterator[None]:
    """Give env.py an address to connect to, where the configuration has none but the template's."""
    configured = config.get_main_option("sqlalchemy.url")
    if connection is None or not is_placeholder(configured):
        yield
        return
    address = connection.engine.url.render_as_string(hide_password=False)
    config.set_main_option("sqlalchemy.url", address.replace("%", "%%"))
    try:
        yield
    finally:
        if configured is None:
            config.file_config.remove_option(config.config_ini_section, "sqlalchemy.url")
        else:
            config.set_main_option("sqlalchemy.url", configured.replace("%", "%%"))


def is_placeholder(address: str | None) -> bool:
    """Tell whether an address in Alembic's configuration is none, or the one of its templates."""
    return not address or address.startswith("driver://")


def _as_it_is_there(theirs: Connection, ours: Connection) -> None:
    """Carry over what env.py did to its own session, which is at the same database: what it made, its search_path."""
    theirs.connection.commit()
    use_search_path(theirs, ours)
    if translated := theirs.get_execution_options().get("schema_translate_map"):
        ours.execution_options(schema_translate_map=translated)


def use_search_path(theirs: Connection, ours: Connection) -> None:
    """Give a session the search_path of another; for SQLAlchemy, no transaction has begun."""
    [there] = asked(theirs, "SHOW search_path")
    if [there] != asked(ours, "SHOW search_path"):
        with connect.driver_connection(ours).cursor() as cursor:
            cursor.execute(f"SET search_path TO {there}")  # as SHOW quotes it
        connect.driver_connection(ours).commit()


def asked(connection: Connection, question: str) -> list[str]:
    """Return a row of text, asked behind SQLAlchemy's back."""
    raw = connection.connection
    cursor = raw.cursor()
    cursor.execute(question)
    [row] = cursor.fetchall()
    cursor.close()
    raw.rollback()
    return [*row]
