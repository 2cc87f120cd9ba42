"""The rows of a database at one moment, as hashes, so that a later moment can be compared with it.

The hashes are in temporary tables of an observing session, so no dump shows them and nothing in the schema depends on
them. Only rows and columns that were there then are compared: what a step adds is its own.
"""

from collections.abc import Collection

from sqlalchemy import Connection, text

from tangga.catalogue.ours import OURS
from tangga.catalogue.sql import quoted

# ruff: noqa: S608 - names are quoted, and come from the catalogue

_COLUMNS = text("""
    SELECT relname AS "table", attname AS name, atttypid::regtype::text AS type,
           coalesce(attnum = ANY (indkey::smallint[]), false) AS key
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
    LEFT JOIN pg_index ON indrelid = pg_class.oid AND indisprimary
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
      AND relname <> ALL (:ours) AND attnum > 0 AND NOT attisdropped
    ORDER BY relname, attnum
""")


class Snapshot:
    """What the tables hold now; `observer` is an autocommit connection that lives as long as the snapshot."""

    def __init__(self, observer: Connection) -> None:
        self._observer = observer
        self._tables = _describe(observer)
        for number, (table, columns) in enumerate(self._tables.items()):
            values = ", ".join(f"{_hash(name, kind)} AS c{i}" for i, (name, (kind, _)) in enumerate(columns.items()))
            self._run(
                f"CREATE TEMPORARY TABLE s{number} AS SELECT {_key(columns)} AS key, {values} FROM {quoted(table)}"
            )

    def changes(self, excepted: Collection[str] = ()) -> list[str]:
        """Return, in words, which values differ now and which rows are gone; `excepted`: "table" or "table.column"."""
        now, lines = _describe(self._observer), []
        for number, (table, columns) in enumerate(self._tables.items()):
            if table not in now or table in excepted:
                continue
            found = [
                (i, name, now[table][name][0]) for i, name in enumerate(columns)
                if name in now[table] and f"{table}.{name}" not in excepted
            ]  # fmt: skip
            keys = {name: column for name, column in columns.items() if column[1]}
            if keys and set(keys) <= set(now[table]):
                lines += self._by_key(number, table, _key(keys), found)
            else:
                lines += self._as_a_whole(number, table, found)
        return lines

    def surplus(self, excepted: Collection[str] = ()) -> list[str]:
        """Return which tables hold more rows now."""
        now, lines = _describe(self._observer), []
        for number, table in enumerate(self._tables):
            if table in now and table not in excepted:
                more = self._one(f"SELECT (SELECT count(*) FROM {quoted(table)}) - (SELECT count(*) FROM s{number})")[0]
                if more > 0:
                    lines.append(f"{table}: {_rows(more)} more than before")
        return lines

    def forget(self) -> None:
        """Drop the hashes."""
        for number in range(len(self._tables)):
            self._run(f"DROP TABLE s{number}")

    def _by_key(self, number: int, table: str, key: str, found: list[tuple[int, str, str]]) -> list[str]:
        hashes = "".join(f", {_hash(name, kind)} AS h{i}" for i, name, kind in found)
        changed = "".join(
            f", count(*) FILTER (WHERE there IS NOT NULL AND c{i} IS DISTINCT FROM h{i})" for i, *_ in found
        )
        gone, *counts = self._one(
            f"SELECT count(*) FILTER (WHERE there IS NULL){changed} FROM s{number} "
            f"LEFT JOIN (SELECT {key} AS there{hashes} FROM {quoted(table)}) AS now ON there = key"
        )
        lines = [f"{table}: {_rows(gone)} gone"] if gone else []
        for (_, name, _), count in zip(found, counts, strict=True):
            if count:
                lines.append(f"{table}.{name}: {_rows(count)} changed")
        return lines

    def _as_a_whole(self, number: int, table: str, found: list[tuple[int, str, str]]) -> list[str]:
        """Without a key, rows cannot be told apart: compare the sums."""
        lines = []
        for i, name, kind in found:
            before = self._one(f"SELECT count(*), sum(c{i}), count(c{i}) FROM s{number}")
            after = self._one(f"SELECT count(*), sum({_hash(name, kind)}), count({quoted(name)}) FROM {quoted(table)}")
            if after[0] < before[0]:
                return [f"{table}: {_rows(before[0] - after[0])} gone"]
            if after != before:
                lines.append(f"{table}.{name}: changed")
        return lines

    def _run(self, statement: str) -> None:
        self._observer.exec_driver_sql(statement.replace("%", "%%"))

    def _one(self, statement: str) -> tuple[int, ...]:
        return tuple(self._observer.exec_driver_sql(statement.replace("%", "%%")).one())


def _describe(connection: Connection) -> dict[str, dict[str, tuple[str, bool]]]:
    tables: dict[str, dict[str, tuple[str, bool]]] = {}
    for row in connection.execute(_COLUMNS, {"ours": [*OURS]}):
        tables.setdefault(row.table, {})[row.name] = (row.type, row.key)
    return tables


def _hash(name: str, kind: str) -> str:
    # Equal numbers are equal however many zeros are printed behind the point; json is compared as what it means.
    value = {"numeric": f"trim_scale({quoted(name)})", "json": f"{quoted(name)}::jsonb"}.get(kind, quoted(name))
    return f"hashtextextended({value}::text, 0)"


def _key(columns: dict[str, tuple[str, bool]]) -> str:
    names = [f"{quoted(name)}::text" for name, (_, key) in columns.items() if key]
    return f"ARRAY[{', '.join(names)}]" if names else "NULL"


def _rows(count: int) -> str:
    return f"{count} {'row' if count == 1 else 'rows'}"
