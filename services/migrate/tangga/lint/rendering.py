"""Every step's SQL, in both directions, with the line of the file that each statement comes from.

Two offline runs over all revisions, in this process: loading Alembic and the revisions costs a second, printing a step
next to nothing. The lines are known because Alembic prints a statement while the step's code is on Python's stack.
"""

import ast
import io
import sys
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from alembic.script import Script

from tangga.project import Project

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


def render(project: Project, scripts: Collection[Script]) -> list[Step]:
    """Return all steps of all revisions (`scripts`): up from base, then down again."""
    output = _Output()
    with _watched(scripts, "up", output) as up:
        project.sql("base", "heads", into=output)
    with _watched(scripts, "down", output) as down:
        # Offline, Alembic goes down from one head at a time; what another head had in common is not run again.
        for head in project.scripts.get_heads():
            project.sql(head, "base", down=True, into=output)
    return [*up.values(), *down.values()]


class _Output(io.StringIO):
    """What Alembic prints, kept with where it came from."""

    step: Step | None = None
    last: Step | None = None

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
    originals = {script: getattr(script.module, function) for script in scripts}
    for script in scripts:
        setattr(script.module, function, _watching(script, originals[script], direction, output, seen))
    try:
        yield seen
    finally:
        for script in scripts:
            setattr(script.module, function, originals[script])


def _watching(
    script: Script, original: Callable[[], None], direction: str, output: _Output, seen: dict[str, Step]
) -> Callable[[], None]:
    def run() -> None:
        if script.revision in seen:
            return
        code = original.__code__
        # `pass` and a docstring name nothing.
        step = Step(script.revision, code.co_filename, direction, code.co_firstlineno, bool(code.co_names))
        seen[script.revision] = output.step = step
        try:
            original()
        except Exception as error:
            innermost = [at for at in traceback.extract_tb(error.__traceback__) if at.filename == step.file][-1]
            step.problem_line = innermost.lineno or step.line
            step.raises = _is_a_raise(step.file, step.problem_line)
            step.problem = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        finally:
            output.step, output.last = None, step

    run.__name__ = original.__name__
    return run


def _is_a_raise(file: str, line: int) -> bool:
    """Tell whether the line belongs to a `raise` statement."""
    tree = ast.parse(Path(file).read_text())
    return any(
        isinstance(node, ast.Raise) and node.lineno <= line <= (node.end_lineno or node.lineno)
        for node in ast.walk(tree)
    )
