"""The findings of all revisions: what the steps do, what the files say, what a database knows, less the exceptions."""

from collections.abc import Collection, Sequence

from tangga.lint import rules
from tangga.lint.exceptions import excused
from tangga.lint.finding import Finding, about_file
from tangga.lint.rule import File
from tangga.lint.walk import of_steps
from tangga.project import Project


def findings(
    project: Project, revisions: Collection[str] | None = None, of_the_database: Sequence[Finding] | None = None
) -> list[Finding]:
    """Return what is wrong with the revisions (all, or those named), in the order of the steps.

    `of_the_database` are the findings of database.py, None if no database was asked; they get their exceptions here.
    Raises Stop if squawk cannot be run.
    """
    scripts = {script.revision: script for script in project.revisions()}
    found = [*(of_the_database or ()), *of_steps(project, scripts)]
    heads = project.scripts.get_heads()
    for script in scripts.values():
        for attribute, problem in rules.of_file(File(script, heads)):
            found.append(about_file(project, script, problem, attribute))
    by_revision: dict[str, list[Finding]] = {}
    for finding in dict.fromkeys(found):
        by_revision.setdefault(finding.revision, []).append(finding)
    return [
        finding
        for script in scripts.values()
        if revisions is None or script.revision in revisions
        for finding in excused(project, script, by_revision.get(script.revision, []), of_the_database is not None)
    ]
