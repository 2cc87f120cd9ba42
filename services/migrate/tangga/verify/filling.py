"""Rows in every table before a step: generated ones, or those that the step's own file gives. What had none is kept.

A step that the generated rows do not suit names its own, by table; they are put in first, in this order, and no others
into these tables:

    rows = {"users": [{"id": 1, "email": "ani@example.org"}], "shop.orders": [{"id": 7, "user_id": 1}]}
"""
# ruff: noqa: S608 - names are quoted by the server

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from alembic.script import Script
from sqlalchemy.exc import DBAPIError

from tangga.catalogue import model
from tangga.catalogue.model import Schema
from tangga.catalogue.sql import execute, literal, one, quoted
from tangga.causes import one_line
from tangga.connect import diagnosis, is_of_integrity
from tangga.scratch.rows import generate
from tangga.verify.declared import Rows
from tangga.verify.places import Place
from tangga.words import count

# Of a key that is there twice, or has no parent: its columns.
_KEY = re.compile(r"\((.+?)\)=\(")
# A value that is the same in each row.
_CONSTANT = r"\s*('[^']*'|[\d.]+|true|false|null)(::\w+)?\s*(,|$|;|WHERE)"
# Of the steps before which a table had no rows: so many are named.
_NAMED = 3


class RowsNotUsableError(Exception):
    """The rows that a step's file gives cannot be inserted."""


class Filling:
    """Fills the tables before each step; `number` rows in each."""

    def __init__(self, number: int) -> None:
        self._number = number
        # What was not there, and why -> the steps that were tried without it.
        self._missing: dict[tuple[str, str], dict[str, None]] = {}

    def fill(
        self, place: Place, step: Script, own: Rows, without: Collection[str] = (), plain: Collection[str] = ()
    ) -> Schema:
        """Put a step's own rows into their tables, and generated ones into all others, but not into those `without`.

        Those of `plain` tables have nothing out of the ordinary. Return the tables as they are now; raises
        RowsNotUsableError.
        """
        with place.filler.begin():
            schema = model.read(place.filler)
            for name, rows in own.items():
                _insert(place, schema, name, rows)
            filled = generate(place.filler, self._number, top_up=True, without=[*own, *without], plain=plain)
        empty = filled.empty | dict.fromkeys((name for name, rows in own.items() if not rows), "`rows` gives it none")
        missing = {f"table {name} had no rows": why for name, why in empty.items()}
        for name, kind in filled.unknown.items():
            missing[f"column {name} was NULL"] = f"no value of its type is known here: {kind}"
        for reason in missing.items():
            self._missing.setdefault(reason, {})[step.revision] = None
        return schema

    def unproven(self) -> list[str]:
        """Return one line for each table that had no rows and each column that had no value, with the steps and why."""
        return [f"{what} before {_listed([*steps])}: {why}" for (what, why), steps in self._missing.items()]


class Refused(NamedTuple):
    """The tables whose rows an error may be about, to be left empty at the next try; [] if rows do not decide.

    `by_any_rows`: a new column without a value, or with the same one in each row, is wrong whatever the rows are.
    """

    tables: list[str]
    by_any_rows: bool = False


def refused(
    error: BaseException, place: Place, before: Schema, without: Collection[str], statements: Sequence[str]
) -> Refused:
    """Tell what an error of a step may be about; `statements` are those that it has executed, the last one failed."""
    now = model.read(place.observer).tables  # a step that failed may have committed something before
    there = [each for each in before.tables.values() if each.oid in now and each.sql == now[each.oid].sql]
    filled = [
        table for table in there
        if table.kind != "f" and not table.is_partition and table.title not in without
        and one(place.observer, f"SELECT EXISTS (SELECT FROM {table.sql})")
    ]  # fmt: skip
    failure = _of_the_server(error)
    if failure is None:
        return Refused([table.title for table in filled])
    said = diagnosis(failure)
    if said and is_of_integrity(failure) and (broken := _table(before, said.schema_name, said.table_name)):
        columns = {column.name for column in broken.columns.values()}
        spoken = [said.column_name] if said.column_name else _key(said.message_detail or "")
        # Of an index on an expression, nobody says of which columns it is.
        made = bool(spoken and not columns & {*spoken} and all(map(str.isidentifier, spoken)))
        if broken in filled:
            return Refused([broken.title], made and not _is_filled(broken.name, spoken, statements))
        if made:
            return Refused([])
    statement = failure.statement or ""
    named = [table.title for table in filled if re.search(rf"(?<!\w){re.escape(table.name)}(?!\w)", statement)]
    return Refused(named or [table.title for table in filled])


def _is_filled(table: str, columns: Sequence[str], statements: Sequence[str]) -> bool:
    """Tell whether a step gave columns of its own values that hang on the rows: by an UPDATE, and not one constant."""
    update = re.compile(rf"\bUPDATE\b[^;]*(?<!\w){re.escape(table)}(?!\w)[^;]*\bSET\b([^;]*)", re.IGNORECASE)
    given = [found[1] for statement in statements for found in update.finditer(statement)]
    return all(
        any(re.search(rf'(?i)(?<!\w)"?{re.escape(name)}"? *=(?!{_CONSTANT})', each) for each in given)
        for name in columns
    )


def _key(detail: str) -> list[str]:
    found = _KEY.search(detail)
    return [name.strip('"') for name in found[1].split(", ")] if found else []


def _table(schema: Schema, of: str | None, name: str | None) -> model.Table | None:
    """Return a table by its name; of a partition, the table at the top."""
    found = next((each for each in schema.tables.values() if (each.schema, each.name) == (of, name)), None)
    while found and found.is_partition and found.parent:
        found = schema.tables.get(found.parent)
    return found


def _of_the_server(error: BaseException | None) -> DBAPIError | None:
    while error is not None:
        if isinstance(error, DBAPIError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _insert(place: Place, schema: Schema, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    number = schema.number(name)
    if number is None:
        raise RowsNotUsableError(f"there is no table {name} before the step")
    table = schema.tables[number]
    for row in rows:
        columns = ", ".join(map(quoted, row))
        # As JSON, so that any type takes what a file can say.
        given = literal(json.dumps(row, default=str))
        try:
            execute(
                place.filler,
                f"INSERT INTO {table.sql} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} "
                f"FROM jsonb_populate_record(NULL::{table.sql}, {given})",
            )
        except DBAPIError as error:
            raise RowsNotUsableError(f"{name}: {one_line(error)}") from error


def _listed(steps: list[str]) -> str:
    named = steps if len(steps) <= _NAMED else steps[:_NAMED]
    more = len(steps) - len(named)
    return ", ".join(named) + (f" and {count(more, 'more step')}" if more else "")
