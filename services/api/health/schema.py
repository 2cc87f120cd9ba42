"""Is the database at the revision that this image was built for, or ahead by no more than it can work with?"""

import logging
from pathlib import Path
from typing import Literal, NamedTuple

import psycopg2
import psycopg2.errors

from services.api.db.connection import Runner
from services.api.db.refusals import refusal
from services.api.db.statement import Row, Statement
from tangga.catalogue import ours
from tangga.precheck import steps_of_files

logger = logging.getLogger("tangga.api")
ours.configure(Path("pyproject.toml"))

State = Literal["ready", "behind", "ahead", "hidden", "unreachable", "unreadable"]
# If the image does not expect that revision: with the steps that were done after the one that it expects, and whether
# none of them breaks older releases. Of each step the last time counts. Read as JSON: a log that an older version made
# does not have that column.
_CURRENT = f"""
    WITH last AS (
        SELECT DISTINCT ON (revision) id, revision, direction, to_jsonb(log) ->> 'breaking' AS breaking
        FROM {ours.log()} AS log
        WHERE outcome = 'done' AND direction IN ('up', 'down', 'stamp') ORDER BY revision, id DESC
    )
    SELECT version_num, later.revisions, later.compatible FROM {{table}}, LATERAL (
        SELECT array_agg(revision) AS revisions, bool_and(direction = 'up' AND breaking = 'false') AS compatible
        FROM last WHERE version_num <> ALL (CAST(:heads AS text[])) AND direction <> 'down' AND id > (
            SELECT max(id) FROM last WHERE direction <> 'down' AND revision = ANY (CAST(:heads AS text[]))
            HAVING count(*) = cardinality(CAST(:heads AS text[]))
        )
    ) AS later
"""  # noqa: S608 - a name of the configuration's
_CURRENT_WITHOUT_LOG = "SELECT version_num, NULL AS revisions, NULL AS compatible FROM {table}"
# env.py may give Alembic's table another name and schema.
_elsewhere = Statement(ours.VERSION_TABLES)
# A search_path that somebody has set (a role may do so for itself), and that leads past the version.
_hidden = Statement("""
    SELECT current_user AS role, setting AS path, format('%I.%I', nspname, relname) AS version
    FROM pg_settings, pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE name = 'search_path' AND source <> 'default' AND relname = 'alembic_version' AND relkind = 'r'
        AND NOT pg_table_is_visible(pg_class.oid)
    ORDER BY nspname LIMIT 1
""")
_age = Statement(f"""
    SELECT (extract(epoch FROM clock_timestamp() - started_at) - seconds)::float8 AS age
    FROM {ours.log()} WHERE outcome = 'done' AND direction IN ('up', 'down') ORDER BY id DESC LIMIT 1
""")  # noqa: S608 - a name of the configuration's


class Found(NamedTuple):
    """Where the database is, a sentence about it, and its revisions."""

    state: State
    detail: str
    revisions: frozenset[str] = frozenset()


