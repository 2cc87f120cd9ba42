"""What there is to fill with generated rows: the tables, how each column gets its values, and what they must meet."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from sqlalchemy import Connection, text

from tangga.catalogue import model
from tangga.catalogue.model import Constraint, Schema
from tangga.catalogue.ours import OF_THE_APPLICATION, title
from tangga.scratch.types import Types
from tangga.scratch.values import Type, Way

# Of all tables but an extension's: whether rows may be written and read; and whether a key is checked late, so that ON
# CONFLICT cannot be asked for.
_ACCESS = text("""
    SELECT oid::int8, has_schema_privilege(relnamespace, 'USAGE') AND has_table_privilege(oid, 'SELECT')
                      AND has_table_privilege(oid, 'INSERT') AS writable,
           EXISTS (SELECT FROM pg_constraint WHERE conrelid = pg_class.oid AND contype IN ('p', 'u', 'x')
                   AND condeferrable) AS late
    FROM pg_class WHERE oid = ANY (CAST(:tables AS oid[]))
      AND NOT EXISTS (SELECT FROM pg_depend WHERE (classid, objid, deptype) = ('pg_class'::regclass, pg_class.oid, 'e'))
""")
_PARTS = text(f"""
    SELECT pg_partition_root(c.oid)::oid::int8, nspname, relname, format('%I.%I', nspname, relname), relkind = 'f',
           pg_get_partition_constraintdef(c.oid)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
    WHERE relispartition AND relkind IN ('r', 'f') AND {OF_THE_APPLICATION}
    ORDER BY nspname, relname
""")  # noqa: S608 - a condition of ours.py
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
    computed: bool = False
    kind: Type | None = None
    # Its type is one that no value is known of.
    unknown: bool = False


class Reference(NamedTuple):
    """A foreign key to a table that is filled, too. `whole` (MATCH FULL): its columns are NULL together."""

    name: str
    columns: list[int]
    parent: int
    referenced: list[int]
    whole: bool = False


class Part(NamedTuple):
    """A partition that holds rows itself, and the condition that they meet."""

    title: str
    sql: str
    foreign: bool
    condition: str


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
    # Of a partitioned table: where its rows land.
    parts: list[Part] | None = None
    nulls: bool = True

    def as_plain(self, *, nulls: bool = False) -> "Table":
        """Return the same, to be filled without values that are out of the ordinary, and perhaps without NULLs."""
        columns = {number: each._replace(way=each.way.as_plain()) for number, each in self.columns.items()}
        return self._replace(columns=columns, nulls=nulls)

    def requires(self, reference: Reference) -> bool:
        """Tell whether no row can do without a parent."""
        required = [self.columns[number].required for number in reference.columns]
        return any(required) if reference.whole else all(required)


def describe(connection: Connection) -> tuple[dict[int, Table], dict[str, str]]:
    """Return the application's tables, by number, and which of them cannot be written to, with the reason.

    Partitions are parts of their tables.
    """
    schema, types, landings = model.read(connection), Types(connection), parts(connection)
    whole = [oid for oid, table in schema.tables.items() if not table.is_partition]
    access = {row.oid: row for row in connection.execute(_ACCESS, {"tables": whole})}
    tables = {oid: schema.tables[oid] for oid in whole if oid in access}
    counted = {(table, number) for table, number in connection.execute(_COUNTED, {"tables": [*tables]})}
    closed = {
        tables[oid].title: "this role may not read and write it" for oid, row in access.items() if not row.writable
    }
    closed |= {table.title: "it is a foreign table" for table in tables.values() if table.kind == "f"}
    open_tables = [oid for oid, table in tables.items() if table.title not in closed]
    own_keys, references, checks = _demands(schema, open_tables)
    found = {}
    for oid in open_tables:
        table = tables[oid]
        columns = {
            number: _described(column, types, checks.get(oid, []), filled=(oid, number) in counted)
            for number, column in table.columns.items()
        }
        conditions = {check.name: check.condition or "" for check in checks.get(oid, [])}
        found[oid] = Table(
            table.title, table.sql, columns, own_keys.get(oid, []), access[oid].late, references.get(oid, []),
            conditions, landings.get(oid, []) if table.kind == "p" else None,
        )  # fmt: skip
    return found, closed


def parts(connection: Connection) -> dict[int, list[Part]]:
    """Return the partitions that hold rows, by the number of the partitioned table at the top."""
    found: dict[int, list[Part]] = {}
    for root, schema, name, sql, foreign, condition in connection.execute(_PARTS):
        found.setdefault(root, []).append(Part(title(schema, name), sql, foreign, condition or "true"))
    return found


def _demands(
    schema: Schema, tables: Collection[int]
) -> tuple[dict[int, list[list[int]]], dict[int, list[Reference]], dict[int, list[Constraint]]]:
    """Return, by table, the keys, the references, and the CHECKs."""
    keys: dict[int, list[list[int]]] = {}
    for index in schema.unique.values():
        keys.setdefault(index.table, []).append(index.key)
    references: dict[int, list[Reference]] = {}
    checks: dict[int, list[Constraint]] = {}
    # Those over several columns first: they leave the least to choose.
    for constraint in sorted(schema.constraints.values(), key=lambda found: -len(found.columns or ())):
        above = schema.constraints.get(constraint.origin)
        if constraint.type == "c":
            checks.setdefault(constraint.table, []).append(constraint)
        # To each partition of a parent, PostgreSQL has one of its own; a row has its parent in one of them.
        elif constraint.parent in tables and not (above and above.table == constraint.table):
            reference = Reference(
                constraint.name, constraint.columns or [], constraint.parent, constraint.parent_columns or [],
                constraint.match_full,
            )  # fmt: skip
            references.setdefault(constraint.table, []).append(reference)
    return keys, references, checks


def _described(column: model.Column, types: Types, checks: Iterable[Constraint], *, filled: bool) -> Column:
    filled = filled or column.identity or column.computed
    alone = [check.condition or "" for check in checks if check.columns == [column.number]]
    way = Way("") if column.computed else types.way(column, alone)
    null = f"NULL::{column.type}"
    return Column(
        column.sql, column.number, types.required(column), filled, null, way, column.computed, types.of(column),
        not column.computed and not types.known(column),
    )  # fmt: skip
