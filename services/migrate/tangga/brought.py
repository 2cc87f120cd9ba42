"""While steps are tried out, whoever connects is brought to the scratch database; who cannot be brought is refused.

env.py, the steps and the application behind them know the live database. They get at a server by an engine of
SQLAlchemy's, whose address is changed as it connects, or else by a driver's own function, which is asked where to.
"""

import functools
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, Pool

from tangga.connect import POSTGRESQL, driver_connection
from tangga.exits import WRONG_SETTING, Stop

# Drivers' own function that everything else of them goes through.
_DOORS = (("psycopg2", "_connect"), ("psycopg.generators", "connect"), ("asyncpg.connect_utils", "_connect"))
# How our own connections are called (connect.py).
_OURS = "tangga-"
# libpq's PGTransactionStatusType: outside of a transaction.
_IDLE = 0
# In the info of a pool's connection.
_RUN = "tangga run"
# What a session begins with, and what says where it is.
_SESSION = ("options", "server_settings")

# The run that is going on: the innermost is the last.
_runs: list["_Run"] = []


class _Run:
    """One run of env.py; `at` is the connection to the scratch database, None if SQL is only printed."""

    def __init__(self, at: Connection | None) -> None:
        self.url = at.engine.url if at is not None else None
        self._at = at

    def role(self) -> str:
        """Return the role in which steps run there; asked behind SQLAlchemy's back, for which no transaction begins."""
        assert self._at is not None
        driver = driver_connection(self._at)
        # In the middle of a step, what it has done must stay.
        begun = driver.info.transaction_status != _IDLE
        with driver.cursor() as cursor:
            cursor.execute("SHOW role")
            [(role,)] = cursor.fetchall()
        if not begun:
            driver.rollback()
        return str(role)

    def refuse(self, where: str) -> Stop:
        if self.url is None:
            return Stop(
                f"{where} is connected to, although SQL is only printed",
                "let env.py ask context.is_offline_mode(), or call tangga.guarded (docs/adopt.md)", WRONG_SETTING,
            )  # fmt: skip
        return Stop(
            f"{where} is connected to while steps are tried out on a scratch database, and cannot be brought there",
            "let it connect by SQLAlchemy's create_engine, without creator=, or env.py call tangga.guarded "
            "(docs/adopt.md)", WRONG_SETTING,
        )  # fmt: skip


@contextmanager
def brought(at: Connection | None, address: str | None = None) -> Iterator[None]:
    """Bring what the body opens to the scratch database of a connection of ours; refuse it all if there is none.

    `address`: what DATABASE_URL is, for who reads it and finds none.
    """
    _guard_doors()
    run = _Run(at)
    if address is None and run.url is not None:
        address = run.url.render_as_string(hide_password=False)
    named = address is not None and "DATABASE_URL" not in os.environ
    if named:
        os.environ["DATABASE_URL"] = str(address)
    _runs.append(run)
    try:
        yield
    finally:
        _runs.pop()
        if named:
            del os.environ["DATABASE_URL"]


@functools.cache
def _guard_doors() -> None:
    """Put the guards in place, once: outside of a run they let everybody through."""
    event.listen(Engine, "do_connect", _bring)
    event.listen(Engine, "engine_connect", _refuse_others)
    event.listen(Pool, "connect", _note)
    event.listen(Pool, "checkout", _connect_anew)
    for module, name in _DOORS:
        if find_spec(module.partition(".")[0]):
            home = importlib.import_module(module)
            setattr(home, name, _asked(getattr(home, name)))


def _asked(connect: Callable[..., Any]) -> Callable[..., Any]:
    def asked(*given: Any, **named: Any) -> Any:
        found = _address(given, named)
        # A scratch database's name is made up anew each time.
        ours = str(found.get("application_name", "")).startswith(_OURS)
        if _runs and not ours and found.get("dbname") != (_runs[-1].url and _runs[-1].url.database):
            raise _runs[-1].refuse(f"{found.get('dbname') or 'a database'} at {found.get('host') or 'localhost'}")
        return connect(*given, **named)

    return asked


def _address(given: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a driver was told: psycopg2 and psycopg one text, asyncpg each by its name."""
    if given and isinstance(given[0], str | bytes):
        text = given[0].decode() if isinstance(given[0], bytes) else given[0]
        if psycopg2 := sys.modules.get("psycopg2"):
            return dict(psycopg2.extensions.parse_dsn(text))
        return dict(sys.modules["psycopg"].conninfo.conninfo_to_dict(text))
    settings = named.get("server_settings") or {}
    return {"dbname": named.get("database"), "host": named.get("host"), **settings}


def _bring(dialect: Dialect, _: Any, arguments: list[Any], named: dict[str, Any]) -> None:
    """Change the address that SQLAlchemy is about to connect to."""
    if not _runs or str(named.get("application_name", "")).startswith(_OURS):
        return
    run = _runs[-1]
    if run.url is None or dialect.name != "postgresql":
        raise run.refuse(f"a database of {dialect.name}")
    kept = {name: named[name] for name in _SESSION if name in named}
    arguments[:], told = dialect.create_connect_args(run.url.set(query={}))
    named.clear()
    named.update({**told, **kept})
    role = run.role()
    if role == "none":
        return
    if dialect.driver == "asyncpg":
        named["server_settings"] = {**named.get("server_settings", {}), "role": role}
    else:
        escaped = role.replace("\\", r"\\").replace(" ", r"\ ")
        named["options"] = f"{named.get('options', '')} -c role={escaped}".strip()


def _note(_: object, record: ConnectionPoolEntry) -> None:
    """Note in which run a connection was made."""
    record.info[_RUN] = _runs[-1] if _runs else None


def _connect_anew(driver: object, record: ConnectionPoolEntry, _: object) -> None:
    """Have the pool throw away what it has kept from another run, or from outside of any, and connect once more."""
    if type(driver).__module__.startswith(POSTGRESQL) and record.info.get(_RUN) is not (_runs[-1] if _runs else None):
        raise DisconnectionError("made for another database")


def _refuse_others(connection: Connection) -> None:
    """Refuse a connection that somebody's function made."""
    if not _runs or connection.engine.dialect.name != "postgresql":
        return
    raw = connection.connection
    cursor = raw.cursor()
    cursor.execute("SELECT current_database(), current_setting('application_name')")
    [(database, application)] = cursor.fetchall()
    cursor.close()
    raw.rollback()
    if not application.startswith(_OURS) and database != (_runs[-1].url and _runs[-1].url.database):
        raise _runs[-1].refuse(f"{database} at {connection.engine.url.host or 'localhost'}")
