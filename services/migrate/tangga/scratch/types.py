"""Which way to make values suits a column: its type's, or one that meets the CHECKs on it, found by trying."""
# ruff: noqa: S608 - names are quoted, and come from the catalogue, as do types and conditions

import re
from itertools import islice

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from tangga.catalogue.model import Column
from tangga.catalogue.sql import literal, one
from tangga.scratch.values import Type, Way, guesses, way

_TYPE = text("""
    SELECT format_type(oid, :modifier) AS sql, oid::regtype::text AS name, typtype AS kind, typcategory AS category,
           typbasetype::int8 AS base, typtypmod AS base_modifier, typelem::int8 AS element,
           ARRAY(SELECT enumlabel::text FROM pg_enum WHERE enumtypid = pg_type.oid ORDER BY enumsortorder) AS labels,
           (SELECT rngsubtype::int8 FROM pg_range WHERE rngtypid = pg_type.oid) AS bound,
           (SELECT rngtypid::regtype::text FROM pg_range WHERE rngmultitypid = pg_type.oid) AS range,
           (SELECT rngsubtype::int8 FROM pg_range WHERE rngmultitypid = pg_type.oid) AS multibound,
           ARRAY(SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contypid = pg_type.oid) AS checks,
           typnotnull,
           ARRAY(SELECT ARRAY[atttypid::int8, atttypmod] FROM pg_attribute WHERE attrelid = typrelid AND typtype = 'c'
                 AND attnum > 0 AND NOT attisdropped ORDER BY attnum) AS columns
    FROM pg_type WHERE oid = CAST(:type AS oid)
""")
# How many are tried for a column.
_GUESSES = 150
# Numbers of rows on which a way to make values is tried.
_SAMPLE = (
    "unnest(array_cat(ARRAY(SELECT generate_series(0::bigint, 60)), ARRAY[100, 999, 10000, 123456, 1000001]::bigint[]))"
)


class Types:
    """The types of a database, and ways to make their values; each is read once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._read: dict[tuple[int, int], Type] = {}
        self._ways: dict[tuple[int, int], Way | None] = {}

    def way(self, column: Column, checks: list[str]) -> Way:
        """Return how to make a column's values; `checks` are the conditions on this column alone.

        NULL, if the type is not `known`; the type's own way, if nothing meets the conditions.
        """
        found = self._way(*column.exact_type) or Way(f"NULL::{column.type}", 1)
        conditions = checks + self._domain_checks(column.type_oid, column.sql)
        return self._within(self.of(column), column.sql, found, conditions) if conditions else found

    def known(self, column: Column) -> bool:
        """Tell whether values of a column's type can be made."""
        return self._way(*column.exact_type) is not None

    def of(self, column: Column) -> Type:
        """Return the type of a column."""
        return self._type(*column.exact_type)

    def required(self, column: Column) -> bool:
        """Tell whether a column must not be NULL: its domain may say so, too."""
        kind = self.of(column)
        while kind.kind == "d" and not kind.required:
            kind = self._type(kind.base, kind.base_modifier)
        return column.required or kind.required

    def _type(self, oid: int, modifier: int) -> Type:
        if (oid, modifier) not in self._read:
            row = self._connection.execute(_TYPE, {"type": oid, "modifier": modifier}).one()
            self._read[oid, modifier] = Type(*row)
        return self._read[oid, modifier]

    def _way(self, oid: int, modifier: int) -> Way | None:
        if (oid, modifier) not in self._ways:
            kind = self._type(oid, modifier)
            found = way(kind, modifier, self._way)
            # A domain within another type: an array, a range.
            conditions = self._domain_checks(oid, "value") if found else []
            self._ways[oid, modifier] = (
                self._within(kind, "value", found, conditions) if found and conditions else found
            )
        return self._ways[oid, modifier]

    def _domain_checks(self, oid: int, name: str) -> list[str]:
        found = self._type(oid, -1)
        own = [
            re.sub(r"\bVALUE\b", lambda _: name, check[5:].strip()) for check in found.checks if check[:5] == "CHECK"
        ]
        return own + (self._domain_checks(found.base, name) if found.kind == "d" else [])

    def _within(self, found: Type, name: str, usual: Way, conditions: list[str]) -> Way:
        """Return a way whose values pass the conditions on `name`: the first that does, of several guesses."""
        # A domain's value is cast to the domain only once it is known to pass.
        inner = self._type(found.base, found.base_modifier) if found.kind == "d" else found
        casts = f"::{found.sql}" if found.kind == "d" else ""
        odd = Way(usual.sql.removesuffix(casts), usual.size)
        plain = Way(usual.as_plain().sql.removesuffix(casts), usual.size)
        condition = " AND ".join(f"({each}) IS NOT FALSE" for each in conditions)

        def passes(guess: Way) -> bool:
            return self._all_meet(condition, f"({guess.at('n')})::{inner.sql} AS {name}")

        numbers, literals = constants(conditions, inner.category)
        good = [value for value in literals if passes(Way(value, 1))]
        for guess in (odd, plain, *islice(guesses(inner.category, numbers, literals), _GUESSES)):
            if passes(guess):
                kept = f"({plain.sql})::{found.sql}" if guess is odd else ""
                return Way(f"({guess.sql})::{found.sql}", guess.size, kept)
        if good:
            return Way(f"(ARRAY[{', '.join(good)}])[1 + {{n}}]::{found.sql}", len(good))
        return usual

    def _all_meet(self, condition: str, value: str) -> bool:
        statement = (
            f"SELECT coalesce(bool_and({condition}), false) FROM (SELECT {value} FROM {_SAMPLE} AS n) AS generated"
        )
        try:
            with self._connection.begin_nested():
                return bool(one(self._connection, statement))
        except DBAPIError:
            return False


def constants(conditions: list[str], category: str) -> tuple[list[int], list[str]]:
    """Return the numbers that stand in some conditions, and the values, in SQL, that may meet them by being named."""
    words = list(dict.fromkeys(re.findall(r"'((?:[^']|'')*)'", " ".join(conditions))))
    numbers = sorted({int(number) for number in re.findall(r"(?<![\w.])-?\d{1,9}(?![\w.])", " ".join(conditions))})
    literals = [literal(word.replace("''", "'")) for word in words]
    if category == "N":
        literals += [str(number + shift) for number in numbers for shift in (-1, 0, 1)]
    return numbers, literals
