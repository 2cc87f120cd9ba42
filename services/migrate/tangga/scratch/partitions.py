"""The values of a partitioned table's key that land in a certain partition, found by trying."""
# ruff: noqa: S608 - names are quoted, and come from the catalogue, as do types and conditions

import re
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from tangga.catalogue.sql import literal, one
from tangga.scratch.insert import Landing, mentions
from tangga.scratch.tables import Column, Part, Table
from tangga.scratch.values import Type

_LITERAL = re.compile(
    r"'((?:[^']|'')*)'::(character varying|time(?:stamp)? with(?:out)? time zone|double precision|[\w.\"]+)"
)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_TEXTS = ("text", "character varying", "bpchar", "character", "name")
_LARGEST = {"smallint": 2**15 - 1, "integer": 2**31 - 1, "bigint": 2**63 - 1}
# Of a DEFAULT partition's condition: the constants of its first and of its last neighbours.
_CONSTANTS = 20
# Combinations of values that are tried for a key over several columns.
_COMBINATIONS = 20_000


def landing(connection: Connection, table: Table, part: Part, counts: Mapping[int, int], rows: int) -> Landing:
    """Return where so many rows are to land, with the values to choose from.

    Where a foreign key decides on the values, there are none to choose from: the condition sorts them out.
    """
    key = [column for column in table.columns.values() if mentions(part.condition, [column.sql])]
    decided = {number for each in table.references if counts.get(each.parent) for number in each.columns}
    if not key or decided & {column.number for column in key}:
        return Landing([], "", 0, part.condition)
    limit = max(rows, 1000) * 8 if len(key) == 1 else int(_COMBINATIONS ** (1 / len(key)))
    candidates = ", ".join(
        f"(SELECT value AS {column.sql} FROM ({_candidates(column, part.condition, limit)}) AS tried"
        f"{' WHERE value IS NOT NULL' if column.required else ''} LIMIT {limit}) AS key_{number}"
        for number, column in enumerate(key)
    )
    names = ", ".join(column.sql for column in key)
    source = f"(SELECT DISTINCT {names} FROM {candidates} WHERE {part.condition}) AS landing"
    size = one(connection, f"SELECT count(*) FROM {source}")
    return Landing([column.number for column in key], source, size, part.condition)


def _candidates(column: Column, condition: str, limit: int) -> str:
    """Return a query for values to try: those named in the condition, their neighbours, NULL, and the usual ones."""
    kind = column.kind
    assert kind
    named = [_neighbours(kind, value) for value in _constants(kind, condition)]
    usual = f"SELECT ({column.way.at('n')})::{kind.sql} AS value FROM generate_series(0::bigint, {limit}) AS n"
    return " UNION ALL ".join([*named, f"SELECT {column.null} AS value", usual])


def _constants(kind: Type, condition: str) -> list[str]:
    """Return the constants of the condition that may be values of the type."""
    if kind.category == "N":
        # Numbers stand there with and without quotes.
        bare = re.sub(r"'((?:[^']|'')*)'", lambda found: found[1] if _NUMBER.fullmatch(found[1]) else "", condition)
        found: Iterable[str] = re.findall(rf"(?<![\w.]){_NUMBER.pattern}(?![\w.])", bare)
    else:
        found = [
            value.replace("''", "'") for value, name in _LITERAL.findall(condition)
            if name == kind.name or (kind.category == "S" and name in _TEXTS)
        ]  # fmt: skip
    different = [*dict.fromkeys(found)]
    return different if len(different) <= 2 * _CONSTANTS else different[:_CONSTANTS] + different[-_CONSTANTS:]


def _neighbours(kind: Type, value: str) -> str:
    """Return a query for a value and some beside it."""
    quoted = literal(value)
    if kind.category == "N":
        largest = _LARGEST.get(kind.name)
        within = f" WHERE number BETWEEN {-largest - 1} AND {largest}" if largest else ""
        return (
            f"SELECT number::{kind.sql} AS value FROM "
            f"(SELECT {quoted}::numeric + n AS number FROM generate_series(-2, 40) AS n) AS numbers{within}"
        )
    if kind.category == "D" and not kind.name.startswith("time "):
        inner = "timestamptz" if kind.name == "timestamp with time zone" else "timestamp"
        return (
            f"SELECT ({quoted}::{inner} + n * step)::{kind.sql} AS value FROM "
            "generate_series(-1, 27) AS n, (VALUES (interval '1 day'), (interval '1 minute')) AS steps (step)"
        )
    if kind.category == "S":
        return (
            f"SELECT ({quoted} || suffix)::{kind.sql} AS value FROM "
            "(SELECT '' AS suffix UNION ALL SELECT n::text FROM generate_series(0, 40) AS n) AS suffixes"
        )
    return f"SELECT {quoted}::{kind.sql} AS value"
