"""The one statement that fills a table: INSERT ... SELECT FROM generate_series, with the parents' rows joined."""
# ruff: noqa: S608 - names are quoted, and come from the catalogue, as do types and conditions

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tangga.scratch.tables import Reference, Table

# Column -> its unit and how many values that has (None: any number). The columns of a reference are one unit.
Units = dict[int, tuple[int, int | None]]


class RowsRefused(Exception):
    """A table takes no generated row: names the table and the constraint."""


class Attempt(NamedTuple):
    """Rows to be made: from `span` numbers, beginning with `start`, at most `limit`. `number` counts from 0."""

    start: int
    span: int
    limit: int
    number: int


def statement(tables: Mapping[int, Table], counts: Mapping[int, int], oid: int, attempt: Attempt) -> str:
    """Return the statement; `counts` says how many rows each table has.

    Raises RowsRefused if a table that this one must refer to is empty.
    """
    table = tables[oid]
    values, joins = _values(tables, counts, table, attempt.number)
    if not values:
        return f"INSERT INTO {table.sql} SELECT FROM generate_series(1, {attempt.limit})"
    names = ", ".join(table.columns[number].sql for number in values)
    made = ", ".join(f"{value} AS {table.columns[number].sql}" for number, value in values.items())
    # What the database fills in itself is not there to be asked.
    filled = [column.sql for column in table.columns.values() if column.filled]
    conditions = [f"({check}) IS NOT FALSE" for check in table.checks.values() if not _mentions(check, filled)]
    last = attempt.start + attempt.span - 1
    return (
        f"INSERT INTO {table.sql} ({names}) SELECT {names} FROM ("
        f"SELECT n, {made} FROM generate_series({attempt.start}::bigint, {last}) AS n {' '.join(joins)}"
        f") AS generated WHERE {' AND '.join(conditions) or 'true'} ORDER BY n LIMIT {attempt.limit}"
        f"{'' if table.deferrable else ' ON CONFLICT DO NOTHING'}"
    )


def _values(
    tables: Mapping[int, Table], counts: Mapping[int, int], table: Table, attempt: int
) -> tuple[dict[int, str], list[str]]:
    """Return what goes into each column, and the joins that it needs."""
    values, units, chosen = _references(tables, counts, table)
    for number, column in table.columns.items():
        units.setdefault(number, (number, column.way.size))
    indexes = spread(table.keys, units, attempt)
    joins = []
    for position, reference in enumerate(chosen):
        parent, alias = tables[reference.parent], f"parent_{position}"
        names = [parent.columns[number].sql for number in reference.referenced]
        index = indexes[reference.columns[0]]
        if not table.requires(reference):
            index = _sometimes_null(reference.columns[0], index)
        joins.append(
            f"LEFT JOIN (SELECT row_number() OVER (ORDER BY {', '.join(names)}) - 1 AS i, {', '.join(names)} "
            f"FROM {parent.sql}) AS {alias} ON {alias}.i = {index}"
        )
        values |= {number: f"{alias}.{name}" for number, name in zip(reference.columns, names, strict=True)}
    for number, column in table.columns.items():
        if number not in values and not column.filled:
            value = column.way.at(indexes[number])
            values[number] = value if column.required else _sometimes_null(number, value)
    return values, joins


def _references(
    tables: Mapping[int, Table], counts: Mapping[int, int], table: Table
) -> tuple[dict[int, str], Units, list[Reference]]:
    """Return the NULLs of references to empty tables, the units of all references, and those that have parents."""
    values: dict[int, str] = {}
    units: Units = {}
    chosen = []
    for reference in table.references:
        if any(number in units or table.columns[number].filled for number in reference.columns):
            continue
        if counts[reference.parent]:
            chosen.append(reference)
            units |= dict.fromkeys(reference.columns, (reference.columns[0], counts[reference.parent]))
            continue
        if table.requires(reference):
            parent = tables[reference.parent].title
            raise RowsRefused(f"{table.title}: constraint {reference.name} needs rows in {parent}, which is empty")
        for number in reference.columns:
            units[number], values[number] = (number, 1), table.columns[number].null
    return values, units, chosen


def _sometimes_null(number: int, value: str) -> str:
    return f"CASE WHEN n % 7 <> {number % 7} THEN {value} END"


def _mentions(condition: str, names: Sequence[str]) -> bool:
    return any(re.search(rf"(?<!\w){re.escape(name.strip(chr(34)))}(?!\w)", condition) for name in names)


def spread(keys: Sequence[Sequence[int]], units: Units, attempt: int) -> dict[int, str]:
    """Return, for each unit, the number that its value is made from, so that unique keys over few values hold."""
    indexes: dict[int, str] = {}
    for key in keys:
        members = list(dict.fromkeys(units[number] for number in key if number))
        if any(size is None or unit in indexes for unit, size in members):
            continue
        # n in a mixed radix, each digit shifted by the one before: as many different combinations as there are, and
        # the first of them already spread over all columns.
        divisor, before = 1, "0"
        for unit, size in members:
            before = indexes[unit] = f"((n / {divisor} + {before}) % {max(size or 1, 1)})"
            divisor *= max(size or 1, 1)
    unique = {number for key in keys for number in key}
    for unit, size in units.values():
        # Equal numbers in all columns fail a condition such as a < b: shift them, then mix them.
        shifted = ("n", f"n + {unit}", f"n + {100 - unit}")[attempt % 3]
        if attempt >= 3 and unit not in unique:
            shifted = f"(n * {7919 + 2 * unit} / {attempt}) % 1009"
        indexes.setdefault(unit, shifted if size is None else f"(({shifted}) % {size})")
    return indexes
