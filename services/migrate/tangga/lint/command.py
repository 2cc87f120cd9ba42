"""Find steps that would hurt: locks, rewrites, lost data, code of the running release that breaks.

Each revision's SQL is looked at in both directions. No database is needed, no models, no settings, and env.py is not
run. An exception stands in the revision: lint_ignore = {"rule": "reason"}. A history that was there before the linter:
lint_from = "<revision>" in [tool.tangga], --baseline, or --since.
"""

import argparse
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

from tangga import lint
from tangga.exits import FINDINGS, REVISION_FILES, WRONG_SETTING, Stop
from tangga.lint import baseline, report, selection
from tangga.lint.baseline import Compared
from tangga.lint.finding import Finding
from tangga.project import Project
from tangga.remedies import say
from tangga.revision import head_file
from tangga.revision.loading import Readable, readable

HELP = "find steps that would hurt"
_FORMATS = ("text", "json", "sarif", "github")


class _Looked(NamedTuple):
    """Which revisions were looked at."""

    revisions: set[str]
    # Some were asked for; else it is all, but for history.
    chosen: bool
    history: set[str]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("revisions", nargs="*", metavar="REVISION", help="only these (default: all)")
    parser.add_argument("--since", metavar="REF", help="only those that this branch adds to a commit: origin/main")
    parser.add_argument("--pending", action="store_true", help="only those that the database has not")
    parser.add_argument("--outage", action="store_true", help="let them break the release that runs, if they say so")
    parser.add_argument("--database", action="store_true", help="also ask the database: edited files, invalid indexes")
    parser.add_argument("--baseline", metavar="FILE", help="findings that were accepted: only others are spoken of")
    parser.add_argument("--write-baseline", action="store_true", help="accept what is found now: write that file")
    parser.add_argument("--write-head", action="store_true", help="write the file HEAD beside the steps, and keep it")
    parser.add_argument("--format", choices=_FORMATS, default="text", help="text, json, sarif, or GitHub's annotations")
    parser.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    parser.add_argument("--page", action="store_true", help="print the page of all rules, with their examples")
    parser.add_argument("--verbose", action="store_true", help="show the exceptions too, with their reasons")


def run(project: Project) -> None:
    """Print the findings; ends the program with the code FINDINGS if there are any that nothing covers.

    The code is REVISION_FILES if a file is at fault: then not all of them have been looked at.
    """
    options = project.config.cmd_opts
    assert options is not None
    if options.page:
        sys.stdout.write(_page())
        return
    with redirect_stdout(sys.stderr):  # what a file says by print() is nothing of the linter's
        files = readable(project.scripts)
        if options.write_head:
            head_file.write(project)
    looked = _looked(project, options, files)
    found = _findings(project, options, looked, files)
    if options.write_baseline:
        _write_baseline(project, options, looked, files, found)
    known = _compared(options, looked, files, found)
    with lint.needing_the_parser():
        from tangga.lint import checks
    # Of the steps that run next, a deploy asks: whether two branches met is a matter of the files.
    of_heads = () if options.pending else checks.of_heads(project, files)
    found = [*checks.of_files(project, files), *of_heads, *known.findings]
    _print(project, options, looked, files, known._replace(findings=found))
    if files.faults:
        what = f"not every step could be looked at as Alembic runs it: {_at_fault(project, files)}"
        raise Stop(what, "see the findings", REVISION_FILES)
    if any(finding.exception is None for finding in found):
        raise SystemExit(FINDINGS)


def _page() -> str:
    with lint.needing_the_parser():
        from tangga.lint.page import page

    return page()


def _looked(project: Project, options: argparse.Namespace, files: Readable) -> _Looked:
    """Return which revisions are to be looked at."""
    scripts = [script for script in project.revisions() if script.revision not in files.stand_ins]
    every = {script.revision for script in scripts}
    # Who names a step means it, however old it is.
    history = set() if options.revisions else selection.history(project)
    wanted = every - history
    if options.revisions:
        wanted &= {script.revision for name in options.revisions if (script := project.scripts.get_revision(name))}
    if options.since is not None:
        wanted &= selection.added_since(project, options.since, scripts)
    if options.pending:
        with lint.needing_the_parser():
            from tangga.lint import database
        wanted &= {script.revision for script in database.pending(project)}
    return _Looked(wanted, bool(options.revisions or options.since or options.pending), history & every)


def _findings(project: Project, options: argparse.Namespace, looked: _Looked, files: Readable) -> list[Finding]:
    with lint.needing_the_parser():
        from tangga.lint import checks, database

    of_the_database = database.findings(project) if options.database else None
    # An old file that was edited, or an index that is invalid now, is no history.
    history = () if looked.chosen else looked.history
    found = checks.findings(project, looked.revisions, of_the_database, files, history)
    if options.pending and not options.outage:
        # Only for the release that is about to be replaced is it more than a note.
        found = [one._replace(exception=None) if one.rule == "breaks-previous-release" else one for one in found]
    return found


def _write_baseline(
    project: Project, options: argparse.Namespace, looked: _Looked, files: Readable, found: list[Finding]
) -> None:
    """Accept what is found; raises Stop if that is not all that there is."""
    if not options.baseline or looked.chosen:
        raise Stop(
            "--write-baseline writes what is found in all steps to the file that --baseline names",
            f"{say('write-baseline', file='lint-baseline.txt')}, and no choice of steps",
            WRONG_SETTING,
        )
    if files.faults:
        what = f"a baseline would lack what is found in files that are at fault: {_at_fault(project, files)}"
        raise Stop(what, f"mend them first: {say('lint')} says what is wrong", REVISION_FILES)
    baseline.write(Path(options.baseline), options.baseline, found)


def _at_fault(project: Project, files: Readable) -> str:
    return ", ".join(dict.fromkeys(project.shown(fault.path) for fault in files.faults))


def _compared(options: argparse.Namespace, looked: _Looked, files: Readable, found: list[Finding]) -> Compared:
    if not options.baseline:
        return Compared(found, 0, [])
    everything = not (looked.chosen or looked.history or files.faults)
    return baseline.compared(Path(options.baseline), options.baseline, found, None if everything else looked.revisions)


def _print(project: Project, options: argparse.Namespace, looked: _Looked, files: Readable, known: Compared) -> None:
    """Print the findings, and what has not been looked at; a program reads nothing but the findings on stdout."""
    found, given = known.findings, options.baseline or ""
    accepted = f"accepted in {given}"
    with lint.needing_the_parser():
        from tangga.lint import formats

    write = {
        "text": lambda: report.as_text(found, verbose=options.verbose),
        "json": lambda: report.as_json(found),
        "github": lambda: formats.as_github(found, formats.prefix_of(project.folder)),
        "sarif": lambda: formats.as_sarif(found, formats.prefix_of(project.folder), accepted),
    }
    sys.stdout.write(write[options.format]())
    for_people = options.format in ("text", "github")
    if for_people:
        sys.stdout.write(report.summary(found, len(looked.revisions), known.accepted, given))
    notes = sys.stdout if for_people else sys.stderr
    notes.write(report.not_looked_at(len(looked.history), project.table.get("lint_from", "")))
    notes.write(report.not_seen(project, files))
    notes.write(report.without_models(project))
    notes.write(baseline.said_of(known.stale, given))
    if for_people and not options.database:
        sys.stdout.write(report.NOT_ASKED)
