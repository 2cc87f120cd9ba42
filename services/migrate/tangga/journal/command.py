"""List the steps, newest first: applied or pending, when, how long it took, by which image version, and who.

Failures stand beneath their step. `--all` lists every run instead, downgrades and stamps included.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from tangga import version_rows
from tangga.exits import ALEMBIC_REFUSES, Stop
from tangga.journal import view
from tangga.journal.history import Entry, Position, Step, list_steps, look, title, unknown_revisions
from tangga.project import Project
from tangga.remedies import say
from tangga.words import print_lines

HELP = "Show what was applied, when and by which version, and what is pending, newest first."

_PER_PAGE = 20


class _Page(NamedTuple):
    """One page of the steps, or of the runs; and how many steps are pending in all."""

    position: Position
    lines: Sequence[Any]
    pages: int
    pending: int


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--page", type=positive, default=1, help="which page (default: 1, the newest)")
    parser.add_argument("--per-page", type=positive, default=_PER_PAGE, help=f"lines on a page (default: {_PER_PAGE})")
    parser.add_argument("--all", action="store_true", help="every run, downgrades, stamps and failures included")
    parser.add_argument("--json", action="store_true", help="for a program")


def run(project: Project) -> None:
    """Print one page; raises Stop if there is no such page, DBAPIError if there is no database."""
    options = project.config.cmd_opts
    assert options is not None
    page = _page(project, options)
    if options.json:
        sys.stdout.write(json.dumps(_report(project, options, page), indent=2) + "\n")
    else:
        print_lines(*_heading(project, page), "", *_table(project, options, page), *_turning(options, page.pages))


def _page(project: Project, options: argparse.Namespace) -> _Page:
    position = look(project.settings)
    steps = list_steps(project.scripts, position)
    lines: Sequence[Step | Entry] = position.entries if options.all else steps
    pages = max(1, -(-len(lines) // options.per_page))
    if options.page > pages:
        raise Stop(f"there is no page {options.page}: the last one is {pages}", say("history"), ALEMBIC_REFUSES)
    shown = lines[(options.page - 1) * options.per_page : options.page * options.per_page]
    return _Page(position, shown, pages, sum(step.state == "pending" for step in steps))


def _report(project: Project, options: argparse.Namespace, page: _Page) -> dict[str, Any]:
    return {
        "database": project.settings.database,
        "current": page.position.current,
        "heads": project.scripts.get_heads(),
        "pending": page.pending,
        "page": options.page,
        "pages": page.pages,
        "runs" if options.all else "revisions": [view.plain(line) for line in page.lines],
    }


def _heading(project: Project, page: _Page) -> list[str]:
    """Say where the database is, and what is wrong with that."""
    settings, scripts, current = project.settings, project.scripts, page.position.current
    at = ", ".join(current) or "nothing yet (base)"
    heads = ", ".join(scripts.get_heads()) or "none"
    what_now = f"{page.pending} pending: {say('migrate')}" if page.pending else "nothing pending"
    lines = [f"database {settings.database} on {settings.address} | at {at} | head {heads} | {what_now}"]
    if unknown := unknown_revisions(scripts, current):
        lines.append(f"This image is older than the database: it does not have {', '.join(unknown)}.")
    if too_many := version_rows.surplus(scripts, current):
        lines.append(f"{version_rows.what(too_many)}: {version_rows.remedy(too_many)}.")
    return lines


def _table(project: Project, options: argparse.Namespace, page: _Page) -> list[str]:
    if not options.all:
        return view.step_table(page.lines)
    return view.entry_table(page.lines, {script.revision: title(script) for script in project.scripts.walk_revisions()})


def _turning(options: argparse.Namespace, pages: int) -> list[str]:
    """Say which page this is, and how to see the next one."""
    if pages == 1:
        return []
    command = say("history-page", page=options.page + 1)
    if options.all or options.per_page != _PER_PAGE:
        per_page = f" --per-page {options.per_page}" if options.per_page != _PER_PAGE else ""
        command = f"alembic log{' --all' * options.all}{per_page} --page {options.page + 1}"
    more = f": {command}" if options.page < pages else ""
    return ["", f"page {options.page} of {pages}{more}"]


def positive(value: str) -> int:
    """Return the number, at least 1; the function's name is in argparse's message."""
    number = int(value)
    if number < 1:
        raise ValueError
    return number
