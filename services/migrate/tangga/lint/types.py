"""Types of columns, and what it costs to change one into another."""

from dataclasses import dataclass
from typing import Any

from pglast import ast

SERIALS = {
    "smallserial": "int2",
    "serial2": "int2",
    "serial": "int4",
    "serial4": "int4",
    "bigserial": "int8",
    "serial8": "int8",
}
# Wider, and every value stays what it is; but the table is rewritten.
_LOSSLESS = {
    "int2": {"int4", "int8", "numeric"},
    "int4": {"int8", "numeric"},
    "int8": {"numeric"},
    "float4": {"float8"},
    "bpchar": {"varchar", "text"},
}
_TEXTS = {"varchar", "text"}
# What stands in brackets after them is a length or a precision: more is wider.
_WITH_LENGTH = {"varbit", "timestamp", "timestamptz", "time", "timetz"}


@dataclass(frozen=True)
class Type:
    """A type as PostgreSQL names it inside (int4, varchar), with what stands in brackets after it."""

    name: str
    modifiers: tuple[int, ...] = ()


def type_of(name: Any) -> Type:
    """Return a type from its tree."""
    modifiers = tuple(
        int(part.val.ival or 0)
        for part in name.typmods or ()
        if isinstance(part, ast.A_Const) and isinstance(part.val, ast.Integer)
    )
    return Type(name.names[-1].sval + "[]" * len(name.arrayBounds or ()), modifiers)


def is_free(old: Type, new: Type) -> bool:
    """Tell whether changing one type to the other is a change of the catalogue only: no rewrite, no scan."""
    if old == new:
        return True
    if {old.name, new.name} <= _TEXTS:
        return _is_no_shorter(old, new)
    if old.name != new.name:
        return (old.name, new.name) == ("cidr", "inet")
    if old.name == "numeric":
        return not new.modifiers or (_scale(old) == _scale(new) and new.modifiers[0] >= old.modifiers[0])
    return old.name in _WITH_LENGTH and _is_no_shorter(old, new)


def is_narrowing(old: Type, new: Type) -> bool:
    """Tell whether values that fit (or mean something) in the old type may not in the new one."""
    return not is_free(old, new) and (new.modifiers != () or new.name not in _LOSSLESS.get(old.name, ()))


def _is_no_shorter(old: Type, new: Type) -> bool:
    return not new.modifiers or (bool(old.modifiers) and new.modifiers >= old.modifiers)


def _scale(numeric: Type) -> int | None:
    """Return the digits after the point; None if there may be any number of them."""
    return (*numeric.modifiers, 0)[1] if numeric.modifiers else None
