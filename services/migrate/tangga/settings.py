"""What tangga is told: the database, the bounds on a migration, the throwaway server.

A project says in `[tool.tangga]` of its pyproject.toml who knows it (`settings = "package.module:function"`, and
`scratch = ...`). Without that, the URL is Alembic's own (`sqlalchemy.url`) or DATABASE_URL, and the bounds are the
MIGRATE_* variables of the environment.
"""

import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import URL, make_url

from tangga.exits import WRONG_SETTING, Stop


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
    # Where a step down keeps what it would lose.
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
    """The throwaway server: as a superuser, with the database that new ones are copied from."""

    url: URL
    # A piece of shell that sets PGUSER and PGPASSWORD for the live database on that server's machine: so the password
    # is in no statement. {owner} is the live database's user.
    credentials: str = ""


def from_environment(url: str | None) -> Settings:
    """Return the settings of a project that has no function for them; raises Stop for a wrong one."""
    address = os.environ.get("DATABASE_URL") or url
    if not address:
        raise Stop(
            "no database is named", "set sqlalchemy.url in Alembic's configuration, or DATABASE_URL", WRONG_SETTING
        )
    limits: dict[str, Any] = {
        name: _seconds(f"MIGRATE_{name.upper()}")
        for name in ("lock_wait", "lock_timeout", "lock_retry_for", "statement_timeout")
        if f"MIGRATE_{name.upper()}" in os.environ
    }
    return Settings(
        _driver_that_is_there(make_url(address)),
        save_dir=Path(os.environ.get("MIGRATE_SAVE_DIR", "saved")),
        version=os.environ.get("MIGRATE_VERSION", "unknown"),
        **limits,
    )


def scratch_from_environment() -> ScratchSettings:
    """Return the throwaway server that SCRATCH_URL names; raises Stop if it names none."""
    if not (url := os.environ.get("SCRATCH_URL")):
        raise Stop(
            "no throwaway server is named, and this command tries steps out on one",
            "set SCRATCH_URL to a superuser's URL there, with the database that new ones are copied from",
            WRONG_SETTING,
        )
    return ScratchSettings(_driver_that_is_there(make_url(url)))


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


def _driver_that_is_there(url: URL) -> URL:
    """Name the driver where the URL names none, and it is not psycopg2 that is installed."""
    if url.drivername not in ("postgresql", "postgres"):
        return url
    try:
        import psycopg2  # noqa: F401 - only whether it is there
    except ImportError:
        return url.set(drivername="postgresql+psycopg")
    return url.set(drivername="postgresql+psycopg2")
