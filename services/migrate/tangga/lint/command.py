"""Find steps that would hurt: locks, rewrites, lost data, code of the running release that breaks.

Each revision's SQL is looked at in both directions. An exception stands in the revision:
lint_ignore = {"rule": "reason"}.
"""

import argparse
import sys
from collections.abc import Collection

from tangga import lint
from tangga.exits import FINDINGS
from tangga.lint import report
from tangga.lint.finding import Finding
from tangga.project import Project

HELP = "find steps that would hurt"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("revisions", nargs="*", metavar="REVISION", help="only these (default: all)")
    parser.add_argument("--pending", action="store_true", help="only those that the database has not")
    parser.add_argument("--outage", action="store_true", help="let them break the release that runs, if they say so")
    parser.add_argument("--database", action="store_true", help="also ask the database: edited files, invalid indexes")
    parser.add_argument("--json", action="store_true", help="a list of objects, exceptions included")
    parser.add_argument("--page", action="store_true", help="print the page of all rules, with their examples")
    parser.add_argument("--verbose", action="store_true", help="show the exceptions too, with their reasons")


def run(project: Project) -> None:
    """Print the findings; ends the program with the code FINDINGS if there are any that no exception covers."""
    options = project.config.cmd_opts
    assert options is not None
    if options.page:
        sys.stdout.write(_page())
        return
    wanted = _wanted(project, options)
    found = _findings(project, options, wanted)
    if options.json:
        sys.stdout.write(report.as_json(found))
    else:
        revisions = project.revisions() if wanted is None else wanted
        sys.stdout.write(report.as_text(found, len(revisions), verbose=options.verbose))
        sys.stdout.write("" if options.database else report.NOT_ASKED)
    if any(finding.exception is None for finding in found):
        raise SystemExit(FINDINGS)


def _page() -> str:
    with lint.needing_the_parser():
        from tangga.lint.page import page

    return page()


def _wanted(project: Project, options: argparse.Namespace) -> Collection[str] | None:
    """Return the revisions that are asked for; None for all."""
    if not options.pending:
        return {project.scripts.get_revision(name).revision for name in options.revisions} or None
    with lint.needing_the_parser():
        from tangga.lint import database

    return {script.revision for script in database.pending(project)}


def _findings(project: Project, options: argparse.Namespace, wanted: Collection[str] | None) -> list[Finding]:
    with lint.needing_the_parser():
        from tangga.lint import checks, database

    found = checks.findings(project, wanted, database.findings(project) if options.database else None)
    if options.pending and not options.outage:
        # Only for the release that is about to be replaced is it more than a note.
        found = [one._replace(exception=None) if one.rule == "breaks-previous-release" else one for one in found]
    return found
