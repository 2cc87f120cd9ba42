"""One way to connect, and what the two drivers, psycopg2 and psycopg (3), do differently."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from sqlalchemy import URL, Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

# SQLSTATEs (documentation of PostgreSQL, appendix A).
LOCK_NOT_AVAILABLE: Final = "55P03"
DEADLOCK_DETECTED: Final = "40P01"
QUERY_CANCELED: Final = "57014"
ACTIVE_TRANSACTION: Final = "25001"
INVALID_TERMINATION: Final = "2D000"
# The modules of connections: the drivers' own, and what SQLAlchemy puts around the asynchronous ones.
POSTGRESQL: Final = ("psycopg", "sqlalchemy.dialects.postgresql")
_INTEGRITY = "23"
_BLOCK = 1 << 20


class Readable(Protocol):
    """A file of bytes to read from."""

    def read(self, size: int, /) -> bytes: ...  # noqa: D102


class Writable(Protocol):
    """A file of bytes to write to."""

    def write(self, data: bytes, /) -> object: ...  # noqa: D102


def engine(
    url: URL,
    purpose: str,
    *,
    autocommit: bool = False,
    connect_timeout: int = 5,
    session: Mapping[str, str] | None = None,
    **driver: Any,
) -> Engine:
    """Return an engine that keeps no connection.

    pg_stat_activity shows it as tangga-`purpose`. `connect_timeout` is in seconds, `session` holds PostgreSQL's
    settings with their units, `driver` what else the driver is told.
    """
    arguments: dict[str, Any] = {"application_name": f"tangga-{purpose}", "connect_timeout": connect_timeout, **driver}
    if session:
        arguments["options"] = " ".join(f"-c {name}={value}" for name, value in session.items())
    isolation: dict[str, Any] = {"isolation_level": "AUTOCOMMIT"} if autocommit else {}
    return create_engine(url, poolclass=NullPool, connect_args=arguments, **isolation)


def driver_connection(connection: Connection) -> Any:
    """Return the driver's own connection; asking for it runs nothing."""
    found = connection.connection.driver_connection
    assert found is not None
    return found


def pid_of(connection: Connection) -> int:
    """Return the server process of a connection, without asking: Alembic must find a session that has run nothing."""
    pid: int = driver_connection(connection).info.backend_pid
    return pid


def set_session(connection: Connection, settings: Mapping[str, str]) -> None:
    """Give a session PostgreSQL's settings, behind SQLAlchemy's back: for it, no transaction has begun."""
    driver = driver_connection(connection)
    with driver.cursor() as cursor:
        asked = ", ".join(["set_config(%s, %s, false)"] * len(settings))
        cursor.execute(f"SELECT {asked}", [part for setting in settings.items() for part in setting])
    driver.commit()


def original(error: BaseException) -> BaseException:
    """Return the driver's error in SQLAlchemy's; another one is returned as it is."""
    return error.orig if isinstance(error, DBAPIError) and error.orig else error


def diagnosis(error: BaseException) -> Any:
    """Return what the server said of an error, part by part (libpq's PQresultErrorField); None if it did not say it."""
    found = getattr(original(error), "diag", None)
    return found if found is not None and found.message_primary else None


def sqlstate(error: BaseException) -> str | None:
    """Return the server's code of an error, None if it is none of the server's."""
    cause = original(error)
    code: str | None = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    return code


def is_of_integrity(error: BaseException) -> bool:
    """Tell whether rows do not meet a constraint."""
    return (sqlstate(error) or "").startswith(_INTEGRITY)


def copy_out(connection: Connection, query: str, file: Writable) -> None:
    """Write the rows of a query to a file, as COPY ... TO STDOUT prints them."""
    statement = f"COPY ({query}) TO STDOUT"
    with driver_connection(connection).cursor() as cursor:
        if hasattr(cursor, "copy_expert"):
            cursor.copy_expert(statement, file, _BLOCK)
            return
        with cursor.copy(statement) as rows:
            for block in rows:
                file.write(block)


def copy_in(connection: Connection, target: str, file: Readable) -> None:
    """Read rows as COPY ... FROM STDIN takes them into `target`: a table, with its columns in brackets."""
    statement = f"COPY {target} FROM STDIN"
    with driver_connection(connection).cursor() as cursor:
        if hasattr(cursor, "copy_expert"):
            cursor.copy_expert(statement, file, _BLOCK)
            return
        with cursor.copy(statement) as rows:
            while block := file.read(_BLOCK):
                rows.write(block)
