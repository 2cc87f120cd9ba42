"""Lines of a revision file, as an operation that Alembic renders; and the order in which such lines stand."""

import re
from collections.abc import Callable, Iterable
from enum import IntEnum, auto
from typing import Any

from alembic.autogenerate import render, renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import MigrateOperation

_SAFE = "from tangga import safe"
# What sqlalchemy.text would take for a parameter.
_PARAMETER = re.compile(r"(?<![:\w\\]):(?=\w)")


class Phase(IntEnum):
    """The order in a step: what commits stands before what cannot be run twice."""

    ASK = auto()
    SCHEMAS = auto()
    TYPES = auto()
    TABLES = auto()
    COLUMNS = auto()
    ALTER = auto()
    # Each commits what stands before it.
    SAFE = auto()
    SWAP = auto()
    DROP_PARTS = auto()
    DROP_COLUMNS = auto()
    DROP_TABLES = auto()
    DROP_TYPES = auto()
    DROP_SCHEMAS = auto()


class Raw(str):
    """A piece of Python that is written as it is."""


class Written(MigrateOperation):
    """Lines of Python; `lines` may need Alembic's context to be written."""

    def __init__(self, phase: Phase, *lines: str, by: Callable[[AutogenContext], Iterable[str]] | None = None) -> None:
        self.phase = phase
        self._lines = lines
        self._by = by

    @property
    def is_comment(self) -> bool:
        """Tell whether there is nothing in it that Python runs."""
        return self._by is None and all(line.startswith("#") for line in self._lines)

    def lines(self, context: AutogenContext) -> list[str]:
        """Return the lines, and note what they import."""
        found = [*self._lines, *(self._by(context) if self._by else ())]
        if any("safe." in line for line in found):
            context.imports.add(_SAFE)
        return found

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return what `alembic check` shows of it."""
        return ("written", *self._lines)


@renderers.dispatch_for(Written)
def _render(context: AutogenContext, operation: Written) -> list[str]:
    return operation.lines(context)


def plain(phase: Phase, operation: MigrateOperation) -> Written:
    """Return an operation of Alembic's as Alembic renders it."""
    return Written(phase, by=lambda context: render.render_op(context, operation))


def call(function: str, *arguments: Any, **options: Any) -> str:
    """Return a call as Python writes it; options that say nothing are left out."""
    said = [_value(each) for each in arguments]
    said += [f"{name}={_value(each)}" for name, each in options.items() if each not in (None, False, (), [], {})]
    return f"{function}({', '.join(said)})"


def execute(sql: str) -> str:
    """Return the call that runs SQL; what looks like a parameter is none."""
    return call("op.execute", _PARAMETER.sub(r"\\:", sql))


def comment(text: str) -> str:
    """Return a comment in one line."""
    return f"# {' '.join(text.split())}"


def _value(value: Any) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return repr(str(value)) if isinstance(value, str) else repr(value)
