"""An item's rows in a temporary table, with the types that the columns have now; and what became of them."""

# ruff: noqa: S608 - names come from the catalogue, quoted by the server

from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from tangga.catalogue.sql import execute, one
from tangga.exits import BEHIND, Stop
from tangga.undo.saves import Item, Kept

_ROWS = ("dropped-table", "deleted-rows", "whole-table")
_COLUMNS = text("""
    SELECT quote_ident(attname) FROM pg_attribute
    WHERE attrelid = to_regclass(:table) AND attnum > 0 AND NOT attisdropped
""")


@dataclass
class Outcome:
    """What became of an item's rows."""

    item: Item
    restored: int = 0
    notes: list[str] = field(default_factory=list)

    def note(self, count: int, what: str) -> None:
        """Add a note, if it is about any row at all."""
        if count:
            self.notes.append(f"{count:,} {what}")


@dataclass
class Staged:
    """An item's rows in a temporary table."""

    item: Item
    place: str
    outcome: Outcome

    @property
    def of_rows(self) -> bool:
        """Whether these are rows that went, and not values of rows that stayed."""
        return self.item.kind in _ROWS

    def joined(self, other: str, alias: str) -> str:
        """Return the condition that two rows have the same key."""
        return " AND ".join(f"{alias}.{name} = {other}.{name}" for name in self.item.key)


def stage(connection: Connection, kept: Kept, item: Item) -> Staged:
    """Load an item's rows; raises Stop if the table or a column is not there now."""
    number = one(
        connection, "SELECT count(*) FROM pg_class WHERE relname LIKE 'undo_staged_%' AND relpersistence = 't'"
    )
    there = {*connection.scalars(_COLUMNS, {"table": item.table})}
    missing = [name for name in item.columns if name not in there]
    if missing:
        what = f"column {missing[0]} of {item.table}" if there else f"table {item.table}"
        raise Stop(
            f"{kept.path.name} cannot be put back: {what} is not there now",
            f"go to revision {kept.save.revision} first, put it back there, then go on",
            BEHIND,
        )
    place = f"pg_temp.undo_staged_{number}"
    # In the types of today: COPY reads text.
    columns = ", ".join(item.columns)
    execute(
        connection, f"CREATE TEMPORARY TABLE undo_staged_{number} AS SELECT {columns} FROM {item.table} WITH NO DATA"
    )
    kept.load(connection, item, place)
    execute(connection, f"ANALYZE {place}")
    return Staged(item, place, Outcome(item))
