"""The one statement that fills a table: INSERT ... SELECT FROM generate_series, with the parents' rows joined."""
# ruff: noqa: S608 - names are quoted, and come from the catalogue, as do types and conditions

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tangga.scratch.tables import Column, Reference, Table

# What a row's number is called: no table has a column of that name.
NUMBER = "tangga_n"
# Of ten rows, the last two are alike in all that no key wants different: a step that takes doubles away is seen to.
_ALIKE = f"({NUMBER} - {NUMBER} % 10 / 9)"
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


class Landing(NamedTuple):
    """The partition that rows land in: the condition on them, and a query for the values of some columns that meet it.

    Without columns, the condition sorts out what other columns' values would not meet.
    """

    columns: list[int]
    source: str
    size: int
    condition: str


class _Choice(NamedTuple):
    """Columns that take their values together, from the columns `names` of a table or of a query."""

    columns: list[int]
    source: str
    names: list[str]
    # Those that no other choice has made: it keeps to the others.
    free: list[int]


def statement(
    tables: Mapping[int, Table], counts: Mapping[int, int], oid: int, attempt: Attempt, landing: Landing | None = None
) -> str:
    """Return the statement; `counts` says how many rows each table has.

    Raises RowsRefused if a table that this one must refer to is empty.
    """
    table = tables[oid]
    row = _Row(tables, counts, oid, landing)
    values, joins = row.values(attempt.number)
    if not values:
        return f"INSERT INTO {table.sql} SELECT FROM generate_series(1, {attempt.limit})"
    names = ", ".join(table.columns[number].sql for number in values)
    made = ", ".join(f"{value} AS {table.columns[number].sql}" for number, value in values.items())
    # The database fills these in itself, so nobody asks for them.
    filled = [column.sql for column in table.columns.values() if column.filled and column.number not in values]
    conditions = [f"({check}) IS NOT FALSE" for check in table.checks.values() if not mentions(check, filled)]
    conditions += row.conditions + ([landing.condition] if landing else [])
    last = attempt.start + attempt.span - 1
    # Where the database would fill in a number itself, and a partition or a parent wants another.
    own = " OVERRIDING SYSTEM VALUE" if any(table.columns[number].filled for number in values) else ""
    return (
        f"INSERT INTO {table.sql} ({names}){own} SELECT {names} FROM ("
        f"SELECT {NUMBER}, {made} FROM generate_series({attempt.start}::bigint, {last}) AS {NUMBER} {' '.join(joins)}"
        f") AS generated WHERE {' AND '.join(conditions) or 'true'} ORDER BY {NUMBER} LIMIT {attempt.limit}"
        f"{'' if table.deferrable else ' ON CONFLICT DO NOTHING'}"
    )


