"""Find steps that would hurt: locks, rewrites, lost data, code of the running release that breaks.

Each revision's SQL is looked at in both directions. An exception stands in the revision:
lint_ignore = {"rule": "reason"}.
"""

import argparse
import json
import sys

from tangga import lint
from tangga.exits import FINDINGS
from tangga.project import Project

HELP = "find steps that would hurt"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("revisions", nargs="*", metavar="REVISION", help="only these (default: all)")
    parser.add_argument("--pending", action="store_true", help="only those that the database has not")
    parser.add_argument("--outage", action="store_true", help="let them break the release that runs, if they say so")
    parser.add_argument("--database", action="store_true", help="also ask the database: edited files, invalid indexes")
    parser.add_argument("--json", action="store_true", help="a list of objects, exceptions included")
    parser.add_argument("--verbose", action="store_true", help="show the exceptions too, with their reasons")


def run(project: Project) -> None:
    """Print the findings; ends the program with the code FINDINGS if there are any that no exception covers."""
    # They need pglast, which is not where the help page of all commands may be asked for.
    from tangga.lint import checks, database

    options = project.config.cmd_opts
    assert options is not None
    wanted = {project.scripts.get_revision(name).revision for name in options.revisions} or None
    if options.pending:
        wanted = {script.revision for script in database.pending(project)}
    asked = database.findings(project) if options.database else None
    found = checks.findings(project, wanted, asked)
    if options.pending and not options.outage:
        # Only for the release that is about to be replaced is it more than a note.
        found = [one._replace(exception=None) if one.rule == "breaks-previous-release" else one for one in found]
    if options.json:
        sys.stdout.write(json.dumps([finding._asdict() for finding in found], indent=2) + "\n")
    else:
        sys.stdout.write(report(found, len(project.revisions() if wanted is None else wanted), verbose=options.verbose))
        if asked is None:
            sys.stdout.write(
                "The database was not asked (--database): edited files and invalid indexes are not seen.\n"
            )
    if any(finding.exception is None for finding in found):
        raise SystemExit(FINDINGS)


def report(found: list[lint.Finding], revisions: int, *, verbose: bool = False) -> str:
    """Return the findings as text for a person, with a summary in the last line."""
    open_, excused = (
        [one for one in found if one.exception is None],
        [one for one in found if one.exception is not None],
    )
    lines = []
    for finding in found if verbose else open_:
        direction = f" ({finding.direction})" if finding.direction else ""
        lines.append(f"{finding.file}:{finding.line}  {finding.rule}{direction}")
        lines.append(f"    why: {finding.why}")
        if finding.exception is None:
            lines.append(f"     do: {finding.remedy}")
        else:
            lines.append(f" except: {finding.exception}")
        lines.append("")
    summary = f"{revisions} {_s('revision', revisions)}: {len(open_)} {_s('finding', len(open_))}"
    lines.append(f"{summary}, {len(excused)} {_s('exception', len(excused))} with a reason")
    return "\n".join(lines) + "\n"


def _s(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
