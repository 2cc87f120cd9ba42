"""What it costs to change a type."""

import pytest

from tangga.lint.types import Type, is_free, is_narrowing, type_of
from tests.support.linting import tree_of


def _type(name: str) -> Type:
    return type_of(tree_of(f"SELECT NULL::{name}").targetList[0].val.typeName)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("integer", Type("int4")),
        ("varchar(30)", Type("varchar", (30,))),
        ("numeric(8, 2)", Type("numeric", (8, 2))),
        ("bigint[]", Type("int8[]")),
        ("timestamptz", Type("timestamptz")),
        ("mood", Type("mood")),
    ],
)
def test_a_type_as_postgresql_names_it(name: str, expected: Type) -> None:
    assert _type(name) == expected


FREE, REWRITTEN, NARROWER = "free", "rewritten", "narrower"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("varchar(30)", "varchar(30)", FREE),
        ("varchar(30)", "varchar(60)", FREE),
        ("varchar(30)", "varchar", FREE),
        ("varchar(30)", "text", FREE),
        ("text", "varchar", FREE),
        ("varchar(30)", "varchar(20)", NARROWER),
        ("varchar", "varchar(20)", NARROWER),
        ("text", "varchar(20)", NARROWER),
        ("bpchar(5)", "text", REWRITTEN),
        ("numeric(8, 2)", "numeric(12, 2)", FREE),
        ("numeric(8)", "numeric(12)", FREE),
        ("numeric(8)", "numeric(12, 0)", FREE),
        ("numeric(8, 2)", "numeric", FREE),
        ("numeric(8, 2)", "numeric(12, 3)", NARROWER),
        ("numeric(8, 2)", "numeric(6, 2)", NARROWER),
        ("numeric", "numeric(6, 2)", NARROWER),
        ("smallint", "integer", REWRITTEN),
        ("smallint", "bigint", REWRITTEN),
        ("integer", "bigint", REWRITTEN),
        ("integer", "numeric", REWRITTEN),
        ("integer", "numeric(3)", NARROWER),
        ("bigint", "integer", NARROWER),
        ("integer", "text", NARROWER),
        ("real", "double precision", REWRITTEN),
        ("double precision", "real", NARROWER),
        ("timestamptz(3)", "timestamptz(6)", FREE),
        ("timestamptz(3)", "timestamptz", FREE),
        ("timestamptz", "timestamptz(3)", NARROWER),
        ("timestamptz", "date", NARROWER),
        ("varbit(3)", "varbit(5)", FREE),
        ("bit(3)", "bit(5)", NARROWER),
        ("cidr", "inet", FREE),
        ("inet", "cidr", NARROWER),
        ("bigint[]", "integer[]", NARROWER),
    ],
)
def test_a_change_is_free_or_rewrites_or_narrows(old: str, new: str, expected: str) -> None:
    free, narrowing = is_free(_type(old), _type(new)), is_narrowing(_type(old), _type(new))
    assert (free, narrowing) == (expected == FREE, expected == NARROWER)
