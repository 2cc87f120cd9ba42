"""Is the database at the revision that this image was built for?"""

import logging
from typing import Literal

import psycopg2.errors
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

logger = logging.getLogger("tangga.api")

State = Literal["ready", "behind", "ahead", "unreachable"]
_current = text("SELECT version_num FROM alembic_version")


class ExpectedSchema:
    """The revisions that came with this image, read once from migrations/versions."""

    def __init__(self, config_file: str = "alembic.ini") -> None:
        scripts = ScriptDirectory.from_config(Config(config_file))
        self.heads = frozenset(scripts.get_heads())
        self._known = frozenset(script.revision for script in scripts.walk_revisions())

    def compare(self, engine: Engine) -> tuple[State, str]:
        """Ask the database in one statement; return the state and a sentence that says why.

        `behind`: a step of this image is still to be run. `ahead`: the database holds a revision that this image has
        never heard of, so a newer image migrated it.
        """
        try:
            with engine.connect() as connection:
                found = frozenset(connection.execute(_current).scalars())
        except ProgrammingError as error:
            if not isinstance(error.orig, psycopg2.errors.UndefinedTable):
                raise
            found = frozenset()
        except (DBAPIError, PoolTimeoutError) as error:
            logger.warning("database_unreachable %s", str(getattr(error, "orig", error)).strip().replace("\n", " "))
            if "password authentication failed" in str(error):
                return "unreachable", (
                    "The database refuses the API's password (DB_PASS): the volume keeps the one of its first start."
                )
            return "unreachable", "The database does not answer."
        if found == self.heads:
            return "ready", "The database is at the revision that this image expects."
        at, want = _names(found), _names(self.heads)
        if found - self._known:
            return "ahead", f"The database is at {at}, which this image does not know; it expects {want}."
        return "behind", f"The database is at {at}; this image expects {want}."


def _names(revisions: frozenset[str]) -> str:
    return ", ".join(sorted(revisions)) or "no revision at all"
