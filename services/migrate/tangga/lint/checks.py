"""The findings of all revisions: rendered, parsed, then seen by squawk and by our own rules."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from alembic.script import Script

from tangga.guard.steps import TIMEOUTS
from tangga.journal.writing import BREAKS
from tangga.lint import Finding, rules, schema, squawk
from tangga.lint.rendering import Step, render
from tangga.lint.rules import Place, Problem
from tangga.lint.schema import Schema
from tangga.lint.statements import Statement, statements
from tangga.project import Project
from tangga.remedies import say

REMEDIES: Final = {
    "not-rendered": "print it without a database too (op.execute); else say in lint_ignore what it does",
    "no-downgrade": 'write it; or declare why not, irreversible = "reason", and raise in downgrade',
    "irreversible-undeclared": 'declare it in the step: irreversible = "reason"',
    "several-heads": "put one on top of the other: {reparent}; or join them: {merge}",
    "unused-exception": "take it out of lint_ignore",
    "breaks-previous-release": "spread it over two releases; or {outage}",
    "exception-without-reason": "write the reason into lint_ignore, for the one who reads it in a year",
    "edited-after-applied": "put the file back as it was (git log shows it), and write a new step for the difference",
    "invalid-index": "DROP INDEX CONCURRENTLY, then build it again: safe.create_index does both",
}
# Only a database can say these: an exception for them is not unused because nobody asked.
OF_THE_DATABASE: Final = ("edited-after-applied", "invalid-index")


def findings(
    project: Project, revisions: Collection[str] | None = None, of_the_database: Sequence[Finding] | None = None
) -> list[Finding]:
    """Return what is wrong with the revisions (all, or those named), in the order of the steps.

    `of_the_database` are the findings of database.py, None if no database was asked; they get their exceptions here.
    """
    scripts = {script.revision: script for script in project.revisions()}
    found = [*(of_the_database or ()), *_of_steps(project, scripts)]
    heads = project.scripts.get_heads()
    for script in scripts.values():
        found += _of_file(project, script, heads)
    by_revision: dict[str, list[Finding]] = {}
    for finding in dict.fromkeys(found):
        by_revision.setdefault(finding.revision, []).append(finding)
    return [
        finding
        for script in scripts.values()
        if revisions is None or script.revision in revisions
        for finding in _with_exceptions(
            project, script, by_revision.get(script.revision, []), of_the_database is not None
        )
    ]


def remedy(rule: str) -> str:
    """Return what to do about a finding."""
    words = {name: say(name) for name in ("merge", "outage", "plan", "reparent")}
    return (rules.REMEDIES | REMEDIES)[rule].format(**words)


def finding_about_file(project: Project, script: Script, rule: str, why: str, attribute: str = "revision") -> Finding:
    """Return a finding about a file as a whole, at the line that sets `attribute`."""
    text = Path(script.path).read_text()
    found = re.search(rf"^{attribute}\b", text, re.MULTILINE)
    line = text.count("\n", 0, found.start()) + 1 if found else 1
    return Finding(script.revision, project.file_of(script), line, "", rule, why, remedy(rule))


def _of_steps(project: Project, scripts: Mapping[str, Script]) -> Iterator[Finding]:
    """Go up and down the whole staircase, with the tables as they are at each statement."""
    steps = render(project, scripts.values())
    files = {revision: project.file_of(script) for revision, script in scripts.items()}
    all_statements = [statements(step) for step in steps]
    printed_up = {step.revision for step in steps if step.direction == "up" and (step.printed or step.problem)}
    after: dict[str, Schema] = {}
    not_validated: dict[tuple[str, str], tuple[Step, Statement]] = {}
    for step, own, alarms in zip(steps, all_statements, squawk.alarms(all_statements), strict=True):
        script = scripts[step.revision]
        file = files[step.revision]
        place = Place(_tables_before(step, script, after))
        for number, statement in enumerate(own):
            problems = [
                (problem, remedy(problem.rule) if problem.rule in rules.REMEDIES else "")
                for problem in rules.of_statement(statement, place)
            ]
            said = alarms.get(number, [])
            others = {problem.rule for problem, _ in said}
            problems += [
                (problem, remedy(problem.rule) if problem.rule in rules.REMEDIES else help_)
                for problem, help_ in said
                if not squawk.is_false(problem, statement, place, others)
            ]
            for problem, do in problems:
                if _holds(problem.rule, step.direction):
                    yield _finding(step, file, statement.line, problem, do)
            place.note(statement)
            schema.apply(place.schema, statement.tree)
            if step.direction == "up":
                not_validated |= dict.fromkeys(schema.added_not_valid(statement.tree), (step, statement))
        for sql in step.validated:
            schema.apply_text(place.schema, sql)
        for statement, problem in rules.of_step(place, place.schema):
            if _holds(problem.rule, step.direction):
                yield _finding(step, file, statement.line, problem, remedy(problem.rule))
        yield from _of_function(step, script, file, step.revision in printed_up)
        if step.direction == "up":
            after[step.revision] = place.schema
    for head in project.scripts.get_heads():
        for (table, name), (step, statement) in not_validated.items():
            constraint = after[head][table].constraints.get(name) if table in after[head] else None
            if constraint and not constraint.valid:
                problem = Problem("never-validated", f"{name} is NOT VALID for ever: it does not hold for the old rows")
                yield _finding(step, files[step.revision], statement.line, problem, remedy(problem.rule))


def _tables_before(step: Step, script: Script, after: Mapping[str, Schema]) -> Schema:
    if step.direction == "down":
        return dict(after[step.revision])
    below: Schema = {}
    for revision in script._normalized_down_revisions:
        below |= after[revision]
    return below


def _holds(rule: str, direction: str) -> bool:
    if direction == "up":
        return True
    return rule in squawk.DOWNWARDS or (rule in rules.OWN and rule not in rules.UPWARDS)


def _finding(step: Step, file: str, line: int, problem: Problem, remedy: str) -> Finding:
    return Finding(step.revision, file, line, step.direction, problem.rule, problem.why, remedy)


def _of_function(step: Step, script: Script, file: str, goes_up: bool) -> Iterator[Finding]:
    """Look at `upgrade` or `downgrade` as a whole: is it there, and could it be rendered?"""

    def problem(rule: str, why: str, line: int = step.line) -> Finding:
        return Finding(step.revision, file, line, step.direction, rule, why, remedy(rule))

    declared = getattr(script.module, "irreversible", "")
    if step.raises and step.direction == "down":
        if not declared:
            yield problem("irreversible-undeclared", f"downgrade ends in {step.problem}", step.problem_line)
    elif step.problem:
        why = f"it cannot be printed without a database, so nobody can check it: {step.problem}"
        yield problem("not-rendered", why, step.problem_line)
    elif step.does_something and not step.printed:
        yield problem("not-rendered", "it does something, but prints nothing without a database: nobody can check it")
    elif step.direction == "down" and goes_up and not step.printed:
        why = "passes in silence, though declared irreversible" if declared else "does not undo what upgrade does"
        yield problem("no-downgrade", f"downgrade {why}")


def _of_file(project: Project, script: Script, heads: Collection[str]) -> Iterator[Finding]:
    """Look at what a revision says about itself."""
    if script.revision in heads and len(heads) > 1:
        why = f"`upgrade head` does not know where to go: there are {len(heads)} heads, {', '.join(sorted(heads))}"
        yield finding_about_file(project, script, "several-heads", why)
    if reason := getattr(script.module, BREAKS, ""):
        why = f"the release that runs cannot work with it: {reason}"
        yield finding_about_file(project, script, "breaks-previous-release", why, BREAKS)
    for name in TIMEOUTS:
        if rules.is_zero(str(getattr(script.module, name, ""))):
            why = f"without {name} the step may hold everybody up for as long as it likes"
            yield finding_about_file(project, script, "timeouts-off", why, name)


def _with_exceptions(
    project: Project, script: Script, found: Sequence[Finding], asked_database: bool
) -> Iterator[Finding]:
    """Mark what the revision's lint_ignore excuses; what is wrong with lint_ignore itself is a finding too."""
    reasons: Mapping[str, str] = getattr(script.module, "lint_ignore", {})
    declared = dict.fromkeys([*rules.COMPATIBILITY, "breaks-previous-release"], getattr(script.module, BREAKS, None))
    order = ("up", "down", "")
    for finding in sorted(found, key=lambda one: (order.index(one.direction), one.line, one.rule)):
        yield finding._replace(exception=reasons.get(finding.rule, declared.get(finding.rule)))
    used = {finding.rule for finding in found}
    for rule, reason in reasons.items():
        if not reason.strip():
            why = f"the exception for {rule} gives no reason"
            yield finding_about_file(project, script, "exception-without-reason", why, "lint_ignore")
        if rule not in used and (asked_database or rule not in OF_THE_DATABASE):
            why = f"no finding in this file is called {rule}"
            yield finding_about_file(project, script, "unused-exception", why, "lint_ignore")
