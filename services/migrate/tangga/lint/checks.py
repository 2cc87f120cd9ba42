"""The findings of all revisions: what the steps do, what the files say, what a database knows, less the exceptions."""

from collections.abc import Collection, Iterable, Iterator, Sequence

from tangga.lint import rules
from tangga.lint.exceptions import excused
from tangga.lint.finding import Finding, about_file
from tangga.lint.rule import File
from tangga.lint.rules import RULES
from tangga.lint.rules.chain import STALE_HEAD_FILE
from tangga.lint.walk import of_steps
from tangga.project import Project
from tangga.revision import head_file
from tangga.revision.loading import ALL, Readable


def findings(
    project: Project,
    revisions: Collection[str] | None = None,
    of_the_database: Sequence[Finding] | None = None,
    files: Readable = ALL,
    history: Collection[str] = (),
) -> list[Finding]:
    """Return what is wrong with the revisions (all, or those named), in the order of the steps.

    `of_the_database` are the findings of database.py, None if no database was asked; they get their exceptions here.
    Of the steps that are `history`, only that is said. Raises Stop if squawk cannot be run.
    """
    scripts = {script.revision: script for script in project.revisions()}
    rules.require_known(project)
    found = [*(of_the_database or ()), *of_steps(project, scripts)]
    # Where a file is not known, neither is which steps are heads.
    heads = [] if files.faults else project.scripts.get_heads()
    for script in scripts.values():
        for attribute, problem in rules.of_file(File(script, heads)):
            found.append(about_file(project, script, problem, attribute))
    by_revision: dict[str, list[Finding]] = {}
    for finding in _merged(one for one in found if rules.is_wanted(project, one.rule)):
        by_revision.setdefault(finding.revision, []).append(finding)
    wanted = scripts.keys() - files.stand_ins
    return [
        finding
        for script in scripts.values()
        if script.revision in wanted
        for finding in excused(project, script, by_revision.get(script.revision, []), of_the_database is not None)
        if revisions is None
        or script.revision in revisions
        or (script.revision in history and finding.rule in RULES and RULES[finding.rule].of_the_database)
    ]


def of_heads(project: Project, files: Readable) -> Iterator[Finding]:
    """Yield that the file HEAD is not what the steps say; nothing while it is not known what they say."""
    if not files.faults and (what := head_file.fault(project)):
        shown = project.shown(head_file.path(project))
        yield Finding("", shown, 1, "", *STALE_HEAD_FILE.problem(what=what))


def of_files(project: Project, files: Readable) -> Iterator[Finding]:
    """Yield what is at fault in the files themselves; no exception covers it."""
    for fault in files.faults:
        problem = RULES[fault.kind].problem(what=fault.what)
        yield Finding(fault.revision, project.shown(fault.path), fault.line, "", *problem)


def _merged(found: Iterable[Finding]) -> Iterator[Finding]:
    """Yield what is said once for all statements of which it is said in the same place, as in a loop."""
    about: dict[Finding, dict[str, None]] = {}
    for finding in found:
        about.setdefault(finding._replace(about=""), {})[finding.about] = None
    for finding, statements in about.items():
        yield finding._replace(about="\0".join(statements))
