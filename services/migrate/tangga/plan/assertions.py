"""What a step demands of the rows that are there already, asked of the live database, which is only read.

A step's demands are found by comparing the scratch database's catalogue before and after it: a new unique index (no
duplicates), NOT NULL (no NULLs), a foreign key (no orphans), a CHECK (no row that breaks it). Tables and columns are
followed by their numbers, so a rename earlier in the run does not hide them.
"""
# ruff: noqa: S608 - what is put into the questions comes from the catalogue, quoted by PostgreSQL

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from tangga.catalogue.ours import OURS
from tangga.connect import LOCK_NOT_AVAILABLE, QUERY_CANCELED, sqlstate

HOLDS, VIOLATED, OPEN, UNANSWERED, NOT_ASKED = "holds", "violated", "open", "unanswered", "not asked"

_USERS = "nspname !~ '^pg_' AND nspname <> 'information_schema' AND relname <> ALL (:ours)"
_tables = text(f"""
    SELECT c.oid::int8, CASE nspname WHEN 'public' THEN relname ELSE nspname || '.' || relname END,
           format('%I.%I', nspname, relname)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace WHERE relkind IN ('r', 'p', 'f') AND {_USERS}
""")
_columns = text(f"""
    SELECT attrelid::int8, attnum, attname, quote_ident(attname), format_type(atttypid, atttypmod), attnotnull
    FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid JOIN pg_namespace AS n ON n.oid = relnamespace
    WHERE relkind IN ('r', 'p', 'f') AND attnum > 0 AND NOT attisdropped AND {_USERS}
""")
# An index over the table's columns: numbers of those in the key (0: an expression) and of all that it uses.
_unique = text(f"""
    SELECT indexrelid::int8, c.relname, indrelid::int8, (indkey::int2[])[0:indnkeyatts - 1],
           ARRAY(SELECT DISTINCT refobjsubid FROM pg_depend WHERE classid = 'pg_class'::regclass
                 AND objid = indexrelid AND refclassid = 'pg_class'::regclass AND refobjid = indrelid
                 AND refobjsubid > 0),
           ARRAY(SELECT pg_get_indexdef(indexrelid, k, true) FROM generate_series(1, indnkeyatts) AS k),
           pg_get_expr(indpred, indrelid), indnullsnotdistinct
    FROM pg_index JOIN pg_class AS c ON c.oid = indexrelid JOIN pg_namespace AS n ON n.oid = relnamespace
    WHERE indisunique AND indisvalid AND {_USERS}
""")
_constraints = text(f"""
    SELECT o.oid::int8, conname, contype, conrelid::int8, conkey, confrelid::int8, confkey,
           pg_get_expr(conbin, conrelid)
    FROM pg_constraint AS o JOIN pg_class AS c ON c.oid = conrelid JOIN pg_namespace AS n ON n.oid = relnamespace
    WHERE contype IN ('f', 'c') AND convalidated AND {_USERS}
""")


class Table(NamedTuple):
    """A table: how people write it, and how SQL does."""

    title: str
    sql: str


class Column(NamedTuple):
    """A column."""

    name: str
    sql: str
    type: str
    required: bool


class Unique(NamedTuple):
    """A unique index that is valid; that of a primary key too."""

    name: str
    table: int
    key: list[int]
    uses: list[int]
    expressions: list[str]
    predicate: str | None
    nulls_equal: bool


class Constraint(NamedTuple):
    """A foreign key or CHECK that holds for all rows, old ones too."""

    name: str
    type: str
    table: int
    columns: list[int] | None
    parent: int
    parent_columns: list[int] | None
    condition: str | None


@dataclass
class Schema:
    """The part of the catalogue in which demands stand, by PostgreSQL's own numbers."""

    tables: dict[int, Table]
    columns: dict[tuple[int, int], Column]
    unique: dict[int, Unique]
    constraints: dict[int, Constraint]

    @classmethod
    def read(cls, connection: Connection) -> Self:
        """Read what is committed."""

        def rows(statement: object) -> Iterator[tuple[int, ...]]:
            yield from connection.execute(statement, {"ours": list(OURS)})  # type: ignore[call-overload]

        return cls(
            {oid: Table(*names) for oid, *names in rows(_tables)},  # type: ignore[arg-type]
            {(table, number): Column(*rest) for table, number, *rest in rows(_columns)},  # type: ignore[arg-type]
            {oid: Unique(*rest) for oid, *rest in rows(_unique)},  # type: ignore[arg-type]
            {oid: Constraint(*rest) for oid, *rest in rows(_constraints)},  # type: ignore[arg-type]
        )

    def losses(self, after: "Schema", live: "Schema") -> list[str]:
        """Name the tables and columns of the live database that are here, and gone afterwards."""
        tables = [
            f"table {table.title}"
            for oid, table in self.tables.items()
            if oid in live.tables and oid not in after.tables
        ]
        columns = [
            f"column {self.tables[oid].title}.{column.name}"
            for (oid, number), column in self.columns.items()
            if oid in after.tables and (oid, number) in live.columns and (oid, number) not in after.columns
        ]
        return sorted(tables) + sorted(columns)

    def number(self, title: str) -> int | None:
        """Return the number of the table that people call so."""
        return next((oid for oid, table in self.tables.items() if table.title == title), None)


