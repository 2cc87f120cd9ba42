"""What a run of a step loses: saved before it is dropped, caught while it is deleted or changed."""

# ruff: noqa: S608 - names come from the catalogue, quoted by the server

from sqlalchemy import Connection

from tangga.catalogue.sql import execute, one
from tangga.undo.captures import TRIGGER_FUNCTION, Capture
from tangga.undo.changes import Change, Table
from tangga.undo.row_security import unforced
from tangga.undo.saves import NOTATION, Item
from tangga.undo.saving import Folder


class Losses:
    """What one run of a step loses: saved as it is found, or only counted if there is no folder."""

    def __init__(self, connection: Connection, folder: Folder | None) -> None:
        self.items: list[Item] = []
        self._connection = connection
        self._folder = folder

    def add(self, item: Item, select: str) -> None:
        """Save what a query returns; nothing if that is no row."""
        item.rows = one(self._connection, f"SELECT count(*) FROM ({select}) AS lost")
        if item.rows:
            if self._folder:
                self._folder.write(self._connection, item, select)
            self.items.append(item)

    def dropped(self, table: Table, change: Change) -> None:
        """Save what is about to be dropped: a table, or the columns' values other than NULL."""
        key = table.key(change.columns)
        if change.dropped:
            names = table.names([*table.columns])
            self.add(Item("dropped-table", table.name, names, table.names(key), 0), _select(names, table))
        elif change.columns:
            # Without a key the whole row is kept: it may tell a person where the value belongs.
            names = table.names([*dict.fromkeys([*key, *sorted(change.columns)])] if key else [*table.columns])
            given = " OR ".join(f"{name} IS NOT NULL" for name in table.names(sorted(change.columns)))
            item = Item("dropped-columns", table.name, names, table.names(key), 0)
            self.add(item, f"{_select(names, table)} WHERE {given}")

    def everything(self, found: dict[int, Table]) -> None:
        """Save all tables, because nobody knows which of them will lose something."""
        execute(self._connection, NOTATION)
        with unforced(self._connection, [table.name for table in found.values()]):
            for table in found.values():
                names = table.names([*table.columns])
                if table.parent is None and names:
                    self.add(Item("whole-table", table.name, names, table.names(table.key()), 0), _select(names, table))
        execute(self._connection, "SET LOCAL row_security = on")


def catch(connection: Connection, before: dict[int, Table], known: dict[int, Change], losses: Losses) -> list[Capture]:
    """Save what will be dropped, and make ready to catch what will be deleted or changed."""
    if not known:
        return []
    execute(connection, NOTATION)
    captures = []
    with unforced(connection, [before[oid].name for oid in known if oid in before]):
        for oid, change in known.items():
            table = before.get(oid)
            if table is None or _with_parent(table, change, known):
                continue
            losses.dropped(table, change)
            if not change.dropped:
                captures += _captures(oid, table, change)
        if any(capture.by_triggers for capture in captures):
            execute(connection, TRIGGER_FUNCTION)
        for number, capture in enumerate(captures):
            capture.begin(connection, f"undo_{number}")
    # The step itself runs under the usual rules.
    execute(connection, "SET LOCAL row_security = on")
    return captures


def _captures(oid: int, table: Table, change: Change) -> list[Capture]:
    """Return how the rows are caught that a step deletes or changes in a table that it leaves there."""
    found = []
    everything = [*table.columns]
    if change.rewritten or (change.written and (table.parent or table.partitioned)):
        found.append(Capture(oid, table, everything, change.columns))
    elif change.written:
        found.append(Capture(oid, table, everything, change.columns, by_triggers=True))
    if change.retyped and not change.rewritten:
        numbers = [*dict.fromkeys([*table.key(change.columns), *sorted(change.retyped)])]
        found.append(Capture(oid, table, numbers, change.columns))
    return found


def collect(connection: Connection, captures: list[Capture], after: dict[int, Table], losses: Losses) -> None:
    """Save what was caught, as far as it is really gone, and clear away what caught it."""
    if not captures:
        return
    execute(connection, NOTATION)
    with unforced(connection, [after[capture.oid].name for capture in captures]):
        for capture in captures:
            for item, select in capture.lost(connection, after[capture.oid]):
                losses.add(item, select)
            capture.end(connection)
    execute(connection, "DROP FUNCTION IF EXISTS pg_temp.undo_capture() CASCADE")
    execute(connection, "SET LOCAL row_security = on")


def _with_parent(table: Table, change: Change, known: dict[int, Change]) -> bool:
    """Tell whether a partition goes the way of its table, with whose rows its own are saved."""
    above = known.get(table.parent or 0, Change())
    return (change.dropped and above.dropped) or bool(change.columns and above.columns)


def _select(names: list[str], table: Table) -> str:
    return f"SELECT {', '.join(names)} FROM {table.rows}"
