"""What a step demands of the rows that are there already, as questions to the live database.

A step's demands are found by comparing the scratch database's catalogue before and after it: a new unique index (no
duplicates), NOT NULL (no NULLs), a foreign key (no orphans), a CHECK (no row that breaks it). Tables and columns are
followed by their numbers, so a rename earlier in the run does not hide them.
"""
# ruff: noqa: S608 - what is put into the questions comes from the catalogue, quoted by PostgreSQL

from collections.abc import Collection

from tangga.catalogue.model import Column, Constraint, Schema, Table, Unique
from tangga.plan.assertions import Assertion, Question


def demands(start: Schema, before: Schema, after: Schema) -> list[Question]:
    """Return what a step demands of rows in tables that the live database has.

    `start` is the live database's schema, `before` and `after` are the scratch database's around the step.
    """
    live = _Live(start, after)
    # What is all new in this run has no live rows to ask: those of the scratch database have shown whether it works.
    found = [
        _no_duplicates(live, index, after.tables[index.table])
        for oid, index in after.unique.items()
        if index.valid and not _was_valid(before, oid) and live.has_any(index.table, index.uses or index.key)
    ]
    for table in (after.tables[oid] for oid in start.tables if oid in after.tables):
        for number, column in table.columns.items():
            was = before.column(table.oid, number)
            if column.required and was and not was.required and start.column(table.oid, number):
                found.append(_no_nulls(live, table, column))
    for oid, constraint in after.constraints.items():
        new = constraint.validated and not _was_validated(before, oid)
        if new and live.has_any(constraint.table, constraint.columns):
            made_by = _no_orphans if constraint.type == "f" else _none_breaks
            found.append(made_by(live, constraint, after.tables[constraint.table]))
    return found


def _was_valid(before: Schema, index: int) -> bool:
    return index in before.unique and before.unique[index].valid


def _was_validated(before: Schema, constraint: int) -> bool:
    return constraint in before.constraints and before.constraints[constraint].validated


class _Live:
    """How the live database calls what the scratch database now has."""

    def __init__(self, start: Schema, now: Schema) -> None:
        self._start = start
        self._now = now

    def table(self, oid: int) -> str:
        return self._start.tables[oid].sql

    def has_any(self, oid: int, numbers: Collection[int] | None) -> bool:
        """Tell whether one of the columns is there; without columns, the table."""
        if not numbers:
            return oid in self._start.tables
        return any(self._start.column(oid, number) for number in numbers)

    def columns(self, oid: int, numbers: Collection[int]) -> list[str] | None:
        """Return names in SQL; None if a column is not there, or has another type."""
        names = []
        for number in numbers:
            there, here = self._start.column(oid, number), self._now.tables[oid].columns[number]
            if there is None or there.type != here.type:
                return None
            names.append(there.sql)
        return names

    def same_names(self, oid: int, numbers: Collection[int]) -> bool:
        """Tell whether an expression over these columns means the same there."""
        pairs = [(self._start.column(oid, number), self._now.tables[oid].columns[number]) for number in numbers]
        return all(there and (there.name, there.type) == (here.name, here.type) for there, here in pairs)


def _no_duplicates(live: _Live, index: Unique, table: Table) -> Question:
    names = table.titles([number for number in index.key if number])
    assertion = Assertion("unique", table.title, index.name, names or index.expressions)
    if index.predicate or 0 in index.key:
        keys = index.expressions if live.same_names(index.table, index.uses) else None
    else:
        keys = live.columns(index.table, index.key)
    if keys is None:
        return _cannot_be_asked(assertion)
    conditions = [f"({index.predicate})"] if index.predicate else []
    if not index.nulls_equal:
        conditions += [f"({key}) IS NOT NULL" for key in keys]
    shown = ", ".join(f"k{number}" for number in range(len(keys)))
    sql = (
        f"WITH twice AS (SELECT {', '.join(f'{key} AS k{number}' for number, key in enumerate(keys))} "
        f"FROM {live.table(index.table)} WHERE {' AND '.join(conditions) or 'true'} "
        f"GROUP BY {shown} HAVING count(*) > 1) "
        f"SELECT count(*), (SELECT left(concat_ws(', ', {shown}), 60) FROM twice LIMIT 1) FROM twice"
    )
    return Question(assertion, sql, (index.table,))


def _no_nulls(live: _Live, table: Table, column: Column) -> Question:
    assertion = Assertion("not null", table.title, column.name, [column.name])
    columns = live.columns(table.oid, [column.number])
    if columns is None:
        return _cannot_be_asked(assertion)
    sql = f"SELECT count(*), NULL FROM {live.table(table.oid)} WHERE {columns[0]} IS NULL"
    return Question(assertion, sql, (table.oid,))


def _no_orphans(live: _Live, key: Constraint, table: Table) -> Question:
    assert key.columns is not None
    assert key.parent_columns is not None
    assertion = Assertion("foreign key", table.title, key.name, table.titles(key.columns))
    columns = live.columns(key.table, key.columns)
    parents = live.columns(key.parent, key.parent_columns) if live.has_any(key.parent, None) else None
    if columns is None or parents is None:
        return _cannot_be_asked(assertion)
    pairs = zip(columns, parents, strict=True)
    given = " AND ".join(f"child.{column} IS NOT NULL" for column in columns)
    sql = (
        f"WITH orphan AS (SELECT {', '.join(f'child.{column} AS k{n}' for n, column in enumerate(columns))} "
        f"FROM {live.table(key.table)} AS child WHERE {given} AND NOT EXISTS (SELECT FROM {live.table(key.parent)} "
        f"AS parent WHERE {' AND '.join(f'parent.{parent} = child.{column}' for column, parent in pairs)})) "
        f"SELECT count(*), (SELECT left(concat_ws(', ', {', '.join(f'k{n}' for n in range(len(columns)))}), 60) "
        "FROM orphan LIMIT 1) FROM orphan"
    )
    return Question(assertion, sql, (key.table, key.parent))


def _none_breaks(live: _Live, check: Constraint, table: Table) -> Question:
    numbers = check.columns or []
    assertion = Assertion("check", table.title, check.name, table.titles(numbers))
    if not live.same_names(check.table, numbers):
        return _cannot_be_asked(assertion)
    sql = f"SELECT count(*), NULL FROM {live.table(check.table)} WHERE NOT ({check.condition})"
    return Question(assertion, sql, (check.table,))


def _cannot_be_asked(assertion: Assertion) -> Question:
    assertion.detail = "a column of it is new, renamed or of another type in this run"
    return Question(assertion, None, ())
