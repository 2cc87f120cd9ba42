"""Generated rows, for commands that try steps out on tables that are not empty.

Each table is filled by one INSERT ... SELECT FROM generate_series, built from the catalogue, parents before children;
each partition by one of its own. The values depend on the row's number only, so two runs on equal databases give equal
rows. A table that takes no row is named with the reason, and costs no other table its rows.
"""
# ruff: noqa: S608 - names are quoted by the server

from collections.abc import Collection, Mapping
from typing import NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from tangga.catalogue.sql import each, execute, one
from tangga.scratch.insert import Attempt, Landing, RowsRefused, statement
from tangga.scratch.partitions import landing
from tangga.scratch.tables import Table, describe

__all__ = ["Filled", "generate"]

_TRIES = 8
# Nothing is known about new tables, so the planner expects thousands of rows, and would compile for a hundred. A
# constraint that is checked at the end of the transaction would refuse all tables' rows for one's. A trigger or a
# condition that never ends is a refusal, too.
_SESSION = (
    "SET LOCAL jit = off; SET LOCAL work_mem = '128MB'; SET LOCAL statement_timeout = '5min'; "
    "SET CONSTRAINTS ALL IMMEDIATE"
)


class Filled(NamedTuple):
    """What filling came to: the rows inserted per table, in that order, and why tables and partitions are empty.

    `unknown`: columns that are NULL in all of those rows, and their types.
    """

    inserted: dict[str, int]
    empty: dict[str, str]
    unknown: dict[str, str]


def generate(
    connection: Connection, count: int, tables: Collection[str] | None = None, *, top_up: bool = False,
    odd: bool = True, without: Collection[str] = (), plain: Collection[str] = (),
) -> Filled:  # fmt: skip
    """Insert `count` rows into every table of the application, or into those named; commits nothing.

    With `top_up`, tables that have rows get only what is missing to `count`. Fewer are inserted where a unique key over
    existing parents leaves no room for more; none into the tables `without`. Unless they are to be `odd`, no values are
    out of the ordinary (scratch/values.py), and none in the tables `plain`, where they are not NULL either. The
    connection must be in a transaction (not autocommit), and sees through row-level security only as a superuser.
    """
    connection.exec_driver_sql(_SESSION)
    described, closed = describe(connection)
    if not odd:
        described = {oid: table.as_plain(nulls=True) for oid, table in described.items()}
    described |= {oid: table.as_plain() for oid, table in described.items() if table.title in plain}
    chosen = {
        oid: table for oid, table in described.items()
        if (tables is None or table.title in tables) and table.title not in without
    }  # fmt: skip
    empty = {name: why for name, why in closed.items() if tables is None or name in tables}
    known = {table.title for table in described.values()} | closed.keys()
    empty |= dict.fromkeys(sorted(set(tables or ()) - known), "there is no such table")
    counts = dict(
        zip(described, each(connection, [f"SELECT count(*) FROM {t.sql}" for t in described.values()]), strict=True)
    )
    inserted = {}
    order, circle = _parents_first(chosen)
    for oid in order:
        wanted = max(count - counts[oid] if top_up else count, 0)
        done, refusals = _Filling(connection, described, counts, oid).fill(wanted)
        counts[oid] += done
        inserted[described[oid].title] = done
        empty |= refusals
    names = ", ".join(sorted(chosen[oid].title for oid in circle))
    empty |= {chosen[oid].title: f"foreign keys that may not be NULL form a circle: {names}" for oid in circle}
    unknown = {
        f"{table.title}.{column.sql}": column.kind.name
        for table in chosen.values() if inserted.get(table.title)
        for column in table.columns.values() if column.unknown and column.kind
    }  # fmt: skip
    return Filled(inserted, empty, unknown)


