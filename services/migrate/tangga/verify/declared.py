"""What a step's file declares for the proof: the data that it means to change, and rows of its own."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from alembic.script import Script

Rows = Mapping[str, Sequence[Mapping[str, Any]]]


class Declared(NamedTuple):
    """`changes`: "table" or "table.column" -> why. What has another form than it must have is `wrong`, and left out."""

    changes: Mapping[str, str]
    rows: Rows
    wrong: list[str]


def declared(step: Script) -> Declared:
    """Return what a step declares."""
    changes, rows = (getattr(step.module, name, {}) for name in ("changes_data", "rows"))
    wrong = []
    if not _is_table(changes) or not all(isinstance(why, str) and why.strip() for why in changes.values()):
        wrong.append(f"changes_data is no dict of tables and columns, each with a reason: {changes!r}")
        changes = {}
    if not _is_table(rows) or not all(map(_are_rows, rows.values())):
        wrong.append(f"rows is no dict of tables, each with a list of dicts: {rows!r}")
        rows = {}
    return Declared(changes, rows, wrong)


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(name, str) for name in value)


def _are_rows(value: object) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_table, value))
