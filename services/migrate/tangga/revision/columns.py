"""Columns that are added or altered, in forms that let reads and writes go on."""

import copy
import re
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import render
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops

from tangga.revision.sql import quoted, sql_of, type_of
from tangga.revision.written import Phase, Raw, Written, call, comment, execute, plain

# What old rows may get: the author is asked to look at it.
_FILLS: tuple[tuple[type[Any], str], ...] = (
    (sa.Boolean, "false"),
    (sa.String, "''"),
    (sa.Integer, "0"),
    (sa.Numeric, "0"),
    (sa.DateTime, "now()"),
    (sa.Date, "CURRENT_DATE"),
    (sa.Interval, "'0'"),
    (sa.JSON, "'{}'"),
    (sa.ARRAY, "'{}'"),
    (sa.LargeBinary, "''"),
)
_STABLE = re.compile(r"[^()]*|now\(\)|(current_\w+|localtime\w*)(\(\d\))?", re.IGNORECASE)


def added(operation: ops.AddColumnOp, key: str | None) -> Iterator[Written]:
    """Yield what adds a column to a table that has rows; `key` is the table's primary key, if it is one column."""
    column, table, schema = operation.column, operation.table_name, operation.schema
    default = column.server_default
    if isinstance(default, sa.Computed | sa.Identity):
        yield plain(Phase.COLUMNS, operation)
    elif default is not None and not _is_stable(default):
        yield from _filled_in_batches(operation, key)
    elif column.nullable or default is not None:
        yield _safe_column(table, column, schema=schema)
    elif (fill := _fill(column.type)) is not None:
        yield Written(
            Phase.COLUMNS,
            comment(
                f"Old rows of {table} get {fill}: is that right? The default stays for the release that does not know "
                f"{column.name} yet; drop it when that one is gone."
            ),
        )
        yield _safe_column(table, column, schema=schema, fill=fill, keep_default=True)
    else:
        yield Written(
            Phase.ASK,
            comment(f"{table}.{column.name} is NOT NULL and of type {type_of(column.type)}: what do old rows get?"),
            f"raise NotImplementedError({f'{table}.{column.name}: say fill=... below, and delete this line'!r})",
        )
        yield _safe_column(table, column, schema=schema, fill="...", keep_default=True)


def altered(operation: ops.AlterColumnOp) -> Iterator[Written]:
    """Yield what alters a column: NOT NULL is proven before it is set."""
    rest = copy.copy(operation)
    rest.kw = dict(operation.kw)
    if operation.modify_nullable is False:
        rest.modify_nullable = None
        rest.existing_nullable = True
        table, column = operation.table_name, operation.column_name
        yield Written(
            Phase.SAFE,
            comment(f"It fails while a row of {table} has no {column}: fill those first, in a step of its own."),
            call("safe.set_not_null", table, column, schema=operation.schema),
        )
    if rest.has_changes():
        yield Written(Phase.ALTER, by=lambda context: [_as_rendered(rest, context)])


def _as_rendered(operation: ops.AlterColumnOp, context: AutogenContext) -> str:
    """Render it; say of an identity what it was, and between types that are no kin how the one becomes the other."""
    [line] = render.render_op(context, operation)
    more = ""
    was = operation.existing_server_default
    if operation.modify_server_default is not False and isinstance(was, sa.Identity):
        # Else it would be made, and is there.
        more += f", existing_server_default={render._render_server_default(was, context)}"
    old, new = operation.existing_type, operation.modify_type
    if new is not None and old is not None and old._type_affinity is not new._type_affinity:
        more += f", postgresql_using={f'{quoted(operation.column_name)}::{type_of(new)}'!r}"
    return f"{line.removesuffix(')')}{more})"


def _filled_in_batches(operation: ops.AddColumnOp, key: str | None) -> Iterator[Written]:
    """A default that is another one for each row would rewrite the table under its lock."""
    column, table, schema = operation.column, operation.table_name, operation.schema
    if key is None or schema:
        yield plain(Phase.COLUMNS, operation)
        return
    default = sql_of(getattr(column.server_default, "arg", ""))
    bare = column._copy()
    bare.server_default, bare.nullable = None, True
    name = quoted(column.name)
    yield _safe_column(table, bare, schema=None)
    yield Written(Phase.ALTER, execute(f"ALTER TABLE {quoted(table)} ALTER COLUMN {name} SET DEFAULT {default}"))
    where, batches = f"{name} IS NULL", f"{table}.{column.name}"
    yield Written(Phase.SAFE, call("safe.backfill", table, f"{name} = {default}", where=where, key=key, name=batches))
    if not column.nullable:
        yield Written(Phase.SAFE, call("safe.set_not_null", table, column.name))


def _safe_column(table: str, column: sa.Column[Any], **options: Any) -> Written:
    def lines(context: AutogenContext) -> list[str]:
        return [call("safe.add_column", table, Raw(render._render_column(column, context)), **options)]

    return Written(Phase.COLUMNS, by=lines)


def _is_stable(default: Any) -> bool:
    """Tell whether all old rows get the same value, so that none has to be written."""
    text = sql_of(getattr(default, "arg", ""))
    literals = re.sub(r"'(?:[^']|'')*'", "''", text)
    return _STABLE.fullmatch(literals) is not None or isinstance(getattr(default, "arg", None), str)


def _fill(kind: Any) -> str | None:
    if isinstance(kind, sa.Enum):
        return "'{}'".format(kind.enums[0].replace("'", "''")) if kind.enums else None
    impl = kind.impl_instance if isinstance(kind, sa.TypeDecorator) else kind
    return next((fill for each, fill in _FILLS if isinstance(impl, each)), None)
