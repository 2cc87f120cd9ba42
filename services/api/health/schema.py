"""Is the database at the revision that this image was built for?"""

import logging
from typing import Literal, NamedTuple

import psycopg2
import psycopg2.errors

from services.api.db.connection import Runner
from services.api.db.refusals import refusal
from services.api.db.statement import Statement
from services.migrate.precheck import steps_of_files

logger = logging.getLogger("tangga.api")

State = Literal["ready", "behind", "ahead", "unreachable"]
_current = Statement("SELECT version_num FROM alembic_version")
_age = Statement("""
    SELECT (extract(epoch FROM clock_timestamp() - started_at) - seconds)::float8 AS age
    FROM migration_log WHERE outcome = 'done' AND direction IN ('up', 'down') ORDER BY id DESC LIMIT 1
""")


class Found(NamedTuple):
    """Where the database is, a sentence about it, and its revisions."""

    state: State
    detail: str
    revisions: frozenset[str] = frozenset()


class ExpectedSchema:
    """The revisions that came with this image, read once from migrations/versions."""

    def __init__(self) -> None:
        if steps := steps_of_files("migrations/versions"):
            self._known = frozenset(steps)
            self.heads = self._known - frozenset(steps.values())
        else:
            # Branches, or another spelling: Alembic reads everything, but loading it takes a tenth of the whole start.
            from alembic.config import Config
            from alembic.script import ScriptDirectory

            scripts = ScriptDirectory.from_config(Config("alembic.ini"))
            self._known = frozenset(script.revision for script in scripts.walk_revisions())
            self.heads = frozenset(scripts.get_heads())

    async def look(self, db: Runner) -> Found:
        """Ask the database in one statement where it is.

        `behind`: a step of this image is still to be run. `ahead`: the database holds a revision that this image has
        never heard of, so a newer image migrated it.
        """
        try:
            found = frozenset(row["version_num"] for row in await db.rows(_current))
        except psycopg2.errors.UndefinedTable:
            found = frozenset()
        except (psycopg2.OperationalError, psycopg2.InterfaceError, TimeoutError) as error:
            logger.warning("database_unreachable", extra={"reason": str(error).strip()})
            if "password authentication failed" in str(error):
                return Found(
                    "unreachable",
                    "The database refuses the API's password (DB_PASS): the volume keeps the one that it was given. "
                    "`make rotate-secrets apply=1` gives it the one of .env.",
                )
            if refused := refusal(str(error)):
                return Found("unreachable", f"{refused.what[0].upper()}{refused.what[1:]}: {refused.remedy}.")
            return Found("unreachable", "The database does not answer.")
        if found == self.heads:
            return Found("ready", "The database is at the revision that this image expects.", found)
        at, want = _names(found), _names(self.heads)
        if found - self._known:
            detail = f"The database is at {at}, which this image does not know; it expects {want}."
            return Found("ahead", detail, found)
        return Found("behind", f"The database is at {at}; this image expects {want}.", found)

    async def age(self, db: Runner) -> float | None:
        """Return the seconds since the newest step was done; None if no log of them can be read."""
        try:
            row = await db.row(_age)
        except (psycopg2.Error, TimeoutError):
            return None
        return row["age"] if row else None


def _names(revisions: frozenset[str]) -> str:
    return ", ".join(sorted(revisions)) or "no revision at all"
