"""Operations on the fake engine, with something arranged before them."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.unit.scripts.operations import OPERATIONS, Outcome, run


def do(
    name: str,
    folder: Path,
    *,
    command: tuple[str, ...] = (),
    prepare: Callable[[Path], object] = bool,
    settings: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Outcome:
    """Run an operation of this name, changed in what is given; `prepare` comes after the operation's own."""
    operation = OPERATIONS[name]

    def prepared(copy: Path) -> None:
        operation.prepare(copy)
        prepare(copy)

    changed = dataclasses.replace(
        operation,
        command=command or operation.command,
        settings={**operation.settings, **settings} if settings else operation.settings,
        environment=operation.environment if environment is None else environment,
        prepare=prepared,
    )
    _, outcome = run(folder / "copy", changed)
    return outcome


def calls(outcome: Outcome, pattern: str) -> list[str]:
    """Return the commands that the engine was given and that match."""
    return [call for _, call in outcome.calls if re.search(pattern, call)]
