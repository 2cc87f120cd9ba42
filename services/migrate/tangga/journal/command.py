"""List the steps, newest first: applied or pending, when, how long it took, by which image version, and who.

What failed stands beneath its step. `--all` lists what was done instead, run by run, downgrades and stamps included.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC
from typing import Any

from tangga import version_rows
from tangga.exits import ALEMBIC_REFUSES, Stop
from tangga.journal.history import Entry, Step, list_steps, look, title, unknown_revisions
from tangga.project import Project
from tangga.remedies import say
from tangga.words import aligned, duration, print_lines, when

HELP = "Show what was applied, when and by which version, and what is pending, newest first."

_PER_PAGE = 20
# Of the tries that failed, so many are shown beneath a step; --all shows every one.
_FAILURES_SHOWN = 3


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--page", type=positive, default=1, help="which page (default: 1, the newest)")
    parser.add_argument("--per-page", type=positive, default=_PER_PAGE, help=f"lines on a page (default: {_PER_PAGE})")
    parser.add_argument("--all", action="store_true", help="every run, downgrades, stamps and failures included")
    parser.add_argument("--json", action="store_true", help="for a program")


def run(project: Project) -> None:
    """Print one page; raises Stop if there is no such page, DBAPIError if there is no database."""
    options, settings, scripts = project.config.cmd_opts, project.settings, project.scripts
    assert options is not None
    position = look(settings)
    steps = list_steps(scripts, position)
    lines: Sequence[Step | Entry] = position.entries if options.all else steps
    pages = max(1, -(-len(lines) // options.per_page))
    if options.page > pages:
        raise Stop(f"there is no page {options.page}: the last one is {pages}", say("history"), ALEMBIC_REFUSES)
    shown = lines[(options.page - 1) * options.per_page : options.page * options.per_page]
    heads = scripts.get_heads()
    pending = sum(step.state == "pending" for step in steps)
    if options.json:
        head = {"database": settings.database, "current": position.current, "heads": heads, "pending": pending}
        key = "runs" if options.all else "revisions"
        report = {**head, "page": options.page, "pages": pages, key: [_plain(line) for line in shown]}
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
        return
    at = ", ".join(position.current) or "nothing yet (base)"
    what_now = f"{pending} pending: {say('migrate')}" if pending else "nothing pending"
    print_lines(
        f"database {settings.database} on {settings.address} | at {at} | head {', '.join(heads) or 'none'} | {what_now}"
    )
    unknown = unknown_revisions(scripts, position.current)
    if unknown:
        print_lines(f"This image is older than the database: it does not have {', '.join(unknown)}.")
    if too_many := version_rows.surplus(scripts, position.current):
        print_lines(f"{version_rows.what(too_many)}: {version_rows.remedy(too_many)}.")
    print_lines("")
    messages = {script.revision: title(script) for script in scripts.walk_revisions()}
    print_lines(*(_entry_table(shown, messages) if options.all else _step_table(shown)))
    if pages > 1:
        command = say("history-page", page=options.page + 1)
        if options.all or options.per_page != _PER_PAGE:
            per_page = f" --per-page {options.per_page}" if options.per_page != _PER_PAGE else ""
            command = f"alembic log{' --all' * options.all}{per_page} --page {options.page + 1}"
        more = f": {command}" if options.page < pages else ""
        print_lines("", f"page {options.page} of {pages}{more}")


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
