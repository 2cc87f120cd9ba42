"""Alembic's operations, written in the forms that let reads and writes go on, and in an order that can be run again."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from alembic.operations import ops
from sqlalchemy import Column, MetaData

from tangga.revision import columns, renames, swaps
from tangga.revision.sql import sql_of
from tangga.revision.swaps import Table
from tangga.revision.written import Phase, Raw, Written, plain

_Named = tuple[str | None, str]


def flat(operations: Iterable[ops.MigrateOperation]) -> list[ops.MigrateOperation]:
    """Return the operations one by one, out of the tables that Alembic groups them by."""
    found: list[ops.MigrateOperation] = []
    for each in operations:
        found += flat(each.ops) if isinstance(each, ops.ModifyTableOps) else [each]
    return found


def in_order(lines: Sequence[Written]) -> list[Written]:
    """Return the lines in the order of a step."""
    return sorted(lines, key=lambda each: each.phase)


class Rewriter:
    """The operations of one direction; `models` tell the primary keys."""

    def __init__(self, operations: Sequence[ops.MigrateOperation], models: Sequence[MetaData]) -> None:
        self._models = models
        self._asked = [*renames.suspects(operations)]
        asked = {id(each) for pair in self._asked for each in pair}
        self._operations = [each for each in operations if id(each) not in asked]
        self._made = {_table(each) for each in self._operations if isinstance(each, ops.CreateTableOp)}
        self._gone = {_table(each) for each in self._operations if isinstance(each, ops.DropTableOp)}
        self._gone_columns = {
            (_table(each), each.column_name) for each in operations if isinstance(each, ops.DropColumnOp)
        }
        self._dropped = {_part(each) for each in self._operations if isinstance(each, _DROPS)} - {None}
        self._added = {_part(each) for each in self._operations if isinstance(each, _ADDS)} - {None}

    def lines(self) -> Iterator[Written]:
        """Yield what is written of each operation."""
        for pair in self._asked:
            yield renames.asked(*pair)
        for each in [*self._operations]:
            if isinstance(each, ops.DropTableOp):
                continue
            yield from _WRITERS.get(type(each), Rewriter._as_it_is)(self, each)
        for each in _by_dependency([each for each in self._operations if isinstance(each, ops.DropTableOp)]):
            yield plain(Phase.DROP_TABLES, each)

    def _as_it_is(self, operation: Any) -> Iterator[Written]:
        yield plain(Phase.ALTER, operation)

    def _create_table(self, operation: ops.CreateTableOp) -> Iterator[Written]:
        # What comes after it may commit it, and a step that was cut off is run again.
        operation.if_not_exists = self._commits() or None
        yield plain(Phase.TABLES, operation)

    def _create_index(self, operation: ops.CreateIndexOp) -> Iterator[Written]:
        if _table(operation) in self._made:
            operation.if_not_exists = self._commits() or None
            yield plain(Phase.TABLES, operation)
            return
        index, options = operation.to_index(), dict(operation.kw)
        keys = [str(each.name) if isinstance(each, Column) else Raw(f"sa.text({sql_of(each)!r})")
                for each in index.expressions]  # fmt: skip
        where, include = options.pop("postgresql_where", None), options.pop("postgresql_include", ())
        yield from swaps.index(
            Table(*_table(operation)), str(operation.index_name), keys, swap=_part(operation) in self._dropped,
            unique=bool(operation.unique), using=options.pop("postgresql_using", None), include=[*(include or ())],
            where=None if where is None else sql_of(where),
            **{name: value for name, value in options.items() if value not in (None, {}, [], ())},
        )  # fmt: skip

    def _drop_index(self, operation: ops.DropIndexOp) -> Iterator[Written]:
        if not self._goes_anyway(operation, operation.to_index().columns):
            schema = f", schema={operation.schema!r}" if operation.schema else ""
            yield Written(Phase.SAFE, f"safe.drop_index({str(operation.index_name)!r}{schema})")

    def _create_unique(self, operation: ops.CreateUniqueConstraintOp) -> Iterator[Written]:
        options = {name: value for name, value in operation.kw.items() if value is not None}
        if operation.constraint_name is None or options.keys() - {"deferrable", "initially"}:
            yield plain(Phase.SWAP, operation)
            return
        swap = _part(operation) in self._dropped
        names = [str(each) for each in operation.columns]
        yield from swaps.unique(Table(*_table(operation)), str(operation.constraint_name), names, swap=swap, **options)

    def _create_check(self, operation: ops.CreateCheckConstraintOp) -> Iterator[Written]:
        if operation.constraint_name is None:
            yield plain(Phase.SWAP, operation)
            return
        swap, condition = _part(operation) in self._dropped, sql_of(operation.condition)
        yield from swaps.check(Table(*_table(operation)), str(operation.constraint_name), condition, swap=swap)

    def _create_foreign_key(self, operation: ops.CreateForeignKeyOp) -> Iterator[Written]:
        options = {name: value for name, value in operation.kw.items() if value is not None}
        schema, referent = options.pop("source_schema", None), options.pop("referent_schema", None)
        options.pop("use_alter", None)
        known = {"ondelete", "onupdate", "deferrable", "initially"}
        if operation.constraint_name is None or options.keys() - known:
            yield plain(Phase.SWAP, operation)
            return
        yield from swaps.foreign_key(
            Table(schema, operation.source_table), str(operation.constraint_name), operation.referent_table,
            [*map(str, operation.local_cols)], [*map(str, operation.remote_cols)],
            swap=_part(operation) in self._dropped, referent_schema=referent, **options,
        )  # fmt: skip

    def _drop_constraint(self, operation: ops.DropConstraintOp) -> Iterator[Written]:
        constraint = operation.to_constraint() if operation._reverse is not None else None
        if not self._goes_anyway(operation, getattr(constraint, "columns", ())):
            yield plain(Phase.DROP_PARTS, operation)

    def _add_column(self, operation: ops.AddColumnOp) -> Iterator[Written]:
        operation.if_not_exists = self._commits() or None
        yield from columns.added(operation, self._key(_table(operation)))

    def _alter_column(self, operation: ops.AlterColumnOp) -> Iterator[Written]:
        yield from columns.altered(operation)

    def _drop_column(self, operation: ops.DropColumnOp) -> Iterator[Written]:
        yield plain(Phase.DROP_COLUMNS, operation)

    def _goes_anyway(self, operation: Any, its: Iterable[Any]) -> bool:
        """Tell whether a part goes with its table or its column, or when another of its name takes its place."""
        table = _table(operation)
        columns_gone = any((table, str(getattr(each, "name", each))) in self._gone_columns for each in its)
        return table in self._gone or columns_gone or _part(operation) in self._added

    def _commits(self) -> bool:
        """Tell whether something of the step commits what stands before it."""
        found = (each for each in self._operations if isinstance(each, (*_ADDS, *_DROPS, ops.AlterColumnOp)))
        return any(_table(each) not in self._made | self._gone for each in found)

    def _key(self, table: _Named) -> str | None:
        for metadata in self._models:
            for each in metadata.tables.values():
                if (each.schema, each.name) == table and len(each.primary_key.columns) == 1:
                    return str(next(iter(each.primary_key.columns)).name)
        return None


_ADDS = (ops.CreateIndexOp, ops.CreateUniqueConstraintOp, ops.CreateForeignKeyOp, ops.CreateCheckConstraintOp)
_DROPS = (ops.DropIndexOp, ops.DropConstraintOp)
_WRITERS: dict[type[ops.MigrateOperation], Callable[[Rewriter, Any], Iterator[Written]]] = {
    ops.CreateTableOp: Rewriter._create_table,
    ops.CreateIndexOp: Rewriter._create_index,
    ops.DropIndexOp: Rewriter._drop_index,
    ops.CreateUniqueConstraintOp: Rewriter._create_unique,
    ops.CreateCheckConstraintOp: Rewriter._create_check,
    ops.CreateForeignKeyOp: Rewriter._create_foreign_key,
    ops.DropConstraintOp: Rewriter._drop_constraint,
    ops.AddColumnOp: Rewriter._add_column,
    ops.AlterColumnOp: Rewriter._alter_column,
    ops.DropColumnOp: Rewriter._drop_column,
}


def _table(operation: Any) -> _Named:
    if isinstance(operation, ops.CreateForeignKeyOp):
        return operation.kw.get("source_schema"), operation.source_table
    return getattr(operation, "schema", None), str(getattr(operation, "table_name", None))


def _part(operation: Any) -> tuple[_Named, str] | None:
    name = getattr(operation, "index_name", None) or getattr(operation, "constraint_name", None)
    return (_table(operation), str(name)) if name else None


def _by_dependency(drops: list[ops.DropTableOp]) -> list[ops.DropTableOp]:
    """Return the drops, the tables that refer to others first."""
    by_name = {_table(each): each for each in drops}
    order: TopologicalSorter[_Named] = TopologicalSorter({name: set() for name in by_name})
    for name, drop in by_name.items():
        for key in drop.to_table().foreign_keys:
            *schema, table, _ = key.target_fullname.split(".")
            target = (schema[0] if schema else None, table)
            if target in by_name and target != name:
                order.add(target, name)
    try:
        return [by_name[name] for name in order.static_order()]
    except CycleError:
        return drops
