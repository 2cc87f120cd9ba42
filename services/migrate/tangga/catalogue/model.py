"""A schema as PostgreSQL's catalogue has it: tables, columns, unique indexes and constraints.

They go by PostgreSQL's own numbers, which no rename changes: two schemas are compared by what has the same number.
"""
# ruff: noqa: S608 - what is put into the questions stands in ours.py

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection, TextClause, text

from tangga.catalogue.ours import OF_THE_APPLICATION, THE_MIGRATORS, title

_TABLES = text(f"""
    SELECT c.oid::int8, nspname, relname, format('%I.%I', nspname, relname), relkind,
           (SELECT min(inhparent)::int8 FROM pg_inherits WHERE inhrelid = c.oid), relispartition
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
    WHERE relkind IN ('r', 'p', 'f') AND {OF_THE_APPLICATION} AND NOT {THE_MIGRATORS}
    ORDER BY nspname, relname
""")
_COLUMNS = text("""
    SELECT attrelid::int8, attnum, attname, quote_ident(attname), format_type(atttypid, atttypmod),
           atttypid::int8, atttypmod, attnotnull, attgenerated <> '', attidentity <> ''
    FROM pg_attribute
    WHERE attrelid = ANY (CAST(:tables AS oid[])) AND attnum > 0 AND NOT attisdropped
    ORDER BY attrelid, attnum
""")
# The text of an expression or a condition is asked for only where there is one: it costs more than all the rest.
_UNIQUE = text("""
    SELECT indexrelid::int8, c.relname, indrelid::int8, (indkey::int2[])[0:indnkeyatts - 1],
           ARRAY(SELECT DISTINCT refobjsubid FROM pg_depend WHERE classid = 'pg_class'::regclass
                 AND objid = indexrelid AND refclassid = 'pg_class'::regclass AND refobjid = indrelid
                 AND refobjsubid > 0),
           CASE WHEN indexprs IS NOT NULL OR indpred IS NOT NULL
                THEN ARRAY(SELECT pg_get_indexdef(indexrelid, k, true) FROM generate_series(1, indnkeyatts) AS k)
                ELSE '{}' END,
           pg_get_expr(indpred, indrelid), indnullsnotdistinct, indisprimary, indisvalid, indimmediate
    FROM pg_index JOIN pg_class AS c ON c.oid = indexrelid
    WHERE indisunique AND indrelid = ANY (CAST(:tables AS oid[]))
    ORDER BY indexrelid
""")
_CONSTRAINTS = text("""
    SELECT oid::int8, conname, contype, conrelid::int8, conkey, confrelid::int8, confkey,
           pg_get_expr(conbin, conrelid), convalidated, confdeltype, conparentid::int8, confmatchtype = 'f'
    FROM pg_constraint
    WHERE contype IN ('f', 'c') AND conrelid = ANY (CAST(:tables AS oid[]))
    ORDER BY conname, oid
""")


class Column(NamedTuple):
    """A column; `sql` is its name as SQL wants it, `type` its type as SQL writes it."""

    number: int
    name: str
    sql: str
    type: str
    type_oid: int
    modifier: int
    required: bool
    # From other columns of the row: it holds nothing of its own.
    computed: bool
    identity: bool

    @property
    def exact_type(self) -> tuple[int, int]:
        """The type as the catalogue knows it, whatever it is called."""
        return self.type_oid, self.modifier


@dataclass(frozen=True)
class Table:
    """A table: plain ("r"), partitioned ("p") or foreign ("f"); its columns by number."""

    oid: int
    schema: str
    name: str
    # With its schema, as SQL wants it.
    sql: str
    kind: str
    # The one that it is a partition of, or inherits from.
    parent: int | None
    is_partition: bool
    columns: dict[int, Column] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What people call it."""
        return title(self.schema, self.name)

    def titles(self, numbers: list[int]) -> list[str]:
        """Return what people call some of its columns."""
        return [self.columns[number].name for number in numbers]


class Unique(NamedTuple):
    """A unique index; that of a primary key too."""

    name: str
    table: int
    # Numbers of the columns in the key; 0 is an expression.
    key: list[int]
    # Numbers of all columns of the table that it uses; none if it is a constraint's.
    uses: list[int]
    # The parts of the key in SQL, if one of them is an expression or there is a predicate.
    expressions: list[str]
    predicate: str | None
    nulls_equal: bool
    primary: bool
    # False: its build did not finish, so old rows may be equal.
    valid: bool
    # False: it is checked at the end of a statement or of the transaction.
    immediate: bool


class Constraint(NamedTuple):
    """A foreign key ("f") or a CHECK ("c")."""

    name: str
    type: str
    table: int
    columns: list[int] | None
    parent: int
    parent_columns: list[int] | None
    condition: str | None
    # False (NOT VALID): it holds for new rows, nobody has looked at the old ones.
    validated: bool
    # a: no action, r: restrict, c: cascade, n: set null, d: set default.
    on_delete: str
    # The constraint that this one was made of, on a partition or to one; 0: none.
    origin: int = 0
    # MATCH FULL: the columns of a foreign key are NULL together.
    match_full: bool = False


@dataclass(frozen=True)
class Schema:
    """The application's tables, in all schemas, without the migrators' own; everything by number."""

    tables: dict[int, Table]
    unique: dict[int, Unique]
    constraints: dict[int, Constraint]

    def column(self, table: int, number: int) -> Column | None:
        """Return a column, None if there is none."""
        found = self.tables.get(table)
        return found.columns.get(number) if found else None

    def number(self, of: str) -> int | None:
        """Return the number of the table that people call so."""
        return next((oid for oid, table in self.tables.items() if table.title == of), None)


def read(connection: Connection, *, constraints: bool = True) -> Schema:
    """Return the schema as the connection sees it; without the constraints, if the caller has no need of them."""

    def rows(statement: TextClause, **values: Any) -> Sequence[Any]:
        return connection.execute(statement, values).all()

    tables = {row[0]: Table(*row) for row in rows(_TABLES)}
    # As one text: to parse 500 numbers takes longer than to look them up.
    only = f"{{{','.join(map(str, tables))}}}"
    for oid, *column in rows(_COLUMNS, tables=only):
        tables[oid].columns[column[0]] = Column._make(column)
    return Schema(
        tables,
        {oid: Unique(*rest) for oid, *rest in rows(_UNIQUE, tables=only)},
        {oid: Constraint(*rest) for oid, *rest in rows(_CONSTRAINTS, tables=only)} if constraints else {},
    )
