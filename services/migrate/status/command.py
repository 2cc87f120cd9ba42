"""Tell on one page how the stack is: services, schema, backups, connections, what was done to it.

What only the machine knows (containers, files) comes as JSON on stdin, gathered by scripts/status.sh; the database is
asked here. With --html, a page that needs nothing else, for a browser.
"""

import argparse
import json
import sys
from typing import Any

from services.migrate.status import page
from services.migrate.status.facts import Status, ask
from services.migrate.status.tables import (
    backups_table,
    database_line,
    operations_table,
    services_table,
    sessions_table,
    steps_table,
)
from tangga.project import Project
from tangga.words import aligned, print_lines, when

HELP = "Show how the stack is, from facts on stdin (scripts/status.sh)."

_STEPS_SHOWN = 5


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
        sys.stdout.write(page.page(status))
    else:
        print_lines(*_lines(status))


def _lines(status: Status) -> list[str]:
    troubles = status.troubles()
    verdict = "all is well" if not troubles else f"{len(troubles)} to look at"
    lines = [f"{status.facts['project']} | release {status.facts['tag']} | {when(status.moment)} UTC | {verdict}"]
    lines += [f"  ! {trouble}" for trouble in troubles]
    lines += ["", *aligned(services_table(status)), "", f"database  {database_line(status)}"]
    if status.database:
        lines += [*aligned(sessions_table(status)), "", *aligned(steps_table(status.steps[:_STEPS_SHOWN]))]
        if (more := len(status.steps) - _STEPS_SHOWN) > 0:
            lines.append(f"  and {more} more: make history")
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