@dataclass
class Assertion:
    """One demand, and the live database's answer."""

    demand: str  # "unique", "not null", "foreign key", "check"
    table: str
    # Of the index or the constraint, or of the column.
    name: str
    columns: list[str]
    outcome: str = NOT_ASKED
    # How many keys occur more than once, or how many rows do not fit.
    count: int | None = None
    # One key that occurs more than once, or that has no parent.
    example: str | None = None
    detail: str = ""


class Question(NamedTuple):
    """A demand, and what to ask the live database; no SQL if it cannot be asked."""

    assertion: Assertion
    sql: str | None
    # Tables whose rows decide, by number.
    tables: tuple[int, ...]


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
        return any((oid, number) in self._start.columns for number in numbers)

    def columns(self, oid: int, numbers: Collection[int]) -> list[str] | None:
        """Return names in SQL; None if a column is not there, or has another type."""
        names = []
        for number in numbers:
            there, here = self._start.columns.get((oid, number)), self._now.columns[oid, number]
            if there is None or there.type != here.type:
                return None
            names.append(there.sql)
        return names

    def same_names(self, oid: int, numbers: Collection[int]) -> bool:
        """Tell whether an expression over these columns means the same there."""
        return all(
            (oid, number) in self._start.columns
            and self._start.columns[oid, number][:3] == self._now.columns[oid, number][:3]
            for number in numbers
        )


def demands(start: Schema, before: Schema, after: Schema) -> list[Question]:
    """Return what a step demands of rows in tables that the live database has.

    `start` is the live database's schema, `before` and `after` are the scratch database's around the step.
    """
    live = _Live(start, after)
    found = []
    # What is all new in this run has no live rows to ask: those of the scratch database have shown whether it works.
    for oid, index in after.unique.items():
        if oid not in before.unique and live.has_any(index.table, index.uses or index.key):
            found.append(_no_duplicates(live, index, after))
    for (table, number), column in after.columns.items():
        was = before.columns.get((table, number))
        if column.required and was and not was.required and (table, number) in start.columns:
            found.append(_no_nulls(live, table, number, after))
    for oid, constraint in after.constraints.items():
        if oid not in before.constraints and live.has_any(constraint.table, constraint.columns):
            found.append((_no_orphans if constraint.type == "f" else _none_breaks)(live, constraint, start, after))
    return found


def ask(live: Connection, question: Question, changed: Collection[int], grown: Collection[int]) -> Assertion:
    """Put the question to the live database.

    `changed` are the tables of which this run updates or deletes rows up to this step, `grown` those into which it
    inserts some (that can give an orphan its parent): there, a "no" of today need not be one then.
    """
    assertion, sql, tables = question
    if sql is None:
        return assertion
    try:
        assertion.count, assertion.example = live.execute(text(sql.replace(":", "\\:"))).one()
    except DBAPIError as error:
        slow = sqlstate(error) in (QUERY_CANCELED, LOCK_NOT_AVAILABLE)
        assertion.outcome = UNANSWERED if slow else NOT_ASKED
        assertion.detail = str(error.orig).strip().partition("\n")[0]
        return assertion
    assertion.outcome = VIOLATED if assertion.count else HOLDS
    cures = {*changed, *(grown if assertion.demand == "foreign key" else ())}
    if assertion.count and cures & set(tables):
        assertion.outcome = OPEN
        assertion.detail = "the run changes rows of the table before, so it may hold by then"
    return assertion


def _no_duplicates(live: _Live, index: Unique, now: Schema) -> Question:
    names = [now.columns[index.table, number].name for number in index.key if number]
    assertion = Assertion("unique", now.tables[index.table].title, index.name, names or index.expressions)
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


def _no_nulls(live: _Live, table: int, number: int, now: Schema) -> Question:
    name = now.columns[table, number].name
    assertion = Assertion("not null", now.tables[table].title, name, [name])
    columns = live.columns(table, [number])
    if columns is None:
        return _cannot_be_asked(assertion)
    sql = f"SELECT count(*), NULL FROM {live.table(table)} WHERE {columns[0]} IS NULL"
    return Question(assertion, sql, (table,))


def _no_orphans(live: _Live, key: Constraint, start: Schema, now: Schema) -> Question:
    assert key.columns is not None
    assert key.parent_columns is not None
    names = [now.columns[key.table, number].name for number in key.columns]
    assertion = Assertion("foreign key", now.tables[key.table].title, key.name, names)
    columns = live.columns(key.table, key.columns)
    parents = live.columns(key.parent, key.parent_columns) if key.parent in start.tables else None
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


def _none_breaks(live: _Live, check: Constraint, _start: Schema, now: Schema) -> Question:
    numbers = check.columns or []
    names = [now.columns[check.table, number].name for number in numbers]
    assertion = Assertion("check", now.tables[check.table].title, check.name, names)
    if not live.same_names(check.table, numbers):
        return _cannot_be_asked(assertion)
    sql = f"SELECT count(*), NULL FROM {live.table(check.table)} WHERE NOT ({check.condition})"
    return Question(assertion, sql, (check.table,))


def _cannot_be_asked(assertion: Assertion) -> Question:
    assertion.detail = "a column of it is new, renamed or of another type in this run"
    return Question(assertion, None, ())
