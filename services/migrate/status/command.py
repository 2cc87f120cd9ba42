"""Tell on one page how the stack is: services, schema, backups, connections, what was done to it.

What only the machine knows (containers, files) comes as JSON on stdin, gathered by scripts/status.sh; the database is
asked here. With --html, a page that needs nothing else, for a browser.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from tangga import connect
from tangga import version_rows as rows_of_version
from tangga.failures import explain
from tangga.journal.history import Position, Step, list_steps, look
from tangga.project import Project
from tangga.words import aligned, duration, print_lines, when

HELP = "Show how the stack is, from facts on stdin (scripts/status.sh)."

Rows = list[tuple[str, ...]]
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


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--html", action="store_true", help="a page for a browser")
    form.add_argument("--json", action="store_true", help="for a program")


def run(project: Project) -> None:
    """Print the page."""
    options = project.config.cmd_opts
    assert options is not None
    status = ask(json.load(sys.stdin), project)
    if options.json:
        sys.stdout.write(json.dumps(_plain(status), indent=2, default=str) + "\n")
    elif options.html:
        from services.migrate.status import page

        sys.stdout.write(page.page(status))
    else:
        print_lines(*_lines(status))


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
        steps, too_many = (
            list_steps(project.scripts, position),
            rows_of_version.surplus(project.scripts, position.current),
        )
    except Exception as error:  # files of the authors' own run here
        failure = explain(error, project)
        return [], f"{failure.what}: {failure.remedy}"
    return steps, f"{rows_of_version.what(too_many)}: {rows_of_version.remedy(too_many)}" if too_many else None


def size(number: int) -> str:
    """Return bytes with the unit that suits them."""
    amount = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 10 else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def services_table(status: Status) -> Rows:
    """Return the containers as rows, the header first."""
    rows: Rows = [("container", "state", "image", "since")]
    for container in status.facts["services"]:
        name, state, _ = service(container)
        rows.append((name, state, container["Image"], container.get("RunningFor", "")))
    return rows


def backups_table(status: Status) -> Rows:
    """Return the newest backups as rows, the header first."""
    rows: Rows = [("made (UTC)", "size", "revision", "rows", "verified (UTC)")]
    for backup in status.facts["backups"]:
        verified = backup.get("verified_at")
        rows.append((
            when(datetime.fromisoformat(backup["created_at"])), size(backup["bytes"]), backup["revision"],
            f"{sum(table['rows'] for table in backup['tables'].values()):,}",
            when(datetime.fromisoformat(verified)) if verified else "not yet",
        ))  # fmt: skip
    return rows


def sessions_table(status: Status) -> Rows:
    """Return who is connected as rows, the header first."""
    rows: Rows = [("application", "role", "sessions", "active", "longest transaction")]
    for each in status.sessions:
        longest = duration(each.longest_transaction) if each.longest_transaction else ""
        rows.append((each.application, each.role, str(each.sessions), str(each.active), longest))
    return rows


def operations_table(status: Status) -> Rows:
    """Return what was done to the stack as rows, the newest first, after the header."""
    rows: Rows = [("started (UTC)", "what", "from", "to", "outcome", "took", "by", "reason")]
    for one in reversed(status.facts["operations"]):
        rows.append((
            when(datetime.fromisoformat(one["started_at"])), one["action"], one.get("from") or "", one.get("to") or "",
            one["outcome"], duration(float(one["seconds"])), one.get("who") or "", one.get("reason") or "",
        ))  # fmt: skip
    return rows


def steps_table(steps: Sequence[Step]) -> Rows:
    """Return the steps as rows, the newest first, after the header."""
    rows: Rows = [("revision", "message", "state", "applied (UTC)", "took")]
    for step in steps:
        done = (when(step.by.started_at), duration(step.by.seconds)) if step.by else ("", "")
        rows.append((step.revision, step.message, step.state, *done))
    return rows


def database_line(status: Status) -> str:
    """Say in a line what the server is."""
    if status.database is None:
        return f"does not answer: {status.unreachable}"
    server = status.database
    return (
        f"PostgreSQL {server.version.split()[0]}, {size(server.bytes)}, up {duration(server.up.total_seconds())}, "
        f"{server.sessions} of {server.max_connections} connections in use"
    )


def _lines(status: Status) -> list[str]:
    troubles = status.troubles()
    verdict = "all is well" if not troubles else f"{len(troubles)} to look at"
    lines = [f"{status.facts['project']} | release {status.facts['tag']} | {when(status.moment)} UTC | {verdict}"]
    lines += [f"  ! {trouble}" for trouble in troubles]
    lines += ["", *aligned(services_table(status)), "", f"database  {database_line(status)}"]
    if status.database:
        lines += [*aligned(sessions_table(status)), "", *aligned(steps_table(status.steps[:5]))]
        if len(status.steps) > 5:
            lines.append(f"  and {len(status.steps) - 5} more: make history")
    if status.facts["backups"]:
        lines += ["", *aligned(backups_table(status))]
    if status.facts["operations"]:
        lines += ["", *aligned(operations_table(status))]
    return lines


def _plain(status: Status) -> dict[str, Any]:
    return {
        **status.facts,
        "at": status.moment.isoformat(),
        "troubles": status.troubles(),
        "current": status.current,
        "pending": [step.revision for step in status.steps if step.state == "pending"],
        "database": status.database and {**status.database._asdict(), "up": status.database.up.total_seconds()},
        "sessions": [each._asdict() for each in status.sessions],
        "unreachable": status.unreachable,
    }
