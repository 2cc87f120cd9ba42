"""What a step does to the tables that were there before it: seen in the catalogue and in the session's own counters.

The text of a step is not read: a DO block, a trigger or a cascade would hide it.
"""

from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from tangga.catalogue import model
from tangga.catalogue.model import Column, Schema

# The counters are those of the current transaction, rolled-back savepoints included: only a difference says something.
_MOMENT = text("""
    SELECT oid::int8, coalesce(pg_relation_filenode(oid), 0)::int8,
           pg_stat_get_xact_tuples_updated(oid) + pg_stat_get_xact_tuples_deleted(oid)
    FROM pg_class WHERE oid = ANY (CAST(:tables AS oid[]))
""")


@dataclass(frozen=True)
class Table:
    """A table as it is at one moment; columns that are computed from others are left out, for they hold nothing."""

    name: str
    partitioned: bool
    parent: int | None
    file: int
    written: int
    columns: dict[int, Column]
    keys: list[tuple[int, ...]]

    @property
    def rows(self) -> str:
        """What stands after FROM for this table's own rows."""
        return self.name if self.partitioned else f"ONLY {self.name}"

    def key(self, without: frozenset[int] = frozenset()) -> tuple[int, ...]:
        """Return the columns that tell rows apart, the primary key first, none of `without`; () if there are none."""
        return next((key for key in self.keys if not without & set(key)), ())

    def names(self, numbers: tuple[int, ...] | list[int]) -> list[str]:
        """Return the columns' names."""
        return [self.columns[number].sql for number in numbers]


@dataclass(frozen=True)
class Change:
    """What happens to one table. `written`: rows updated or deleted. `rewritten`: TRUNCATE, or values computed anew."""

    dropped: bool = False
    written: bool = False
    rewritten: bool = False
    columns: frozenset[int] = field(default_factory=frozenset)
    retyped: frozenset[int] = field(default_factory=frozenset)

    def __or__(self, other: "Change") -> "Change":
        return Change(
            self.dropped or other.dropped,
            self.written or other.written,
            self.rewritten or other.rewritten,
            self.columns | other.columns,
            self.retyped | other.retyped,
        )


def tables(connection: Connection) -> dict[int, Table]:
    """Return the tables with rows of their own (the migrators' are not among them), by oid."""
    schema = model.read(connection, constraints=False)
    moments = {oid: moment for oid, *moment in connection.execute(_MOMENT, {"tables": [*schema.tables]})}
    keys = _keys(schema)
    found = {}
    for oid, table in schema.tables.items():
        if table.kind != "f" and oid in moments:
            columns = {number: column for number, column in table.columns.items() if not column.computed}
            file, written = moments[oid]
            found[oid] = Table(table.sql, table.kind == "p", table.parent, file, written, columns, keys.get(oid, []))
    return found


def _keys(schema: Schema) -> dict[int, list[tuple[int, ...]]]:
    """Return the columns, by table, that tell rows apart at any moment; those of the primary key first."""
    keys: dict[int, list[tuple[int, ...]]] = {}
    for index in sorted(schema.unique.values(), key=lambda index: not index.primary):
        columns = [schema.column(index.table, number) for number in index.key]
        whole = index.valid and index.immediate and index.predicate is None
        if whole and all(column and column.required and not column.computed for column in columns):
            keys.setdefault(index.table, []).append(tuple(index.key))
    return keys


def changes(before: dict[int, Table], after: dict[int, Table]) -> dict[int, Change]:
    """Return what happened to the tables of `before`; those to which nothing happened are left out."""
    found = {}
    for oid, old in before.items():
        new = after.get(oid)
        if new is None:
            change = Change(dropped=True)
        else:
            change = Change(
                written=new.written > old.written,
                rewritten=new.file != old.file,
                columns=frozenset(old.columns.keys() - new.columns.keys()),
                retyped=frozenset(
                    number
                    for number in old.columns.keys() & new.columns.keys()
                    if old.columns[number].exact_type != new.columns[number].exact_type
                ),
            )
        if change != Change():
            found[oid] = change
    return found
