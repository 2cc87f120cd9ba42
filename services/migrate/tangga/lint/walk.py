"""Up and down the whole staircase, with the tables as they are at each statement."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from alembic.script import Script

from tangga.lint import rules, schema, squawk
from tangga.lint.finding import Finding, Problem
from tangga.lint.place import Place, dropped_by
from tangga.lint.rendering import Step, render
from tangga.lint.rule import Function
from tangga.lint.rules.constraints import NEVER_VALIDATED, is_not_valid
from tangga.lint.schema import Schema
from tangga.lint.statements import Statement, statements, unformatted
from tangga.lint.trees import added_not_valid
from tangga.project import Project


def of_steps(project: Project, scripts: Mapping[str, Script]) -> Iterator[Finding]:
    """Yield what is wrong with the steps, whose scripts are given by their revisions; raises Stop without squawk."""
    steps = render(project, scripts.values())
    every = [statements(step) for step in steps]
    walk = _Walk(project, scripts, steps)
    for step, own, alarms in zip(steps, every, squawk.alarms(every), strict=True):
        yield from walk.step(step, own, alarms)
    yield from walk.never_validated(project.scripts.get_heads())


class _Walk:
    """What is known on the way: the tables after each step up, and the constraints that were added NOT VALID."""

    def __init__(self, project: Project, scripts: Mapping[str, Script], steps: Sequence[Step]) -> None:
        self._scripts = scripts
        self._files = {revision: project.file_of(script) for revision, script in scripts.items()}
        self._goes_up = {step.revision for step in steps if step.direction == "up" and (step.printed or step.problem)}
        self._after: dict[str, Schema] = {}
        self._not_validated: dict[tuple[str, str], tuple[Step, Statement]] = {}

    def step(self, step: Step, own: Sequence[Statement], alarms: Mapping[int, Sequence[Problem]]) -> Iterator[Finding]:
        """Yield what is wrong with one direction of one revision."""
        place = Place(self._before(step))
        later = [*accumulate((dropped_by(each.tree) for each in reversed(own)), set.union, initial=set[str]())]
        for number, (statement, place.to_drop) in enumerate(zip(own, reversed(later[:-1]), strict=True)):
            problems = [*rules.of_statement(statement, place)]
            problems += rules.true_alarms(alarms.get(number, ()), statement, place)
            for problem in problems:
                yield from self._held(step, statement, problem)
            place.note(statement)
            schema.apply(place.schema, statement.tree)
            if step.direction == "up":
                self._not_validated |= dict.fromkeys(added_not_valid(statement.tree), (step, statement))
        for sql in step.validated:
            schema.apply_text(place.schema, sql)
        for statement, problem in rules.of_step(place):
            yield from self._held(step, statement, problem)
        for line, problem in rules.of_function(self._function(step)):
            yield self._finding(step, line, problem)
        if step.direction == "up":
            self._after[step.revision] = place.schema

    def never_validated(self, heads: Sequence[str]) -> Iterator[Finding]:
        """Yield the constraints that at a head still do not hold for the old rows."""
        for head in heads:
            for (table, name), (step, statement) in self._not_validated.items():
                if is_not_valid(self._after[head], table, name):
                    yield self._finding(step, statement.line, NEVER_VALIDATED.problem(constraint=name), statement)

    def _before(self, step: Step) -> Schema:
        if step.direction == "down":
            return dict(self._after[step.revision])
        below: Schema = {}
        for revision in self._scripts[step.revision]._normalized_down_revisions:
            below |= self._after[revision]
        return below

    def _function(self, step: Step) -> Function:
        irreversible = getattr(self._scripts[step.revision].module, "irreversible", "")
        return Function(step, irreversible, step.revision in self._goes_up)

    def _held(self, step: Step, statement: Statement, problem: Problem) -> Iterator[Finding]:
        if rules.holds(problem.rule, step.direction):
            yield self._finding(step, statement.line, problem, statement)

    def _finding(self, step: Step, line: int, problem: Problem, statement: Statement | None = None) -> Finding:
        about = unformatted(statement.sql) if statement else ""
        return Finding(step.revision, self._files[step.revision], line, step.direction, *problem, about=about)
