"""The rows of a database at one moment, as hashes, so that a later moment can be compared with it.

The hashes are in temporary tables of an observing session, so no dump shows them and nothing in the schema depends on
them. Only rows and columns that were there then are compared: what a step adds is its own.
"""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import Connection

from tangga.catalogue import model
from tangga.catalogue.model import Column
from tangga.catalogue.sql import each, execute, one, row
from tangga.words import count

# ruff: noqa: S608 - names are quoted, and come from the catalogue

# Numbers in pg_type, the same on every server.
_NUMERIC, _JSON = 1700, 114
# Those of types that are not PostgreSQL's own begin here: a label of an enum can get another name.
_OTHERS = 16384
# So can what one of these points to: regproc, regprocedure, regoper, regoperator, regclass, regtype, regconfig,
# regdictionary, regnamespace, regrole, regcollation, and arrays of them.
_NAMES = {
    24, 1008, 2202, 2207, 2203, 2208, 2204, 2209, 2205, 2210, 2206, 2211, 3734, 3735, 3769, 3770, 4089, 4090, 4096,
    4097, 4191, 4192,
}  # fmt: skip

# What values of a type, or of an array of it, are printed as: the labels of an enum; of composite types, which may hold
# each other, all that any of them is made of.
_FORMS = """
    SELECT kind::int8, form FROM (
        SELECT enumtypid AS type, array_agg(enumlabel::text) AS form FROM pg_enum GROUP BY enumtypid
        UNION ALL
        SELECT reltype, ARRAY[(
            SELECT string_agg(attname, ',' ORDER BY attrelid, attnum) FROM pg_attribute JOIN pg_class ON oid = attrelid
            WHERE relkind = 'c' AND attnum > 0 AND NOT attisdropped
        )] FROM pg_class WHERE relkind = 'c'
    ) AS forms JOIN pg_type ON oid = type, unnest(ARRAY[type, typarray]) AS kind
"""


class _Table(NamedTuple):
    """A table as it is now: its columns by number, which of them are the primary key, and how many rows it has.

    `alone`: all of its rows are in it itself, and what its types print hangs on nothing but the value. `forms`: of
    each column whose type is an enum or a composite one, what its values are printed as.
    """

    oid: int
    sql: str
    columns: dict[int, Column]
    key: list[str]
    alone: bool
    forms: dict[str, set[str]]
    held: int = 0

    @property
    def rows(self) -> str:
        """Where the hashes are."""
        return f"pg_temp.s{self.oid}"

    def retyped(self, before: "_Table", column: str) -> bool:
        """Tell whether a column is of another type than it was, or does without a form that it had."""
        types = [{each.name: each.type for each in table.columns.values()} for table in (before, self)]
        return types[0][column] != types[1][column] or not (
            before.forms.get(column, set()) <= self.forms.get(column, set())
        )

    def is_as_it_was(self, now: "_Table") -> bool:
        """Tell whether this is the same table with the same columns, so that only its rows can have changed."""
        return now.alone and (self.oid, self.columns, self.key) == (now.oid, now.columns, now.key)


