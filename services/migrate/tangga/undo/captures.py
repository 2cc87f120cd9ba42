"""What rows held before a step deleted or changed them.

A capture is a temporary table, all of text, whose column c<number> holds the table's column of that number: so neither
a renamed column nor a dropped type disturbs it. It is filled by triggers as the step goes, or with everything before it
where triggers would not see what happens (TRUNCATE, a type changed, partitions). Afterwards it is compared with the
table: only what is really gone or different counts.
"""

# ruff: noqa: S608 - names come from the catalogue, quoted by the server

from collections.abc import Iterator

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from tangga.catalogue.sql import execute, one, row
from tangga.undo.changes import Table
from tangga.undo.saves import Item

TRIGGER_FUNCTION = """
CREATE FUNCTION pg_temp.undo_capture() RETURNS trigger LANGUAGE plpgsql AS $undo$
DECLARE
    names text;
    kept text;
BEGIN
    SELECT string_agg('c' || attnum, ', ' ORDER BY attnum),
           string_agg(format('%I::text', attname), ', ' ORDER BY attnum)
    INTO names, kept
    FROM pg_attribute
    WHERE attrelid = TG_RELID AND attnum = ANY (TG_ARGV[1]::int2[]) AND NOT attisdropped;
    EXECUTE format(
        'INSERT INTO pg_temp.%I (deleted, %s) SELECT %L, %s FROM undo_rows', TG_ARGV[0], names, TG_OP = 'DELETE', kept
    );
    RETURN NULL;
END
$undo$
"""


class Capture:
    """The columns `numbers` of one table, as the step found them; `dropped`: those that the step drops."""

    def __init__(
        self, oid: int, table: Table, numbers: list[int], dropped: frozenset[int], *, by_triggers: bool = False
    ) -> None:
        self.oid = oid
        self.by_triggers = by_triggers
        self._table = table
        self._numbers = numbers
        self._key = table.key(dropped)
        self._name = ""

    def begin(self, connection: Connection, name: str) -> None:
        """Make the temporary table, and fill it or see to it that it is filled."""
        self._name = f"pg_temp.{name}"
        own = ", ".join(f"c{number} text" for number in self._numbers)
        execute(
            connection,
            f"CREATE TEMPORARY TABLE {name} (n bigint GENERATED ALWAYS AS IDENTITY, deleted boolean, {own})",
        )
        if self.by_triggers:
            numbers = ",".join(map(str, self._numbers))
            for what in ("DELETE", "UPDATE"):
                execute(
                    connection,
                    f"CREATE TRIGGER undo_capture_{what} AFTER {what} ON {self._table.name} "
                    "REFERENCING OLD TABLE AS undo_rows FOR EACH STATEMENT "
                    f"EXECUTE FUNCTION pg_temp.undo_capture('{name}', '{{{numbers}}}')",
                )
        else:
            kept = ", ".join(f"{column}::text" for column in self._table.names(self._numbers))
            execute(connection, f"INSERT INTO {self._name} ({self._names()}) SELECT {kept} FROM {self._table.rows}")

    def lost(self, connection: Connection, now: Table) -> Iterator[tuple[Item, str]]:
        """Yield what is gone or different in the table as it is `now`, each as an item and the query for its rows."""
        execute(connection, f"ANALYZE {self._name}")
        if not self._key:
            yield from self._lost_without_key(connection, now)
            return
        key = ", ".join(f"c{number}" for number in self._key)
        # A row that was changed twice counts as it was first.
        first = f"(SELECT DISTINCT ON ({key}) * FROM {self._name} ORDER BY {key}, n) AS old"
        same = " AND ".join(f"now.{now.columns[number].sql}::text = old.c{number}" for number in self._key)
        yield (
            self._item("deleted-rows", self._numbers),
            f"SELECT {self._names()} FROM {first} WHERE NOT EXISTS (SELECT FROM {now.rows} AS now WHERE {same})",
        )
        both = f"{first} JOIN {now.rows} AS now ON {same}"
        compared = {
            number: f"old.c{number} IS DISTINCT FROM {self._as_it_was(connection, now, number)}"
            for number in self._numbers
            if number not in self._key and number in now.columns and self._comparable(now, number)
        }
        if not compared:
            return
        different = row(connection, f"SELECT {', '.join(f'bool_or({test})' for test in compared.values())} FROM {both}")
        numbers = [number for number, found in zip(compared, different, strict=True) if found]
        if numbers:
            item = self._item("changed-rows", [*self._key, *numbers])
            columns = ", ".join(f"old.c{number}" for number in [*self._key, *numbers])
            yield item, f"SELECT {columns} FROM {both} WHERE {' OR '.join(compared[number] for number in numbers)}"

    def end(self, connection: Connection) -> None:
        """Drop the temporary table."""
        execute(connection, f"DROP TABLE {self._name}")

    def _lost_without_key(self, connection: Connection, now: Table) -> Iterator[tuple[Item, str]]:
        kept = f"SELECT {self._names()} FROM {self._name}"
        if self.by_triggers:
            yield self._item("deleted-rows", self._numbers), f"{kept} WHERE deleted"
            yield self._item("changed-rows", self._numbers), f"{kept} WHERE NOT deleted"
            return
        numbers = [number for number in self._numbers if number in now.columns]
        old = ", ".join(f"c{number}" for number in numbers)
        new = ", ".join(self._as_it_was(connection, now, number) for number in numbers)
        empty = not one(connection, f"SELECT EXISTS (SELECT FROM {now.rows})")
        yield (
            self._item("deleted-rows" if empty else "changed-rows", numbers),
            f"SELECT {old} FROM {self._name} EXCEPT ALL SELECT {new} FROM {now.rows} AS now",
        )

    def _comparable(self, now: Table, number: int) -> bool:
        # A column whose type was changed has a capture of its own, filled beforehand.
        return not self.by_triggers or now.columns[number].exact_type == self._table.columns[number].exact_type

    def _as_it_was(self, connection: Connection, now: Table, number: int) -> str:
        """Return the column's present value as text, by way of its old type: what comes back unhurt is not lost."""
        old, new = self._table.columns[number], now.columns[number]
        plain = f"now.{new.sql}::text"
        if old.exact_type == new.exact_type:
            return plain
        cast = f"CAST(now.{new.sql} AS {old.type})::text"
        savepoint = connection.begin_nested()
        try:
            one(connection, f"SELECT count({cast}) FROM {now.rows} AS now")
        except DBAPIError:
            # The old type is gone, or there is no way back to it for each value.
            savepoint.rollback()
            return plain
        savepoint.commit()
        return cast

    def _item(self, kind: str, numbers: list[int]) -> Item:
        return Item(kind, self._table.name, self._table.names(numbers), self._table.names(self._key), 0)

    def _names(self) -> str:
        return ", ".join(f"c{number}" for number in self._numbers)
