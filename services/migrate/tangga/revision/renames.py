"""A column or a table is gone, and one of the same make is new: the author is asked whether it was renamed."""

from collections.abc import Iterator, Sequence
from typing import Any

from alembic.autogenerate import render
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops

from tangga.catalogue.ours import UNNAMED, title
from tangga.revision.sql import type_of
from tangga.revision.written import Phase, Written, call, comment

Pair = tuple[Any, Any]


def suspects(operations: Sequence[ops.MigrateOperation]) -> Iterator[Pair]:
    """Yield (what drops, what adds) of each suspected rename; nothing stands in two of them."""
    for drop, add in ((ops.DropColumnOp, ops.AddColumnOp), (ops.DropTableOp, ops.CreateTableOp)):
        left = [each for each in operations if isinstance(each, add)]
        for dropped in (each for each in operations if isinstance(each, drop)):
            twin = next((each for each in left if _make(each) == _make(dropped)), None)
            if twin is not None:
                left.remove(twin)
                yield dropped, twin


def asked(dropped: Any, added: Any) -> Written:
    """Return the question, which fails until the author has answered it."""
    old, new = _name(dropped), _name(added)
    if isinstance(dropped, ops.DropColumnOp):
        renamed = call(
            "op.alter_column", dropped.table_name, dropped.column_name, new_column_name=added.column.name,
            schema=dropped.schema,
        )  # fmt: skip
    else:
        renamed = call("op.rename_table", dropped.table_name, added.table_name, schema=dropped.schema)

    def lines(context: AutogenContext) -> list[str]:
        both = [line for each in (added, dropped) for line in render.render_op(context, each)]
        return [
            comment(f"{old} is gone, and {new} is new and of the same make: is it the old one under a new name?"),
            "# If it is (the release that runs knows the old name only: rather add, fill, and drop later):",
            comment(renamed),
            "# If it is not:",
            *(f"# {part}" for line in both for part in line.splitlines()),
            f"raise NotImplementedError({f'{old} -> {new}: renamed, or another? Write one of the two above'!r})",
        ]

    return Written(Phase.ASK, by=lines)


def _make(operation: Any) -> Any:
    """Return what is alike before and after a rename."""
    if isinstance(operation, ops.AddColumnOp):
        return operation.schema, operation.table_name, type_of(operation.column.type)
    if isinstance(operation, ops.DropColumnOp):
        return operation.schema, operation.table_name, type_of(operation.to_column().type)
    table = operation.to_table()
    return operation.schema, sorted((column.name, type_of(column.type)) for column in table.columns)


def _name(operation: Any) -> str:
    table = title(operation.schema or UNNAMED, operation.table_name)
    if isinstance(operation, ops.AddColumnOp):
        return f"{table}.{operation.column.name}"
    return f"{table}.{operation.column_name}" if isinstance(operation, ops.DropColumnOp) else table
