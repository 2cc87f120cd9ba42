"""How the stack is: what the machine has told, what the database knows, and what somebody should look at."""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from tangga import connect, version_rows
from tangga.failures import explain
from tangga.journal.history import Position, Step, list_steps, look
from tangga.project import Project
from tangga.words import duration

_OLD_BACKUP = timedelta(days=2)
_ONE_SHOTS = ("migrate", "backup")
_SESSIONS = text("""
SELECT coalesce(nullif(split_part(application_name, ' ', 1), ''), 'no name') AS application, usename AS role,
       count(*) AS sessions, count(*) FILTER (WHERE state = 'active') AS active,
       coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)) FILTER (WHERE state <> 'idle'), 0)::float8
           AS longest_transaction
FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
GROUP BY 1, 2 ORDER BY sessions DESC, application, role
""")
_SERVER = text("""
SELECT current_setting('server_version') AS version, current_setting('max_connections')::int AS max_connections,
       (SELECT count(*) FROM pg_stat_activity WHERE datname IS NOT NULL) AS sessions,
       pg_database_size(current_database()) AS bytes, clock_timestamp() - pg_postmaster_start_time() AS up
""")


class Sessions(NamedTuple):
    """The sessions of one application; the longest transaction that is open, in seconds."""

    application: str
    role: str
    sessions: int
    active: int
    longest_transaction: float


class Database(NamedTuple):
    """What the server says of itself."""

    version: str
    max_connections: int
    sessions: int
    bytes: int
    up: timedelta


class Status(NamedTuple):
    """All that is shown. Where the database does not answer, `unreachable` says why, and what it knows is empty."""

    facts: dict[str, Any]
    moment: datetime
    steps: list[Step]
    current: tuple[str, ...]
    database: Database | None
    sessions: list[Sessions]
    unreachable: str | None
    # What is wrong with alembic_version or the revision files; None if nothing is.
    broken: str | None

    def troubles(self) -> list[str]:
        """Return what somebody should look at, the most urgent first."""
        return [*self._of_services(), *self._of_the_database(), *self._of_backups(), *self._of_operations()]

    def _of_services(self) -> list[str]:
        return [f"{name}: {state}" for name, state, well in map(service, self.facts["services"]) if not well]

    def _of_the_database(self) -> list[str]:
        if self.database is None:
            return [f"the database does not answer: {self.unreachable}"]
        found = [self.broken] if self.broken else []
        if pending := sum(step.state == "pending" for step in self.steps):
            found.append(
                f"{pending} steps are pending: make migrate" if pending > 1 else "1 step is pending: make migrate"
            )
        if any(step.message == "(not in this image)" for step in self.steps):
            found.append("the database is ahead of this image")
        if self.database.sessions > 0.8 * self.database.max_connections:
            found.append(f"{self.database.sessions} of {self.database.max_connections} connections are in use")
        found += [
            f"{each.application} ({each.role}) has had a transaction open for {duration(each.longest_transaction)}"
            for each in self.sessions
            if each.longest_transaction > 60
        ]
        return found

    def _of_backups(self) -> list[str]:
        backups = self.facts["backups"]
        if not backups:
            return ["there is no backup: make backup"]
        age = self.moment - datetime.fromisoformat(backups[0]["created_at"])
        found = [f"the newest backup is {age.days} days old: make backup"] if age > _OLD_BACKUP else []
        if not any(backup.get("verified_at") for backup in backups):
            found.append("no backup has been verified: make backup-verify")
        return found

    def _of_operations(self) -> list[str]:
        last = self.facts["operations"][-1:]
        return [f"the last {one['action']} failed: {one.get('reason', '')}" for one in last if one["outcome"] != "ok"]


def service(container: dict[str, Any]) -> tuple[str, str, bool]:
    """Return a container's name, its state in words, and whether that is as it should be."""
    state, health, code = container["State"], container.get("Health") or "", container.get("ExitCode") or 0
    if state == "exited":
        return container["Name"], f"exited ({code})", code == 0 and container["Service"] in _ONE_SHOTS
    return container["Name"], f"{state} ({health})" if health else state, state == "running" and health != "unhealthy"


def ask(facts: dict[str, Any], project: Project) -> Status:
    """Add to the facts what the database knows."""
    moment = datetime.now(UTC)
    engine = connect.engine(project.settings.url, "status", connect_timeout=3)
    try:
        position = look(project.settings)
        with engine.connect() as connection:
            database = Database(*connection.execute(_SERVER).one())
            sessions = [Sessions(*row) for row in connection.execute(_SESSIONS)]
    except OperationalError as error:
        reason = str(error.orig).strip().partition("\n")[0]
        return Status(facts, moment, [], (), None, [], reason, None)
    steps, broken = _steps(project, position)
    return Status(facts, moment, steps, position.current, database, sessions, None, broken)


def _steps(project: Project, position: Position) -> tuple[list[Step], str | None]:
    """Return the steps, and what is wrong: the page is made all the same."""
    try:
        steps = list_steps(project.scripts, position)
        too_many = version_rows.surplus(project.scripts, position.current)
    except Exception as error:  # files of the authors' own run here
        failure = explain(error, project)
        return [], f"{failure.what}: {failure.remedy}"
    return steps, f"{version_rows.what(too_many)}: {version_rows.remedy(too_many)}" if too_many else None
