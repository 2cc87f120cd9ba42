"""What a step does to the tables that were there before it: seen in the catalogue and in the session's own counters.

The text of a step is not read: a DO block, a trigger or a cascade would hide it.
"""

from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from tangga.catalogue.ours import OURS

# The counters are those of the current transaction, rolled-back savepoints included: only a difference says something.
_TABLES = text("""
    SELECT pg_class.oid, format('%I.%I', nspname, relname) AS name, relkind = 'p' AS partitioned,
           (SELECT min(inhparent) FROM pg_inherits WHERE inhrelid = pg_class.oid) AS parent,
           coalesce(pg_relation_filenode(pg_class.oid), 0) AS file,
           pg_stat_get_xact_tuples_updated(pg_class.oid) + pg_stat_get_xact_tuples_deleted(pg_class.oid) AS written,
           ARRAY(SELECT array_to_string((indkey::int2[])[0:indnkeyatts - 1], ' ') FROM pg_index
                 WHERE indrelid = pg_class.oid AND indisunique AND indisvalid AND indimmediate
                   AND indpred IS NULL AND indexprs IS NULL
                   AND NOT EXISTS (SELECT FROM pg_attribute
                                   WHERE attrelid = indrelid AND attnum = ANY (indkey) AND NOT attnotnull)
                 ORDER BY indisprimary DESC, indexrelid) AS keys
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind IN ('r', 'p') AND relpersistence <> 't' AND nspname <> 'information_schema'
      AND nspname NOT LIKE 'pg\\_%' AND relname <> ALL (:ours)
    ORDER BY name
""")
# Columns that are computed from others hold nothing of their own.
_COLUMNS = text("""
    SELECT attrelid, attnum, quote_ident(attname) AS name, atttypid, atttypmod,
           format_type(atttypid, atttypmod) AS type
    FROM pg_attribute
    WHERE attrelid = ANY (:tables) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
    ORDER BY attrelid, attnum
""")


@dataclass(frozen=True)
class Column:
    """A column; `name` is quoted where SQL wants it, `identity` is the type as the catalogue knows it."""

    name: str
    type: str
    identity: tuple[int, int]


@dataclass(frozen=True)
class Table:
    """A table as it is at one moment. `columns` and `keys` go by the columns' numbers, which no rename changes."""

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
        return [self.columns[number].name for number in numbers]


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
    found = connection.execute(_TABLES, {"ours": [*OURS]}).all()
    columns: dict[int, dict[int, Column]] = {row.oid: {} for row in found}
    for row in connection.execute(_COLUMNS, {"tables": [*columns]}):
        columns[row.attrelid][row.attnum] = Column(row.name, row.type, (row.atttypid, row.atttypmod))
    return {
        row.oid: Table(
            row.name, row.partitioned, row.parent, row.file, row.written, columns[row.oid],
            [tuple(map(int, key.split())) for key in row.keys],
        )
        for row in found
    }  # fmt: skip


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
                    if old.columns[number].identity != new.columns[number].identity
                ),
            )
        if change != Change():
            found[oid] = change
    return found
