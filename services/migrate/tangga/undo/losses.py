"""Say what steps down would lose: tables, columns and rows, found by running them and taking all of it back."""

import argparse
import json
import sys

from tangga.exits import WOULD_LOSE_DATA
from tangga.guard import log
from tangga.project import Project
from tangga.undo.preview import Losing, preview
from tangga.undo.saves import KINDS
from tangga.words import count, print_lines

HELP = "say what steps down would lose, without running them"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("revision", nargs="?", default="-1", help="how far down, as for downgrade (default: one step)")
    parser.add_argument("--json", action="store_true", help="for a program")


def run(project: Project) -> None:
    """Print what would be lost; ends the program with WOULD_LOSE_DATA if it is anything."""
    options = project.config.cmd_opts
    assert options is not None
    log.to_stderr()
    found = preview(project, options.revision)
    (_print_json if options.json else _print)(found)
    if any(step.items or step.unforeseen for step in found):
        sys.exit(WOULD_LOSE_DATA)


def _print(found: list[Losing]) -> None:
    losing = [step for step in found if step.items or step.unforeseen]
    if not losing:
        print_lines(f"{count(len(found), 'step')} down: no data would be lost")
        return
    lines = []
    for step in losing:
        lines.append(f"step {step.revision} ({step.message}) would lose:")
        width = max((len(str(item)) for item in step.items), default=0)
        lines += [f"  {item!s:<{width}}  {item.rows:>12,} rows  {KINDS[item.kind]}" for item in step.items]
        if step.unforeseen:
            lines.append(f"  what cannot be foreseen: {step.unforeseen}")
    print_lines(*lines)


def _print_json(found: list[Losing]) -> None:
    steps = [
        {
            "revision": step.revision,
            "message": step.message,
            "unforeseen": step.unforeseen,
            "losses": [
                {"kind": item.kind, "table": item.table, "columns": item.columns, "key": item.key, "rows": item.rows}
                for item in step.items
            ],
        }
        for step in found
    ]
    print_lines(json.dumps(steps, indent=2))
