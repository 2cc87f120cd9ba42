"""Where a database is, and how it came there: alembic_version and migration_log against the files of the steps."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, text

from tangga import connect
from tangga.journal.tables import place
from tangga.project import applied
from tangga.settings import Settings

_ENTRIES = """
SELECT revision, direction, outcome, started_at, seconds, image_version, executed_by, error
FROM {log} ORDER BY id DESC
"""


class Entry(NamedTuple):
    """A row of migration_log."""

    revision: str
    direction: str
    outcome: str
    started_at: datetime
    seconds: float
    image_version: str
    executed_by: str
    error: str | None


class Step(NamedTuple):
    """A revision, where the database stands with it, what applied it, and the tries that failed, the newest first."""

    revision: str
    message: str
    state: str
    by: Entry | None
    failures: list[Entry]


class Position(NamedTuple):
    """Where a database is: its revisions, and what migration_log holds, the newest first."""

    current: tuple[str, ...]
    entries: list[Entry]


def look(settings: Settings) -> Position:
    """Ask the database where it is; raises OperationalError if it cannot be reached."""
    with connect.engine(settings.url, "history").connect() as connection:
        return Position(applied(connection), entries(connection))


def entries(connection: Connection) -> list[Entry]:
    """Return the rows of migration_log, the newest first; [] if the table is not there."""
    log = place(connection)
    return [Entry(*row) for row in connection.execute(text(_ENTRIES.format(log=log)))] if log else []


def unknown_revisions(scripts: ScriptDirectory, revisions: Iterable[str]) -> list[str]:
    """Return those revisions that have no file here."""
    known = {script.revision for script in scripts.walk_revisions()}
    return [revision for revision in revisions if revision not in known]


def applied_below(scripts: ScriptDirectory, current: Iterable[str]) -> set[str]:
    """Return the revisions that a database at `current` has been through; raises CommandError for an unknown one."""
    # One by one: a row that is below another (version_rows.py) is no reason to know nothing.
    return {script.revision for head in current for script in scripts.iterate_revisions(head, "base")}


def newer_than_image(scripts: ScriptDirectory, position: Position) -> list[Entry]:
    """Return what applied the revisions that only a newer image has, the newest first; [] if there are none.

    Nothing is concluded from a revision in the log alone: its file may have been squashed since.
    """
    if not unknown_revisions(scripts, position.current):
        return []
    known = {script.revision for script in scripts.walk_revisions()}
    found: list[Entry] = []
    taken_back: set[str] = set()
    for entry in position.entries:
        if not _moved(entry):
            continue
        if entry.revision in known:
            break
        if entry.direction == "down":
            taken_back.add(entry.revision)
        elif entry.revision not in taken_back and entry.revision not in {other.revision for other in found}:
            found.append(entry)
    return found


def list_steps(scripts: ScriptDirectory, position: Position) -> list[Step]:
    """Return all steps, the newest first; those that only the database knows come before the others."""
    current = set(position.current)
    unknown = unknown_revisions(scripts, position.current)
    newer = [entry.revision for entry in newer_than_image(scripts, position)]
    foreign = [*(revision for revision in unknown if revision not in newer), *newer]
    below = applied_below(scripts, current - set(unknown))
    # Reversed: the newest entry of a revision has the last word.
    last = {entry.revision: entry for entry in reversed(position.entries) if _moved(entry)}
    failed: dict[str, list[Entry]] = {}
    for entry in position.entries:
        if entry.outcome == "failed":
            failed.setdefault(entry.revision, []).append(entry)

    def state(script: Script) -> str:
        if script.revision in current:
            return "current"
        # Below a revision that has no file here, only the log can tell.
        by_log = script.revision in last and last[script.revision].direction != "down"
        if script.revision in below or (unknown and by_log):
            return "applied"
        return "unknown" if unknown and script.revision not in last else "pending"

    def step(revision: str, message: str, state: str) -> Step:
        entry = last.get(revision)
        by = entry if entry and entry.direction != "down" and state in ("applied", "current") else None
        return Step(revision, message, state, by, failed.get(revision, []))

    return [
        *(step(each, "(not in this image)", "current" if each in current else "applied") for each in foreign),
        *(step(script.revision, title(script), state(script)) for script in scripts.walk_revisions()),
    ]


def title(script: Script) -> str:
    """Return what a step does, on one line."""
    return " ".join(script.doc.split())


def _moved(entry: Entry) -> bool:
    """Tell whether the entry says that the database came to the revision, or left it."""
    return entry.outcome == "done" and entry.direction in ("up", "down", "stamp")
