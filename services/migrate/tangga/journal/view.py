"""What `log` shows, in lines for a person and as plain values for a program."""

from collections.abc import Sequence
from datetime import UTC
from typing import Any

from tangga.journal.history import Entry, Step
from tangga.words import aligned, duration, when

# Of the tries that failed, so many are shown beneath a step; --all shows every one.
_FAILURES_SHOWN = 3


def step_table(steps: Sequence[Step]) -> list[str]:
    """Return a line for each step, what failed beneath it; and what "no record" means, where it is said."""
    rows = [("revision", "message", "state", "applied (UTC)", "took", "image", "by")]
    rows += [(step.revision, step.message, step.state, *_done(step)) for step in steps]
    lines = aligned(rows)
    for place, step in reversed([*enumerate(steps, start=1)]):
        lines[place + 1 : place + 1] = _failures(step.failures)
    if any(row[3] == "no record" for row in rows):
        lines += ["", "no record: applied before migration_log existed, or passed by a stamp"]
    return lines


def entry_table(entries: Sequence[Entry], messages: dict[str, str]) -> list[str]:
    """Return a line for each run, its error beneath it; `messages` are those of the revisions that have a file."""
    rows = [("started (UTC)", "what", "outcome", "revision", "message", "took", "image", "by")]
    for entry in entries:
        message = messages.get(entry.revision, "(not in this image)")
        took = "" if entry.direction == "stamp" else duration(entry.seconds)
        what = (when(entry.started_at), entry.direction, entry.outcome, entry.revision, message)
        rows.append((*what, took, entry.image_version, entry.executed_by))
    lines = aligned(rows)
    for place, entry in reversed([*enumerate(entries, start=1)]):
        if entry.error:
            lines.insert(place + 1, f"    {entry.error}")
    return lines


def plain(line: Step | Entry) -> dict[str, Any]:
    """Return a step or a run as JSON takes it."""
    if isinstance(line, Entry):
        return {**line._asdict(), "started_at": line.started_at.astimezone(UTC).isoformat()}
    by, failures = line.by and plain(line.by), [plain(each) for each in line.failures]
    return {"revision": line.revision, "message": line.message, "state": line.state, "by": by, "failures": failures}


def _done(step: Step) -> tuple[str, str, str, str]:
    """Say when a step was applied, how long it took, by which image and by whom."""
    if step.by is None:
        return ("no record" if step.state in ("applied", "current") else "", "", "", "")
    took = "stamped" if step.by.direction == "stamp" else duration(step.by.seconds)
    return when(step.by.started_at), took, step.by.image_version, step.by.executed_by


def _failures(failures: list[Entry]) -> list[str]:
    lines = [
        f"    failed {when(each.started_at)} going {each.direction} after {duration(each.seconds)}"
        f" (image {each.image_version}, {each.executed_by}): {each.error}"
        for each in failures[:_FAILURES_SHOWN]
    ]
    rest = len(failures) - _FAILURES_SHOWN
    return [*lines, f"    and {rest} more: alembic log --all"] if rest > 0 else lines
