"""The report as a person and as a program reads it."""

import json

from tangga.verify.model import Report
from tangga.words import aligned


def page(report: Report, rows: int) -> str:
    """Return how long each step took, one line per note and fault, and the sum; `rows` were in each table."""
    table = [("step", "message", "up", "down")]
    table += [(each.revision, each.message, _seconds(each.up), _seconds(each.down)) for each in report.timings]
    lines = aligned(table, right=(2, 3))
    lines += [f"note: {note}" for note in report.notes]
    for finding in report.findings:
        where = f"{finding.revision} ({finding.file}): " if finding.revision else ""
        lines.append(f"fault: {where}{finding.text}")
    lines.append(
        f"{len(report.timings)} steps with {rows} rows a table in {report.seconds:.1f} s, "
        f"{report.overhead:.2f} s a step beyond the steps themselves"
    )
    if not report.findings:
        lines.append(f"verified: up, down and up again, printed SQL{'' if report.unseen else ', models'}")
    return "".join(f"{line}\n" for line in lines)


def document(report: Report) -> str:
    """Return the report as JSON."""
    named = {
        "timings": [timing._asdict() for timing in report.timings],
        "findings": [finding._asdict() for finding in report.findings],
    }
    return json.dumps(report._asdict() | named) + "\n"


def _seconds(value: float | None) -> str:
    return "not run" if value is None else f"{value:.3f} s"
