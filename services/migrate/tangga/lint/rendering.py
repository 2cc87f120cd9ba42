"""Every step's SQL, in both directions, with the line of the file that each statement comes from.

Two offline runs over all revisions, in this process: loading Alembic and the revisions costs a second, printing a step
next to nothing. The lines are known because Alembic prints a statement while the step's code is on Python's stack.
env.py is not run: it may ask for settings, for models, for a database.
"""

import ast
import inspect
import io
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script
from sqlalchemy import URL

from tangga.brought import brought
from tangga.compared import compared
from tangga.guard import validation
from tangga.guard.steps import Steps
from tangga.hurried import hurried, within
from tangga.project import Project
from tangga.revision.loading import line_of
from tangga.safe import batches
from tangga.settings import Settings

# A step is printed in milliseconds.
_SECONDS = 60
_HELPERS = ("tangga/safe/forms.py", "tangga/safe/batches.py")


@dataclass(frozen=True)
class Printed:
    """What one call printed: usually one statement."""

    sql: str
    line: int
    # The function of tangga/safe/forms.py through which it was printed, if there is one.
    helper: str | None


@dataclass
class Step:
    """One direction of one revision."""

    revision: str
    file: str
    direction: str
    # Of `def upgrade` or `def downgrade`.
    line: int
    # Its code names something: it is not just `pass`.
    does_something: bool
    printed: list[Printed] = field(default_factory=list)
    # What follows its commit: tangga/guard/validation.py.
    validated: list[str] = field(default_factory=list)
    # Why it could not be printed to its end, and where.
    problem: str | None = None
    problem_line: int = 0
    # It ended in a `raise` of its own.
    raises: bool = False
    # There is no such function.
    missing: bool = False


def render(project: Project, scripts: Collection[Script]) -> list[Step]:
    """Return all steps of all revisions (`scripts`): up from base, then down again."""
    output = _Output()
    models = _models(project)
    # What a step says, by print(), is nothing of the linter's; one that connects by itself would be at work there.
    with hurried(), brought(None), redirect_stdout(sys.stderr):
        with _watched(scripts, "up", output) as up:
            _print(project, "base", "heads", output, models)
        with _watched(scripts, "down", output) as down:
            # Offline, Alembic goes down from one head at a time; what another head had in common is not run again.
            for head in project.scripts.get_heads():
                _print(project, head, "base", output, models)
    return [*up.values(), *down.values()]


def _print(project: Project, start: str, to: str, output: "_Output", models: Mapping[str, Any]) -> None:
    """Print what goes from one revision to another, as env.py with `guarded` does for `--sql`."""
    scripts, down = project.scripts, to == "base"
    steps = Steps(Settings(URL.create("postgresql")))
    compute = steps.computed_by(
        lambda rev, _: scripts._downgrade_revs(to, rev) if down else scripts._upgrade_revs(to, rev)
    )
    range_: dict[str, Any] = {"starting_rev": start, "destination_rev": to}
    with EnvironmentContext(project.config, scripts, fn=compute, as_sql=True, **range_) as environment:
        environment.configure(
            dialect_name="postgresql",
            # "named": under psycopg2's own style every % would be printed twice.
            dialect_opts={"paramstyle": "named"},
            literal_binds=True,
            output_buffer=output,
            transaction_per_migration=True,
            on_version_apply=output.committed,
            **models,
            steps=steps,
        )
        with environment.begin_transaction():
            environment.run_migrations()


def _models(project: Project) -> dict[str, Any]:
    """Return the models as Alembic's option, for the names that they give to constraints; {} if there are none here."""
    try:
        with redirect_stdout(sys.stderr):
            return compared(project)
    except (Exception, SystemExit):  # a module of somebody's own: it may raise anything
        return {}


class _Output(io.StringIO):
    """What Alembic prints, kept with where it came from."""

    step: Step | None = None
    last: Step | None = None

    def committed(self, ctx: MigrationContext, step: MigrationInfo, heads: Any, run_args: Any) -> None:
        """Print what follows the step; what it asks to be validated may be no name."""
        batches.forget(ctx, step, heads, run_args)
        try:
            validation.validate_after_commit(ctx, step, heads, run_args)
        except Exception as error:
            if self.last is not None and self.last.problem is None:
                self.last.problem, self.last.problem_line = _words(error), self.last.line

    def write(self, text: str) -> int:
        if self.step is None and self.last is not None and "VALIDATE CONSTRAINT" in text:
            self.last.validated.append(text.strip())
        if self.step is not None and text.strip():
            line, helper = self.step.line, None
            for frame, at in traceback.walk_stack(sys._getframe(1)):
                if frame.f_code.co_filename == self.step.file:
                    line = at
                    break
                if frame.f_code.co_filename.endswith(_HELPERS):
                    helper = frame.f_code.co_name
            self.step.printed.append(Printed(text.strip(), line, helper))
        return len(text)


@contextmanager
def _watched(scripts: Collection[Script], direction: str, output: _Output) -> Iterator[dict[str, Step]]:
    """While this lasts, a step that fails is noted, and the run goes on with the next one."""
    seen: dict[str, Step] = {}
    function = "upgrade" if direction == "up" else "downgrade"
    originals = {script: getattr(script.module, function, None) for script in scripts}
    for script in scripts:
        setattr(script.module, function, _watching(script, originals[script], direction, output, seen))
    try:
        yield seen
    finally:
        for script, original in originals.items():
            if original is None:
                delattr(script.module, function)
            else:
                setattr(script.module, function, original)


def _watching(
    script: Script, original: Callable[[], object] | None, direction: str, output: _Output, seen: dict[str, Step]
) -> Callable[[], None]:
    def run() -> None:
        if script.revision in seen:
            return
        step = _step(script, original, direction)
        seen[script.revision] = output.step = step
        try:
            if original is not None:
                with within(_SECONDS):
                    made = original()
                if inspect.iscoroutine(made):
                    made.close()  # a finding says that nothing of it can be checked
        except (Exception, SystemExit) as error:
            inside = [at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename == step.file]
            step.problem_line = (inside or [None])[-1] or step.line
            step.raises = _is_a_raise(step.file, step.problem_line)
            step.problem = _words(error)
        finally:
            output.step, output.last = None, step

    run.__name__ = f"{direction}grade"
    return run


def _step(script: Script, original: Callable[[], object] | None, direction: str) -> Step:
    if original is None:
        return Step(script.revision, script.path, direction, line_of(script.path, "revision"), False, missing=True)
    code = getattr(inspect.unwrap(original), "__code__", None)
    if code is None:  # something else that can be called
        return Step(script.revision, script.path, direction, line_of(script.path, f"{direction}grade"), True)
    # `pass` and a docstring name nothing.
    return Step(script.revision, code.co_filename, direction, code.co_firstlineno, bool(code.co_names))


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _is_a_raise(file: str, line: int) -> bool:
    """Tell whether the line belongs to a `raise` statement."""
    tree = ast.parse(Path(file).read_bytes())
    return any(
        isinstance(node, ast.Raise) and node.lineno <= line <= (node.end_lineno or node.lineno)
        for node in ast.walk(tree)
    )
