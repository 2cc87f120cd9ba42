"""Schemas as the catalogue has them, made by hand."""

from collections.abc import Iterable
from typing import TypeVar

from tangga.catalogue.model import Column, Constraint, Schema, Table, Unique

_TEXT = 25
_Thing = TypeVar("_Thing")


def table(oid: int, title: str, *columns: str) -> Table:
    """Return a table: "schema.name" or a name in public; a column with an exclamation mark is NOT NULL."""
    schema, _, name = title.rpartition(".")
    made = {
        number: column(number, each.rstrip("!"), required=each.endswith("!")) for number, each in _numbered(columns)
    }
    return Table(oid, schema or "public", name, f"{schema or 'public'}.{name}", "r", None, False, made)


def column(number: int, name: str, *, required: bool = False, kind: str = "text") -> Column:
    """Return a column of type text, or of another name for it."""
    return Column(number, name, f'"{name}"', kind, _TEXT, -1, required, False, False)


def unique(
    name: str, of: int, *key: int, uses: Iterable[int] | None = None, expressions: Iterable[str] = (),
    predicate: str | None = None, primary: bool = False, valid: bool = True, nulls_equal: bool = False,
) -> Unique:  # fmt: skip
    """Return a unique index; `uses` are the columns, by number, that it uses (default: those of the key)."""
    used = [] if primary else [*key] if uses is None else [*uses]
    return Unique(name, of, [*key], used, [*expressions], predicate, nulls_equal, primary, valid, True)


def foreign_key(name: str, of: int, columns: list[int], parent: int, to: list[int]) -> Constraint:
    """Return a foreign key that holds for all rows."""
    return Constraint(name, "f", of, columns, parent, to, None, True, "a")


def check(name: str, of: int, columns: list[int], condition: str, *, validated: bool = True) -> Constraint:
    """Return a CHECK."""
    return Constraint(name, "c", of, columns, 0, None, condition, validated, " ")


def schema(*tables: Table, unique: Iterable[Unique] = (), constraints: Iterable[Constraint] = ()) -> Schema:
    """Return a schema; indexes and constraints are numbered in their order."""
    return Schema({table.oid: table for table in tables}, dict(_numbered(unique)), dict(_numbered(constraints)))


def _numbered(things: Iterable[_Thing]) -> Iterable[tuple[int, _Thing]]:
    return enumerate(things, 1)
