"""Is the database at the revision that this image was built for?"""

import logging
from typing import Literal, NamedTuple

import psycopg2.errors
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from services.api.db.database import Database

logger = logging.getLogger("tangga.api")

State = Literal["ready", "behind", "ahead", "unreachable"]
_current = text("SELECT version_num FROM alembic_version")
_age = text("""
    SELECT (extract(epoch FROM clock_timestamp() - started_at) - seconds)::float8
    FROM migration_log WHERE outcome = 'done' AND direction IN ('up', 'down') ORDER BY id DESC LIMIT 1
""")


class Found(NamedTuple):
    """Where the database is, a sentence about it, and its revisions."""

    state: State
    detail: str
    revisions: frozenset[str] = frozenset()


class ExpectedSchema:
    """The revisions that came with this image, read once from migrations/versions."""

    def __init__(self, config_file: str = "alembic.ini") -> None:
        scripts = ScriptDirectory.from_config(Config(config_file))
        self.heads = frozenset(scripts.get_heads())
        self._known = frozenset(script.revision for script in scripts.walk_revisions())

    def look(self, db: Database) -> Found:
        """Ask the database in one statement where it is.

        `behind`: a step of this image is still to be run. `ahead`: the database holds a revision that this image has
        never heard of, so a newer image migrated it.
        """
        try:
            with db.connect() as connection:
                found = frozenset(connection.execute(_current).scalars())
        except ProgrammingError as error:
            if not isinstance(error.orig, psycopg2.errors.UndefinedTable):
                raise
            found = frozenset()
        except (DBAPIError, PoolTimeoutError) as error:
            logger.warning("database_unreachable", extra={"reason": str(getattr(error, "orig", error)).strip()})
            if "password authentication failed" in str(error):
                return Found(
                    "unreachable",
                    ("The database refuses the API's password (DB_PASS): the volume keeps the one of its first start."),
                )
            return Found("unreachable", "The database does not answer.")
        if found == self.heads:
            return Found("ready", "The database is at the revision that this image expects.", found)
        at, want = _names(found), _names(self.heads)
        if found - self._known:
            detail = f"The database is at {at}, which this image does not know; it expects {want}."
            return Found("ahead", detail, found)
        return Found("behind", f"The database is at {at}; this image expects {want}.", found)

    def age(self, db: Database) -> float | None:
        """Return the seconds since the newest step was done; None if no log of them can be read."""
        try:
            with db.connect() as connection:
                return connection.execute(_age).scalar()
        except (DBAPIError, PoolTimeoutError):
            return None


def _names(revisions: frozenset[str]) -> str:
    return ", ".join(sorted(revisions)) or "no revision at all"