def _parents_first(tables: Mapping[int, Table]) -> tuple[list[int], list[int]]:
    """Return the tables in the order in which they can be filled, and those whose keys wait for each other."""
    left, ordered = dict(tables), list[int]()
    while left:
        ready = [oid for oid, table in left.items() if not _waits_for(table, left, oid, required=False)]
        # A circle: begin where the reference may be NULL.
        ready = ready or [oid for oid, table in left.items() if not _waits_for(table, left, oid, required=True)][:1]
        if not ready:
            circle = [oid for oid in left if oid in _required_above(left, oid)]
            # What only waits for the circle is refused by its own key.
            return ordered + [oid for oid in left if oid not in circle], circle
        ordered += ready
        left = {oid: table for oid, table in left.items() if oid not in ready}
    return ordered, []


def _waits_for(table: Table, left: Collection[int], own: int, *, required: bool) -> bool:
    return any(
        reference.parent in left and reference.parent != own and (not required or table.requires(reference))
        for reference in table.references
    )


def _required_above(tables: Mapping[int, Table], oid: int) -> set[int]:
    """Return the tables that must have rows before this one has; itself, if it is in a circle."""
    found: set[int] = set()
    new = {oid}
    while new:
        new = {
            reference.parent
            for each in new
            for reference in tables[each].references
            if reference.parent in tables and reference.parent != each and tables[each].requires(reference)
        } - found
        found |= new
    return found


class _Filling:
    """Fills one table."""

    def __init__(
        self, connection: Connection, tables: Mapping[int, Table], counts: Mapping[int, int], oid: int
    ) -> None:
        self._connection = connection
        self._tables, self._counts = tables, counts
        self._oid, self._table = oid, tables[oid]
        self._start = counts[oid]

    def fill(self, wanted: int) -> tuple[int, dict[str, str]]:
        """Insert so many rows; return how many there are more, and why the table, or a partition of it, is empty."""
        table = self._table
        try:
            if table.parts is None:
                done, refusal = self._insert(wanted, None)
                empty = wanted and not done and not self._counts[self._oid]
                return done, {table.title: self._why(refusal)} if empty else {}
            return self._fill_parts(wanted)
        except RowsRefused as refused:
            return 0, {} if self._counts[self._oid] else {table.title: str(refused)}

    def _fill_parts(self, wanted: int) -> tuple[int, dict[str, str]]:
        """Fill each partition with its part, and return the same."""
        parts = self._table.parts or []
        whole, done, empty = wanted + self._counts[self._oid], 0, {}
        if not parts and whole:
            return 0, {self._table.title: "it has no partition"}
        for part in parts:
            if part.foreign:
                empty[part.title] = "it is a foreign table"
                continue
            there = one(self._connection, f"SELECT count(*) FROM {part.sql}")
            missing = max(-(-whole // len(parts)) - there, 0)
            if not missing:
                continue
            place = landing(self._connection, self._table, part, self._counts, missing)
            more, refusal = self._insert(missing, place) if place.size or not place.columns else (0, "")
            done += more
            if not more and not there:
                empty[part.title] = refusal or f"no generated row lands in it: {part.condition}"
        return done, empty

    def _insert(self, wanted: int, place: Landing | None) -> tuple[int, str]:
        """Insert so many rows if they can be made; return how many it were, and what the last refusal said."""
        done, refusals = 0, list[str]()
        for number in range(_TRIES):
            if done >= wanted:
                break
            # One row that an index, a trigger or a computed column does not take is the end of the whole statement.
            table = self._table if not refusals else self._table.as_plain(nulls=len(refusals) < _TRIES // 2)
            # A condition throws some rows out: later attempts make more to choose from.
            chosen = self._table.checks or place
            span = (wanted - done) * (1 if number == 0 else 8 if chosen else 2)
            attempt = Attempt(self._start, span, wanted - done, number)
            insert = statement({**self._tables, self._oid: table}, self._counts, self._oid, attempt, place)
            try:
                with self._connection.begin_nested():
                    done += execute(self._connection, insert)
            except DBAPIError as error:
                refusals.append(str(error.orig).strip().partition("\n")[0])
            self._start += span
        return done, refusals[-1] if refusals else ""

    def _why(self, refusal: str) -> str:
        names = ", ".join(self._table.checks)
        return refusal or (
            f"no generated row passes its CHECK constraints ({names})" if names else "no row fits its keys"
        )
