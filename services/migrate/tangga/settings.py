"""What tangga is told: the database, the bounds on a migration, the throwaway server.

A project says in `[tool.tangga]` of its pyproject.toml who knows it (`settings = "package.module:function"`, and
`scratch = ...`). Without that, the URL is DATABASE_URL or Alembic's own (`sqlalchemy.url`), the throwaway server is
SCRATCH_URL, and the bounds are the MIGRATE_* variables of the environment. `--url` and `--scratch` go before all that.
"""

import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from tangga.exits import WRONG_SETTING, Stop

# asyncpg's names for what libpq calls otherwise, and what only such drivers know.
_LIBPQ = {"ssl": "sslmode"}
_NOT_LIBPQ = re.compile("cache|prepared|async|server_settings|command_timeout")


class Refusal(Protocol):
    """What it means that the server does not let us in, and what to do."""

    @property
    def what(self) -> str: ...  # noqa: D102
    @property
    def remedy(self) -> str: ...  # noqa: D102


@dataclass(frozen=True)
class Settings:
    """The database, and the bounds on what a migration may do to it while it is in use. Durations are in seconds."""

    url: URL
    # How long to wait for another migrator; for a lock on a table; how long to try a step again and again; how long one
    # statement may run (0: for ever).
    lock_wait: float = 300
    lock_timeout: float = 1
    lock_retry_for: float = 300
    statement_timeout: float = 900
    # Where a step down keeps what it would lose; made when the first one does.
    save_dir: Path = Path("saved")
    # The release, as it is noted in migration_log.
    version: str = "unknown"
    # Called with the heads before a step goes up; may raise Stop.
    before_upgrade: Callable[[Collection[str]], None] | None = None
    # What part of an error of a connection means; None if it says enough itself.
    refusal: Callable[[str], Refusal | None] | None = None

    @property
    def address(self) -> str:
        """Where the server is: host:port."""
        return f"{self.url.host or 'localhost'}:{self.url.port or 5432}"

    @property
    def database(self) -> str:
        """The database's name."""
        return self.url.database or ""


@dataclass(frozen=True)
class ScratchSettings:
    """The throwaway server: as a superuser, with the database that new ones are copied from (default: template1)."""

    url: URL
    # For a server that knows the live one's users and passwords: a piece of shell that sets PGUSER and PGPASSWORD on
    # its machine ({owner} is the live database's user). Without it, the password is handed over while it is needed.
    credentials: str = ""
    # What the server's machine calls this one, if localhost is another one there.
    gateway: str = ""


def from_environment(configured: str | None, given: str | None = None) -> Settings:
    """Return the settings of a project that has no function for them; raises Stop for a wrong one."""
    address = given or os.environ.get("DATABASE_URL") or configured
    if not address:
        raise Stop(
            "no database is named", "set DATABASE_URL, or sqlalchemy.url in Alembic's configuration", WRONG_SETTING
        )
    limits: dict[str, Any] = {
        name: _seconds(f"MIGRATE_{name.upper()}")
        for name in ("lock_wait", "lock_timeout", "lock_retry_for", "statement_timeout")
        if f"MIGRATE_{name.upper()}" in os.environ
    }
    return Settings(
        address_of(address),
        save_dir=Path(os.environ.get("MIGRATE_SAVE_DIR", "saved")),
        version=os.environ.get("MIGRATE_VERSION", "unknown"),
        **limits,
    )


def scratch_from_environment(given: str | None = None) -> ScratchSettings:
    """Return the throwaway server that is given, or that SCRATCH_URL names; raises Stop if there is none."""
    if not (url := given or os.environ.get("SCRATCH_URL")):
        raise Stop(
            "no throwaway server is named, and this command tries steps out on one",
            "name it with SCRATCH_URL or --scratch: docker, or a superuser's URL, never on the live server",
            WRONG_SETTING,
        )
    return ScratchSettings(address_of(url))


def traceback_wanted() -> bool:
    """Tell whether MIGRATE_TRACEBACK asks for the whole error beside the line that says it."""
    return os.environ.get("MIGRATE_TRACEBACK", "").lower() in ("1", "true", "yes", "on")


def bounds(values: Mapping[str, Any]) -> dict[str, str]:
    """Return time-outs in seconds as PostgreSQL's settings, in milliseconds."""
    return {name: f"{int(seconds * 1000)}ms" for name, seconds in values.items()}


def _seconds(name: str) -> float:
    value = os.environ[name]
    if not re.fullmatch(r"\d+(\.\d+)?", value):
        raise Stop(f"{name}: is no number of seconds", "write it as 300, or 0.5", WRONG_SETTING)
    return float(value)


def address_of(given: str) -> URL:
    """Read a URL; name the driver that is there where it names none. Raises Stop, which does not repeat a password."""
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):
        url = URL.create("nothing")
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise Stop(
            "that is no URL of a PostgreSQL database",
            "write it as postgresql://user:password@host:5432/database; special characters in a password as %40",
            WRONG_SETTING,
        )
    if url.drivername in ("postgresql+psycopg2", "postgresql+psycopg"):
        return url
    # What runs here is not asynchronous; what the other drivers are told besides is not libpq's.
    told = {_LIBPQ.get(name, name): value for name, value in url.query.items() if not _NOT_LIBPQ.search(name)}
    url = url.set(query=told)
    try:
        import psycopg2  # noqa: F401 - only whether it is there
    except ImportError:
        return url.set(drivername="postgresql+psycopg")
    return url.set(drivername="postgresql+psycopg2")