class ExpectedSchema:
    """The revisions that came with this image, read once from migrations/versions."""

    def __init__(self) -> None:
        self._unreadable: str | None = None
        self._look_into(ours.VERSION)
        if steps := steps_of_files("migrations/versions"):
            self._known = frozenset(steps)
            self.heads = self._known - frozenset(steps.values())
        else:
            # Branches, or another spelling: Alembic reads everything, but loading it takes a tenth of the whole start.
            self._known, self.heads, self._unreadable = _by_alembic()

    async def look(self, db: Runner) -> Found:
        """Ask the database in one statement where it is.

        `behind`: a step of this image is still to be run. `ahead`: the database holds a revision that this image has
        never heard of, so a newer image migrated it; if it went through this image's newest step, and no step since
        then breaks older releases, the image is ready all the same. `hidden`: the role's search_path leads past it.
        """
        try:
            rows = await self._rows(db)
        except (psycopg2.OperationalError, psycopg2.InterfaceError, TimeoutError) as error:
            logger.warning("database_unreachable", extra={"reason": str(error).strip()})
            return _unreachable(str(error))
        if not rows and (hidden := await self._hidden(db)):
            return Found(
                "hidden",
                f"search_path of role {hidden['role']} is {hidden['path']}: it hides {hidden['version']}, the table of "
                "the revision, and all others there. `make up`, or a restart of the database, gives the role its own "
                "settings back.",
            )
        rows = rows or await self._rows_elsewhere(db)
        found = frozenset(row["version_num"] for row in rows)
        if self._unreadable:
            return Found("unreadable", f"It is not known which revision this image expects: {self._unreadable}.", found)
        if found == self.heads:
            return Found("ready", "The database is at the revision that this image expects.", found)
        at, want = _names(found), _names(self.heads)
        if self.heads < found <= self._known:
            # All that are no head are below one. The schema is the expected one; the next migration stops at the row.
            below = _names(found - self.heads)
            return Found("ready", f"The database is at {want}; alembic_version holds a row too many: {below}.", found)
        if found - self._known:
            if rows[0]["compatible"] and found <= set(rows[0]["revisions"]):
                detail = f"The database is at {at}, by steps that this image can work with; it was made for {want}."
                return Found("ready", detail, found)
            detail = f"The database is at {at}, which this image does not know; it expects {want}."
            return Found("ahead", detail, found)
        return Found("behind", f"The database is at {at}; this image expects {want}.", found)

    def _look_into(self, table: str) -> None:
        self._table = table
        self._questions = [Statement(question.format(table=table)) for question in (_CURRENT, _CURRENT_WITHOUT_LOG)]

    async def _rows(self, db: Runner) -> list[Row]:
        with_log, without_log = self._questions
        try:
            return await db.rows(with_log, heads=[*self.heads])
        except psycopg2.errors.UndefinedTable:
            pass  # no step has been run, or none since there is a log
        try:
            return await db.rows(without_log)
        except psycopg2.errors.UndefinedTable:
            return []

    async def _rows_elsewhere(self, db: Runner) -> list[Row]:
        """Return those of the one table that is made like Alembic's; [] if there is none, or it was asked already."""
        try:
            found = [row["name"] for row in await db.rows(_elsewhere)]
            if len(found) != 1 or found == [self._table]:
                return []
            self._look_into(found[0])
            return await self._rows(db)
        except (psycopg2.Error, TimeoutError):
            return []

    async def _hidden(self, db: Runner) -> Row | None:
        try:
            return await db.row(_hidden)
        except (psycopg2.Error, TimeoutError):
            return None

    async def age(self, db: Runner) -> float | None:
        """Return the seconds since the newest step was done; None if no log of them can be read."""
        try:
            row = await db.row(_age)
        except (psycopg2.Error, TimeoutError):
            return None
        return row["age"] if row else None


def _unreachable(reason: str) -> Found:
    if "password authentication failed" in reason:
        return Found(
            "unreachable",
            "The database refuses the API's password (DB_PASS): the volume keeps the one that it was given. "
            "`make rotate-secrets apply=1` gives it the one of .env.",
        )
    if refused := refusal(reason):
        return Found("unreachable", f"{refused.what[0].upper()}{refused.what[1:]}: {refused.remedy}.")
    return Found("unreachable", "The database does not answer.")


def _names(revisions: frozenset[str]) -> str:
    return ", ".join(sorted(revisions)) or "no revision at all"


def _by_alembic() -> tuple[frozenset[str], frozenset[str], str | None]:
    """Return all revisions, the heads, and what is wrong with the files (then there are none)."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    from tangga.revision import files
    from tangga.version_rows import stored_heads

    scripts = ScriptDirectory.from_config(Config("alembic.ini"))
    try:
        files.strict(*scripts._version_locations)
        return frozenset(script.revision for script in scripts.walk_revisions()), stored_heads(scripts), None
    except Exception as error:  # files of the authors' own run here
        explained = files.explained(error, lambda: scripts)
        return frozenset(), frozenset(), str(explained or error)