class _Row:
    """What goes into a row: first what refers to other rows, then what a partition asks for, then all the rest."""

    def __init__(
        self, tables: Mapping[int, Table], counts: Mapping[int, int], oid: int, landing: Landing | None
    ) -> None:
        self.conditions: list[str] = []
        self._tables, self._counts, self._oid, self._table = tables, counts, oid, tables[oid]
        self._units: Units = {}
        self._choices: list[_Choice] = []
        self._nulls: list[int] = []
        # Columns that refer to their own row: column -> the column that it repeats.
        self._repeated: dict[int, int] = {}
        for reference in self._table.references:
            self._refer(reference)
        if landing and landing.columns:
            names = [self._table.columns[number].sql for number in landing.columns]
            self._choose(landing.columns, landing.source, names, landing.size)

    def values(self, attempt: int) -> tuple[dict[int, str], list[str]]:
        """Return what goes into each column, and the joins that it needs."""
        columns = self._table.columns
        for number, column in columns.items():
            self._units.setdefault(number, (number, column.way.size))
        indexes = spread(self._table.keys, self._units, attempt)
        values: dict[int, str] = {}
        joins = [
            self._join(f"parent_{position}", choice, indexes, values) for position, choice in enumerate(self._choices)
        ]
        for number, column in columns.items():
            if number not in values and (not column.filled or number in self._repeated.values()):
                value = column.way.at(indexes[number])
                values[number] = value if column.required else self._sometimes_null(number, value)
        values |= {number: columns[number].null for number in self._nulls}
        values |= {number: values[like] for number, like in self._repeated.items()}
        return {number: values[number] for number in columns if number in values}, joins

    def _refer(self, reference: Reference) -> None:
        table, size = self._table, self._counts[reference.parent]
        parent = self._tables[reference.parent]
        if any(table.columns[number].computed for number in reference.columns):
            return
        if size:
            self._choose(
                reference.columns, parent.sql, [parent.columns[number].sql for number in reference.referenced], size
            )
        elif not table.requires(reference):
            nulls = [number for number in reference.columns if not table.columns[number].required]
            self._nulls += nulls
            self._units |= {number: (number, 1) for number in nulls if number not in self._units}
        elif reference.parent == self._oid:
            self._repeated |= {
                number: like for number, like in zip(reference.columns, reference.referenced, strict=True)
                if number != like
            }  # fmt: skip
        else:
            needed = f"constraint {reference.name} needs rows in {parent.title}, which is empty"
            raise RowsRefused(f"{table.title}: {needed}")

    def _choose(self, columns: list[int], source: str, names: list[str], size: int) -> None:
        if any(number in self._nulls for number in columns):
            return  # so it refers to nothing
        free = [number for number in columns if number not in self._units]
        self._choices.append(_Choice(columns, source, names, free))
        self._units |= dict.fromkeys(free, (free[0] if free else 0, size))

    def _join(self, alias: str, choice: _Choice, indexes: Mapping[int, str], values: dict[int, str]) -> str:
        """Return the join of one choice; what it gives is added to the values."""
        pairs = [(self._table.columns[number], name) for number, name in zip(choice.columns, choice.names, strict=True)]
        made = [(column, name) for column, name in pairs if column.number not in choice.free]
        free = [(column, name) for column, name in pairs if column.number in choice.free]
        if not free:
            self._require_parent(choice, pairs)
            return ""
        optional = not any(column.required for column, _ in pairs)
        index = indexes[choice.free[0]]
        if optional and not made:
            index = self._sometimes_null(choice.free[0], index)
        for column, name in free:
            value = f"{alias}.{name}"
            values[column.number] = value if optional or column.required else self._sometimes_null(column.number, value)
        if not made:
            names = ", ".join(choice.names)
            return (
                f"LEFT JOIN (SELECT row_number() OVER (ORDER BY {names}) - 1 AS tangga_i, {names} "
                f"FROM {choice.source}) AS {alias} ON {alias}.tangga_i = {index}"
            )
        # Another choice has made some of the columns: only the parents that agree with it, counted by themselves.
        self.conditions += [f"{column.sql} IS NOT NULL" for column, _ in free if column.required]
        same, names = ", ".join(name for _, name in made), ", ".join(choice.names)
        agree = " AND ".join(f"{alias}.{name} = {values[column.number]}" for column, name in made)
        return (
            f"LEFT JOIN (SELECT row_number() OVER (PARTITION BY {same} ORDER BY {names}) - 1 AS tangga_i, "
            f"count(*) OVER (PARTITION BY {same}) AS tangga_many, {names} FROM {choice.source}) AS {alias} "
            f"ON {agree} AND {alias}.tangga_i = {index} % {alias}.tangga_many"
        )

    def _require_parent(self, choice: _Choice, pairs: list[tuple[Column, str]]) -> None:
        """Leave out the rows whose columns, all made by other choices, have no parent here."""
        null = "".join(f"{column.sql} IS NULL OR " for column, _ in pairs if not column.required)
        same = " AND ".join(f"other.{name} = generated.{column.sql}" for column, name in pairs)
        self.conditions.append(f"({null}EXISTS (SELECT FROM {choice.source} AS other WHERE {same}))")

    def _sometimes_null(self, number: int, value: str) -> str:
        return f"CASE WHEN {_ALIKE} % 7 <> {number % 7} THEN {value} END" if self._table.nulls else value


def mentions(condition: str, names: Iterable[str]) -> bool:
    """Tell whether a condition speaks of one of some columns, named as SQL names them."""
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
            before = indexes[unit] = f"(({NUMBER} / {divisor} + {before}) % {max(size or 1, 1)})"
            divisor *= max(size or 1, 1)
    unique = {units[number][0] for key in keys for number in key if number}
    for unit, size in units.values():
        # Equal numbers in all columns fail a condition such as a < b: shift them, then mix them.
        base = NUMBER if unit in unique else _ALIKE
        shifted = (base, f"{base} + {unit}", f"{base} + {100 - unit}")[attempt % 3]
        if attempt >= 3 and unit not in unique:
            shifted = f"({NUMBER} * {7919 + 2 * unit} / {attempt}) % 1009"
        indexes.setdefault(unit, shifted if size is None else f"(({shifted}) % {size})")
    return indexes
