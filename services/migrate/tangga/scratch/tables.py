"""What there is to fill with generated rows: the tables, how each column gets its values, and what they must meet."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from sqlalchemy import Connection, text

from tangga.catalogue import model
from tangga.catalogue.model import Constraint, Schema
from tangga.scratch.types import Types
from tangga.scratch.values import Way

_WRITABLE = text("""
    SELECT oid::int8 FROM pg_class
    WHERE oid = ANY (CAST(:tables AS oid[])) AND has_schema_privilege(relnamespace, 'USAGE')
      AND has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
""")
_COUNTED = text("""
    SELECT adrelid::int8, adnum FROM pg_attrdef
    WHERE adrelid = ANY (CAST(:tables AS oid[])) AND pg_get_expr(adbin, adrelid) LIKE 'nextval(%'
""")


class Column(NamedTuple):
    """A column: its name in SQL, how its values are made, and NULL of its type. `filled`: by the database itself."""

    sql: str
    number: int
    required: bool
    filled: bool
    null: str
    way: Way


class Reference(NamedTuple):
    """A foreign key to a table that is filled, too."""

    name: str
    columns: list[int]
    parent: int
    referenced: list[int]


class Table(NamedTuple):
    """A table to be filled; columns by number, `keys` are the columns of its unique indexes."""

    title: str
    sql: str
    columns: dict[int, Column]
    keys: list[list[int]]
    # One of the keys: ON CONFLICT cannot be asked for.
    deferrable: bool
    references: list[Reference]
    checks: dict[str, str]

    def requires(self, reference: Reference) -> bool:
        """Tell whether no row can do without a parent."""
        return all(self.columns[number].required for number in reference.columns)


def describe(connection: Connection) -> dict[int, Table]:
    """Return the application's tables that may be written to, by number; of partitioned tables neither part."""
    schema, types = model.read(connection), Types(connection)
    plain = [oid for oid, table in schema.tables.items() if table.kind == "r" and not table.is_partition]
    writable = {*connection.scalars(_WRITABLE, {"tables": plain})}
    counted = {(table, number) for table, number in connection.execute(_COUNTED, {"tables": plain})}
    own_keys, late, references, checks = _demands(schema, writable)
    found = {}
    for oid in plain:
        if oid not in writable:
            continue
        table = schema.tables[oid]
        columns = {
            number: _described(column, types, checks.get(oid, []), filled=(oid, number) in counted)
            for number, column in table.columns.items()
        }
        conditions = {check.name: check.condition or "" for check in checks.get(oid, [])}
        found[oid] = Table(
            table.title, table.sql, columns, own_keys.get(oid, []), oid in late, references.get(oid, []), conditions
        )
    return found


def _demands(
    schema: Schema, tables: Collection[int]
) -> tuple[dict[int, list[list[int]]], set[int], dict[int, list[Reference]], dict[int, list[Constraint]]]:
    """Return, by table, the keys, those with a key that is deferrable, the references, and the CHECKs."""
    keys: dict[int, list[list[int]]] = {}
    for index in schema.unique.values():
        keys.setdefault(index.table, []).append(index.key)
    late = {index.table for index in schema.unique.values() if not index.immediate}
    references: dict[int, list[Reference]] = {}
    checks: dict[int, list[Constraint]] = {}
    # Those over several columns first: they leave the least to choose.
    for constraint in sorted(schema.constraints.values(), key=lambda found: -len(found.columns or ())):
        if constraint.type == "c":
            checks.setdefault(constraint.table, []).append(constraint)
        elif constraint.parent in tables:
            reference = Reference(
                constraint.name, constraint.columns or [], constraint.parent, constraint.parent_columns or []
            )
            references.setdefault(constraint.table, []).append(reference)
    return keys, late, references, checks


def _described(column: model.Column, types: Types, checks: Iterable[Constraint], *, filled: bool) -> Column:
    filled = filled or column.identity or column.computed
    alone = [check.condition or "" for check in checks if check.columns == [column.number]]
    way = Way("") if filled else types.way(column, alone)
    return Column(column.sql, column.number, column.required, filled, f"NULL::{column.type}", way)
