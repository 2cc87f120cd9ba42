"""List the steps, newest first: applied or pending, when, how long it took, by which image version, and who.

What failed stands beneath its step. `--all` lists what was done instead, run by run, downgrades and stamps included.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from services.api.settings import MigrateSettings
from tangga.revision import version_rows as rows_of_version
from tangga.exits import ALEMBIC_REFUSES, Stop
from tangga.runs import applied

HELP = "Show what was applied, when and by which version, and what is pending, newest first."

_PER_PAGE = 20
# Of the tries that failed, so many are shown beneath a step; --all shows every one.
_FAILURES_SHOWN = 3
_ENTRIES = text("""
SELECT revision, direction, outcome, started_at, seconds, image_version, executed_by, error
FROM migration_log ORDER BY id DESC
""")


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


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--page", type=positive, default=1, help="which page (default: 1, the newest)")
    parser.add_argument("--per-page", type=positive, default=_PER_PAGE, help=f"lines on a page (default: {_PER_PAGE})")
    parser.add_argument("--all", action="store_true", help="every run, downgrades, stamps and failures included")
    parser.add_argument("--json", action="store_true", help="for a program")


def run(config: Config) -> None:
    """Print one page; raises Stop if there is no such page, DBAPIError if there is no database."""
    options, settings = config.cmd_opts, MigrateSettings.load()
    assert options is not None
    scripts = ScriptDirectory.from_config(config)
    position = look(settings)
    steps = list_steps(scripts, position)
    lines: Sequence[Step | Entry] = position.entries if options.all else steps
    pages = max(1, -(-len(lines) // options.per_page))
    if options.page > pages:
        raise Stop(f"there is no page {options.page}: the last one is {pages}", "make history", ALEMBIC_REFUSES)
    shown = lines[(options.page - 1) * options.per_page : options.page * options.per_page]
    heads = scripts.get_heads()
    pending = sum(step.state == "pending" for step in steps)
    if options.json:
        head = {"database": settings.db_name, "current": position.current, "heads": heads, "pending": pending}
        key = "runs" if options.all else "revisions"
        report = {**head, "page": options.page, "pages": pages, key: [_plain(line) for line in shown]}
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
        return
    at = ", ".join(position.current) or "nothing yet (base)"
    what_now = f"{pending} pending: make migrate" if pending else "nothing pending"
    print_lines(
        f"database {settings.db_name} on {settings.db_hostname}:{settings.db_port}"
        f" | at {at} | head {', '.join(heads) or 'none'} | {what_now}"
    )
    unknown = unknown_revisions(scripts, position.current)
    if unknown:
        print_lines(f"This image is older than the database: it does not have {', '.join(unknown)}.")
    if too_many := rows_of_version.surplus(scripts, position.current):
        print_lines(f"{rows_of_version.what(too_many)}: {rows_of_version.remedy(too_many)}.")
    print_lines("")
    messages = {script.revision: title(script) for script in scripts.walk_revisions()}
    print_lines(*(_entry_table(shown, messages) if options.all else _step_table(shown)))
    if pages > 1:
        command = "alembic log --all --page " if options.all else "make history page="
        if options.per_page != _PER_PAGE:
            command = f"alembic log{' --all' * options.all} --per-page {options.per_page} --page "
        more = f": {command}{options.page + 1}" if options.page < pages else ""
        print_lines("", f"page {options.page} of {pages}{more}")


def look(settings: MigrateSettings) -> Position:
    """Ask the database where it is; raises OperationalError if it cannot be reached."""
    connect_args = {"application_name": "tangga-history", "connect_timeout": 5}
    engine = create_engine(settings.url, poolclass=NullPool, connect_args=connect_args)
    with engine.connect() as connection:
        return Position(applied(connection), entries(connection))


def entries(connection: Connection) -> list[Entry]:
    """Return the rows of migration_log, the newest first; [] if the table is not there."""
    if connection.scalar(text("SELECT to_regclass('migration_log')")) is None:
        return []
    return [Entry(*row) for row in connection.execute(_ENTRIES)]


def unknown_revisions(scripts: ScriptDirectory, revisions: Iterable[str]) -> list[str]:
    """Return those revisions that have no file here."""
    known = {script.revision for script in scripts.walk_revisions()}
    return [revision for revision in revisions if revision not in known]


def applied_below(scripts: ScriptDirectory, current: Iterable[str]) -> set[str]:
    """Return the revisions that a database at `current` has been through; raises CommandError for an unknown one."""
    # One by one: a row that is below another (rows_of_version.py) is no reason to know nothing.
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


def when(moment: datetime) -> str:
    """Return a moment as people read it: in UTC, to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def duration(seconds: float) -> str:
    """Return a duration with the unit that suits it."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def print_lines(*lines: str) -> None:
    """Print lines without trailing blanks."""
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in lines)


def _moved(entry: Entry) -> bool:
    """Tell whether the entry says that the database came to the revision, or left it."""
    return entry.outcome == "done" and entry.direction in ("up", "down", "stamp")


def _step_table(steps: Sequence[Any]) -> list[str]:
    rows = [("revision", "message", "state", "applied (UTC)", "took", "image", "by")]
    for step in steps:
        if step.by:
            took = "stamped" if step.by.direction == "stamp" else duration(step.by.seconds)
            done = (when(step.by.started_at), took, step.by.image_version, step.by.executed_by)
        else:
            done = ("no record" if step.state in ("applied", "current") else "", "", "", "")
        rows.append((step.revision, step.message, step.state, *done))
    lines = aligned(rows)
    for place, step in reversed([*enumerate(steps, start=1)]):
        lines[place + 1 : place + 1] = _failures(step.failures)
    if any(row[3] == "no record" for row in rows):
        lines += ["", "no record: applied before migration_log existed, or passed by a stamp"]
    return lines


def _failures(failures: list[Entry]) -> list[str]:
    lines = [
        f"    failed {when(each.started_at)} going {each.direction} after {duration(each.seconds)}"
        f" (image {each.image_version}, {each.executed_by}): {each.error}"
        for each in failures[:_FAILURES_SHOWN]
    ]
    rest = len(failures) - _FAILURES_SHOWN
    return [*lines, f"    and {rest} more: alembic log --all"] if rest > 0 else lines


def _entry_table(shown: Sequence[Any], messages: dict[str, str]) -> list[str]:
    rows = [("started (UTC)", "what", "outcome", "revision", "message", "took", "image", "by")]
    for entry in shown:
        message = messages.get(entry.revision, "(not in this image)")
        took = "" if entry.direction == "stamp" else duration(entry.seconds)
        what = (when(entry.started_at), entry.direction, entry.outcome, entry.revision, message)
        rows.append((*what, took, entry.image_version, entry.executed_by))
    lines = aligned(rows)
    for place, entry in reversed([*enumerate(shown, start=1)]):
        if entry.error:
            lines.insert(place + 1, f"    {entry.error}")
    return lines


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines, each column as wide as its widest value."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)) for row in rows]


def _plain(line: Step | Entry) -> dict[str, Any]:
    if isinstance(line, Entry):
        return {**line._asdict(), "started_at": line.started_at.astimezone(UTC).isoformat()}
    by, failures = line.by and _plain(line.by), [_plain(each) for each in line.failures]
    return {"revision": line.revision, "message": line.message, "state": line.state, "by": by, "failures": failures}


def positive(value: str) -> int:
    """Return the number, at least 1; the function's name is in argparse's message."""
    number = int(value)
    if number < 1:
        raise ValueError
    return number
