"""The rows of a database at one moment, as hashes, so that a later moment can be compared with it.

The hashes are in temporary tables of an observing session, so no dump shows them and nothing in the schema depends on
them. Only rows and columns that were there then are compared: what a step adds is its own.
"""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import Connection

from tangga.catalogue import model
from tangga.catalogue.model import Column
from tangga.catalogue.sql import execute, one, quoted, row
from tangga.words import count

# ruff: noqa: S608 - names are quoted, and come from the catalogue

# Numbers in pg_type, the same on every server.
_NUMERIC, _JSON = 1700, 114


class _Table(NamedTuple):
    """A table as it is now: its columns by name, and which of them are the primary key."""

    sql: str
    columns: dict[str, Column]
    key: list[str]


class Snapshot:
    """What the tables hold now; `observer` is an autocommit connection that lives as long as the snapshot."""

    def __init__(self, observer: Connection) -> None:
        self._observer = observer
        self._tables = _describe(observer)
        for number, table in enumerate(self._tables.values()):
            values = ", ".join(f"{_hash(column)} AS c{i}" for i, column in enumerate(table.columns.values()))
            execute(
                observer,
                f"CREATE TEMPORARY TABLE s{number} AS SELECT {_key(table.key)} AS key, {values} FROM {table.sql}",
            )

    def changes(self, excepted: Collection[str] = ()) -> list[str]:
        """Return, in words, which values differ now and which rows are gone; `excepted`: "table" or "table.column"."""
        now, lines = _describe(self._observer), []
        for number, (title, before) in enumerate(self._tables.items()):
            if title not in now or title in excepted:
                continue
            table = now[title]
            found = {
                i: table.columns[name] for i, name in enumerate(before.columns)
                if name in table.columns and f"{title}.{name}" not in excepted
            }  # fmt: skip
            if before.key and {*before.key} <= table.columns.keys():
                lines += self._by_key(number, title, table, _key(before.key), found)
            else:
                lines += self._as_a_whole(number, title, table, found)
        return lines

    def surplus(self, excepted: Collection[str] = ()) -> list[str]:
        """Return which tables hold more rows now."""
        now, lines = _describe(self._observer), []
        for number, title in enumerate(self._tables):
            if title in now and title not in excepted:
                rows = f"(SELECT count(*) FROM {now[title].sql}) - (SELECT count(*) FROM s{number})"
                if (more := one(self._observer, f"SELECT {rows}")) > 0:
                    lines.append(f"{title}: {count(more, 'row')} more than before")
        return lines

    def forget(self) -> None:
        """Drop the hashes."""
        for number in range(len(self._tables)):
            execute(self._observer, f"DROP TABLE s{number}")

    def _by_key(self, number: int, title: str, table: _Table, key: str, found: dict[int, Column]) -> list[str]:
        hashes = "".join(f", {_hash(column)} AS h{i}" for i, column in found.items())
        changed = "".join(f", count(*) FILTER (WHERE there IS NOT NULL AND c{i} IS DISTINCT FROM h{i})" for i in found)
        gone, *counts = row(
            self._observer,
            f"SELECT count(*) FILTER (WHERE there IS NULL){changed} FROM s{number} "
            f"LEFT JOIN (SELECT {key} AS there{hashes} FROM {table.sql}) AS now ON there = key",
        )
        lines = [f"{title}: {count(gone, 'row')} gone"] if gone else []
        for column, rows in zip(found.values(), counts, strict=True):
            if rows:
                lines.append(f"{title}.{column.name}: {count(rows, 'row')} changed")
        return lines

    def _as_a_whole(self, number: int, title: str, table: _Table, found: dict[int, Column]) -> list[str]:
        """Without a key, rows cannot be told apart: compare the sums."""
        lines = []
        for i, column in found.items():
            before = row(self._observer, f"SELECT count(*), sum(c{i}), count(c{i}) FROM s{number}")
            after = row(self._observer, f"SELECT count(*), sum({_hash(column)}), count({column.sql}) FROM {table.sql}")
            if after[0] < before[0]:
                return [f"{title}: {count(before[0] - after[0], 'row')} gone"]
            if after != before:
                lines.append(f"{title}.{column.name}: changed")
        return lines


def _describe(connection: Connection) -> dict[str, _Table]:
    schema = model.read(connection, constraints=False)
    keys = {index.table: index.key for index in schema.unique.values() if index.primary}
    return {
        table.title: _Table(
            table.sql,
            {column.name: column for column in table.columns.values()},
            [column.name for column in table.columns.values() if column.number in keys.get(table.oid, ())],
        )
        for table in sorted(schema.tables.values(), key=lambda table: table.title)
        if table.kind in ("r", "p") and not table.is_partition
    }  # fmt: skip


def _hash(column: Column) -> str:
    # Equal numbers are equal however many zeros are printed behind the point; json is compared as what it means.
    value = {_NUMERIC: f"trim_scale({column.sql})", _JSON: f"{column.sql}::jsonb"}.get(column.type_oid, column.sql)
    return f"hashtextextended({value}::text, 0)"


def _key(names: list[str]) -> str:
    return f"ARRAY[{', '.join(f'{quoted(name)}::text' for name in names)}]" if names else "NULL"
