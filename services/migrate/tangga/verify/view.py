"""The report as a person and as a program reads it."""

import json

from tangga.verify.model import Report
from tangga.words import aligned, count


def page(report: Report, rows: int) -> str:
    """Return how long each step took, one line per note and fault, and the sum; `rows` were in each table."""
    table = [("step", "message", "up", "down")]
    table += [(each.revision, each.message, _seconds(each.up), _seconds(each.down)) for each in report.timings]
    lines = aligned(table, right=(2, 3))
    lines += [f"note: {note}" for note in report.notes]
    lines += [f"not proven: {line}" for line in report.unproven]
    for finding in report.findings:
        where = f"{finding.revision} ({finding.file}): " if finding.revision else ""
        lines.append(f"fault: {where}{finding.text}")
    lines.append(
        f"{len(report.timings)} steps with {rows} rows a table in {report.seconds:.1f} s, "
        f"{report.overhead:.2f} s a step beyond the steps themselves"
    )
    if report.unproven:
        lines.append(f"not verified: {count(len(report.unproven), 'line')} above {_say(report)} what was not looked at")
    elif not report.findings:
        lines.append(f"verified: {', '.join(_proven(report))}")
    return "".join(f"{line}\n" for line in lines)


def _say(report: Report) -> str:
    return "says" if len(report.unproven) == 1 else "say"


def _proven(report: Report) -> list[str]:
    """Return what was proven, each with the number of steps if it was not proven of all that there are."""
    walked = len(report.timings)
    back = sum(timing.down is not None for timing in report.timings)
    found = ["up" if walked == report.steps else f"up ({walked} of {report.steps} steps)"]
    found.append("down and up again" if back == report.steps else f"down and up again ({back} of {report.steps} steps)")
    printed = walked - len(report.not_printable)
    found.append("printed SQL" if printed == report.steps else f"printed SQL ({printed} of {report.steps} steps)")
    return found + (["models"] if report.models else [])


def document(report: Report) -> str:
    """Return the report as JSON."""
    named = {
        "timings": [timing._asdict() for timing in report.timings],
        "findings": [finding._asdict() for finding in report.findings],
    }
    return json.dumps(report._asdict() | named) + "\n"


def _seconds(value: float | None) -> str:
    return "not run" if value is None else f"{value:.3f} s"
