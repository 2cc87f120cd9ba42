"""What is shown of the status, as rows of text: for the terminal and for the page alike."""

from collections.abc import Sequence
from datetime import datetime

from services.migrate.status.facts import Status, service
from tangga.journal.history import Step
from tangga.words import duration, when

Rows = list[tuple[str, ...]]


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
