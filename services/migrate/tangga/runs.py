"""Alembic in this process, on connections of one's own: for commands that try steps out on a scratch database.

The revisions are loaded once, and every run goes through migrations/env.py, so what is tried is what will run.
"""

import io
from collections.abc import Iterable
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, text

from tangga.revision.version_rows import refuse_surplus


class Runs:
    """The revisions of a project, and what can be done with them."""

    def __init__(self, config_file: str = "alembic.ini") -> None:
        self.config = Config(config_file)
        self.scripts = ScriptDirectory.from_config(self.config)

    def revisions(self) -> list[Script]:
        """Return all revisions, the oldest first."""
        return [*self.scripts.walk_revisions()][::-1]

    def pending(self, applied: Iterable[str], to: str = "heads") -> list[Script]:
        """Return the revisions between what is applied and `to`, in the order in which they would run."""
        rows = tuple(applied)
        refuse_surplus(self.scripts, rows)
        return [*self.scripts.iterate_revisions(to, rows or "base")][::-1]

    def upgrade(self, connection: Connection, to: str) -> None:
        """Go up to a revision."""
        self._run(connection, lambda rev, _: self.scripts._upgrade_revs(to, rev), destination_rev=to)

    def downgrade(self, connection: Connection, to: str) -> None:
        """Go down to a revision."""
        self._run(connection, lambda rev, _: self.scripts._downgrade_revs(to, rev), destination_rev=to)

    def sql(self, start: str, to: str, *, down: bool = False, into: io.StringIO | None = None) -> str:
        """Return the SQL that goes from one revision to another, printed as `--sql` prints it."""
        compute = self.scripts._downgrade_revs if down else self.scripts._upgrade_revs
        output = into or io.StringIO()
        self.config.output_buffer = output
        self._run(
            None, lambda rev, _: compute(to, rev), as_sql=True, starting_rev=start, destination_rev=to
        )  # fmt: skip
        return output.getvalue()

    def _run(self, connection: Connection | None, fn: Any, **options: Any) -> None:
        self.config.attributes["runs"] = connection
        with EnvironmentContext(self.config, self.scripts, fn=fn, **options):
            self.scripts.run_env()


def applied(connection: Connection) -> tuple[str, ...]:
    """Return the revisions that a database is at; () before the first step."""
    if connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return ()
    return tuple(connection.scalars(text("SELECT version_num FROM alembic_version ORDER BY 1")))
