"""Generated rows, for commands that try steps out on tables that are not empty.

Each table is filled by one INSERT ... SELECT FROM generate_series, built from the catalogue, parents before children.
The values depend on the row's number only, so two runs on equal databases give equal rows.
"""

from collections.abc import Collection, Mapping

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from tangga.catalogue.sql import execute, one
from tangga.scratch.insert import Attempt, RowsRefused, statement
from tangga.scratch.tables import Table, describe

__all__ = ["RowsRefused", "generate"]

_TRIES = 8


def generate(
    connection: Connection, count: int, tables: Collection[str] | None = None, *, top_up: bool = False
) -> dict[str, int]:
    """Insert `count` rows into every table of the application, or into those named; commits nothing.

    With `top_up`, tables that have rows get only what is missing to `count`. Fewer are inserted where a unique key over
    existing parents leaves no room for more. The connection must be in a transaction (not autocommit). Returns the rows
    inserted per table, in the order of insertion; raises RowsRefused if a table that is empty stays so.
    """
    # Nothing is known about new tables, so the planner expects thousands of rows, and would compile for a hundred.
    connection.exec_driver_sql("SET LOCAL jit = off; SET LOCAL work_mem = '128MB'")
    described = describe(connection)
    chosen = {oid: table for oid, table in described.items() if tables is None or table.title in tables}
    if unknown := set(tables or ()) - {table.title for table in chosen.values()}:
        raise RowsRefused(f"no such table: {', '.join(sorted(unknown))}")
    counts: dict[int, int] = {
        oid: one(connection, f"SELECT count(*) FROM {table.sql}")  # noqa: S608 - quoted by the server
        for oid, table in described.items()
    }
    inserted = {}
    for oid in _parents_first(chosen):
        wanted = count - counts[oid] if top_up else count
        done = _fill(connection, described, counts, oid, max(wanted, 0))
        counts[oid] += done
        inserted[described[oid].title] = done
    return inserted


def _parents_first(tables: Mapping[int, Table]) -> list[int]:
    left, ordered = dict(tables), []
    while left:
        ready = [oid for oid, table in left.items() if not _waits_for(table, left, oid, required=False)]
        # A circle: begin where the reference may be NULL.
        ready = ready or [oid for oid, table in left.items() if not _waits_for(table, left, oid, required=True)][:1]
        if not ready:
            names = ", ".join(sorted(table.title for table in left.values()))
            raise RowsRefused(f"foreign keys that may not be NULL form a circle: {names}")
        ordered += ready
        left = {oid: table for oid, table in left.items() if oid not in ready}
    return ordered


def _waits_for(table: Table, left: Collection[int], own: int, *, required: bool) -> bool:
    return any(
        reference.parent in left and reference.parent != own and (not required or table.requires(reference))
        for reference in table.references
    )


def _fill(connection: Connection, tables: Mapping[int, Table], counts: Mapping[int, int], oid: int, wanted: int) -> int:
    table, done, start, refusal = tables[oid], 0, counts[oid], ""
    for number in range(_TRIES):
        if done >= wanted:
            break
        # A condition over several columns throws some rows out: later attempts make more to choose from.
        span = (wanted - done) * (1 if number == 0 else 8 if table.checks else 2)
        insert = statement(tables, counts, oid, Attempt(start, span, wanted - done, number))
        try:
            with connection.begin_nested():
                done += execute(connection, insert)
        except DBAPIError as error:
            refusal = str(error.orig).strip().partition("\n")[0]
        start += span
    if wanted and not done and not counts[oid]:
        names = ", ".join(table.checks)
        reason = refusal or (
            f"no generated row passes its CHECK constraints ({names})" if names else "no row fits its keys"
        )
        raise RowsRefused(f"table {table.title} takes no generated row: {reason}")
    return done