class Snapshot:
    """What the tables hold now; `observer` is an autocommit connection that lives as long as the snapshot.

    Of a table whose rows are the versions that they were (xmin), and as many, nothing is read but that; what a version
    holds does not change. So a look costs what was written, not what there is.
    """

    def __init__(self, observer: Connection) -> None:
        self._observer = observer
        self._tables: dict[str, _Table] = {}
        self._horizon = ""
        self.again()

    def again(self) -> None:
        """Let what the tables hold by now be what is compared with from now on."""
        now = _describe(self._observer)
        horizon = one(self._observer, "SELECT pg_snapshot_xmin(pg_current_snapshot())::xid::text")
        kept = self._untouched(now)
        for title in self._tables.keys() - kept:
            execute(self._observer, f"DROP TABLE {self._tables[title].rows}")
        for title in now.keys() - kept:
            table = now[title]
            values = ", ".join(f"{_hash(column)} AS c{number}" for number, column in table.columns.items())
            select = f"SELECT {_key(table, table.key)} AS key, {values or 'NULL AS none'} FROM {table.sql}"
            made = execute(self._observer, f"CREATE TEMPORARY TABLE {table.rows} AS {select}")
            now[title] = table._replace(held=made)
        self._tables = now | {title: self._tables[title] for title in kept}
        self._horizon = horizon

    def changes(self, excepted: Collection[str] = (), *, retyped: bool = True) -> list[str]:
        """Return, in words, which values differ now and which rows are gone; `excepted`: "table" or "table.column".

        Without `retyped`, values of another type than they had are not looked at: the same may be printed otherwise.
        """
        now, lines = _describe(self._observer), []
        untouched = self._untouched(now)
        for title, before in self._tables.items():
            if title not in now or title in excepted or title in untouched:
                continue
            table = now[title]
            there = {column.name: column for column in table.columns.values()}
            same = {
                column.name for column in before.columns.values()
                if column.name in there and (retyped or not table.retyped(before, column.name))
            }  # fmt: skip
            found = {
                number: there[column.name] for number, column in before.columns.items()
                if column.name in same and f"{title}.{column.name}" not in excepted
            }  # fmt: skip
            if before.key and {*before.key} <= same:
                lines += self._by_key(before.rows, title, table, _key(table, before.key), found)
            else:
                lines += self._as_a_whole(before.rows, title, table, found)
        return lines

    def holds(self, column: str) -> bool:
        """Tell whether a column, as table.column, was there."""
        title, _, name = column.rpartition(".")
        return title in self._tables and name in {each.name for each in self._tables[title].columns.values()}

    def surplus(self, excepted: Collection[str] = ()) -> list[str]:
        """Return which tables hold more rows now."""
        now = _describe(self._observer)
        looked = [title for title in self._tables if title in now and title not in excepted]
        counts = each(self._observer, [f"SELECT count(*) FROM {now[title].sql}" for title in looked])
        more = {title: rows - self._tables[title].held for title, rows in zip(looked, counts, strict=True)}
        return [f"{title}: {count(rows, 'row')} more than before" for title, rows in more.items() if rows > 0]

    def _untouched(self, now: dict[str, _Table]) -> set[str]:
        """Return the tables none of whose rows was written, and none of whose columns was changed."""
        same = [
            title for title, table in now.items() if title in self._tables and self._tables[title].is_as_it_was(table)
        ]
        looks = [
            f"SELECT ARRAY[count(*), count(*) FILTER (WHERE age(xmin) <= age('{self._horizon}'::xid))] "
            f"FROM {now[title].sql}"
            for title in same
        ]
        return {
            title for title, (rows, new) in zip(same, each(self._observer, looks), strict=True)
            if not new and rows == self._tables[title].held
        }  # fmt: skip

    def _by_key(self, rows: str, title: str, table: _Table, key: str, found: dict[int, Column]) -> list[str]:
        hashes = "".join(f", {_hash(column)} AS h{i}" for i, column in found.items())
        changed = "".join(f", count(*) FILTER (WHERE there IS NOT NULL AND c{i} IS DISTINCT FROM h{i})" for i in found)
        gone, *counts = row(
            self._observer,
            f"SELECT count(*) FILTER (WHERE there IS NULL){changed} FROM {rows} "
            f"LEFT JOIN (SELECT {key} AS there{hashes} FROM {table.sql}) AS now ON there = key",
        )
        lines = [f"{title}: {count(gone, 'row')} gone"] if gone else []
        for column, number in zip(found.values(), counts, strict=True):
            if number:
                lines.append(f"{title}.{column.name}: {count(number, 'row')} changed")
        return lines

    def _as_a_whole(self, rows: str, title: str, table: _Table, found: dict[int, Column]) -> list[str]:
        """Without a key, rows cannot be told apart: compare the sums."""
        lines = []
        for i, column in found.items():
            before = row(self._observer, f"SELECT count(*), sum(c{i}), count(c{i}) FROM {rows}")
            after = row(self._observer, f"SELECT count(*), sum({_hash(column)}), count({column.sql}) FROM {table.sql}")
            if after[0] < before[0]:
                return [f"{title}: {count(before[0] - after[0], 'row')} gone"]
            if after != before:
                lines.append(f"{title}.{column.name}: changed")
        if len(found) > 1 and not lines:
            whole = "sum(hashtextextended(ARRAY[{}]::text, 0))"
            before = one(self._observer, f"SELECT {whole.format(', '.join(f'c{i}' for i in found))} FROM {rows}")
            hashes = ", ".join(map(_hash, found.values()))
            if before != one(self._observer, f"SELECT {whole.format(hashes)} FROM {table.sql}"):
                lines.append(f"{title}: rows have values of other rows")
        return lines


def _describe(connection: Connection) -> dict[str, _Table]:
    schema = model.read(connection, constraints=False)
    keys = {index.table: index.key for index in schema.unique.values() if index.primary}
    above = {table.parent for table in schema.tables.values()}
    forms = {kind: {*names} for kind, names in connection.exec_driver_sql(_FORMS)}
    return {
        table.title: _Table(
            table.oid,
            table.sql,
            table.columns,
            table.titles(sorted(keys.get(table.oid, ()))),
            table.oid not in above
            and all(column.type_oid < _OTHERS and column.type_oid not in _NAMES for column in table.columns.values()),
            {each.name: forms[each.type_oid] for each in table.columns.values() if each.type_oid in forms},
        )
        for table in sorted(schema.tables.values(), key=lambda table: table.title)
        if table.kind in ("r", "p") and not table.is_partition
    }  # fmt: skip


def _hash(column: Column) -> str:
    return f"hashtextextended({_text(column)}, 0)"


def _key(table: _Table, names: list[str]) -> str:
    there = {column.name: column for column in table.columns.values()}
    return f"ARRAY[{', '.join(_text(there[name]) for name in names)}]" if names else "NULL"


def _text(column: Column) -> str:
    # Equal numbers are equal however many zeros are printed behind the point; json is compared as what it means.
    value = {_NUMERIC: f"trim_scale({column.sql})", _JSON: f"{column.sql}::jsonb"}.get(column.type_oid, column.sql)
    return f"{value}::text"
