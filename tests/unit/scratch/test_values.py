"""Ways to make values of a type, from a number; and guesses for a CHECK."""

import pytest

from tangga.scratch.types import constants
from tangga.scratch.values import Type, Way, guesses, way


def _type(name: str, category: str, kind: str = "b", sql: str = "", **changed: object) -> Type:
    plain = Type(sql or name, name, kind, category, 0, -1, 0, [], None, None, None, [])
    return plain._replace(**changed)  # type: ignore[arg-type]


def _integer(oid: int, modifier: int) -> Way:
    assert (oid, modifier) == (23, -1)
    return Way("{n}::integer", 100)


def _nothing(*_: int) -> None:
    return None


def _refused(*kind: int) -> None:
    raise AssertionError(f"{kind} was asked for, and the type stands for itself")


@pytest.mark.parametrize(
    ("name", "category", "modifier", "expected"),
    [
        ("boolean", "B", -1, Way("({n} = 1)::boolean", 2)),
        ("bigint", "N", -1, Way("({n})::bigint")),
        # numeric(6,2): as many values as it has digits, hundredths each.
        ("numeric", "N", ((6 << 16) | 2) + 4, Way("(({n}::numeric / 10::numeric ^ 2))::numeric", 10**6)),
        # numeric(2,-3): thousands.
        ("numeric", "N", ((2 << 16) | (-3 & 2047)) + 4, Way("(({n}::numeric / 10::numeric ^ -3))::numeric", 100)),
        ("numeric", "N", -1, Way("(({n} + 0.123456789))::numeric")),
        ("character varying", "S", 3 + 4, Way("(left('' || {n}, 3))::character varying", 1000)),
        ("character varying", "S", 16 + 4, Way("(left('text' || {n}, 16))::character varying", 10**16)),
        ("bit", "V", -1, Way("({n}::bit(1))::bit", 2)),
        ("bit varying", "V", 5, Way("({n}::bit(5))::bit varying", 32)),
        ("bit varying", "V", -1, Way("({n}::bit(62))::bit varying", 2**62)),
    ],
)
def test_a_type_has_as_many_values_as_fit_into_it(name: str, category: str, modifier: int, expected: Way) -> None:
    found = way(_type(name, category), modifier, _refused)
    assert found is not None
    assert found.as_plain() == expected
    assert found.size == expected.size


@pytest.mark.parametrize(
    ("name", "category", "modifier", "odd"),
    [
        ("bigint", "N", -1, "CASE WHEN {n} % 5 = 4 THEN -{n} ELSE {n} END"),
        (
            "character varying",
            "S",
            3 + 4,
            "= 3 THEN '' WHEN {n} % 5 = 2 THEN rpad(left('' || {n}, 3), 3, '.')",
        ),
        ("character varying", "S", 900 + 4, ", 320, '.')"),
        ("text", "S", -1, "repeat(' long', 64)"),
        ("timestamp with time zone", "D", -1, "CASE WHEN {n} % 5 = 4 THEN interval '100 years'"),
        ("double precision", "N", -1, "-({n} + 0.1)::double precision"),
    ],
)
def test_some_values_are_out_of_the_ordinary(name: str, category: str, modifier: int, odd: str) -> None:
    found = way(_type(name, category), modifier, _refused)
    assert found is not None
    assert odd in found.sql
    assert odd not in found.as_plain().sql


def test_text_shows_what_a_step_cleans() -> None:
    text = way(_type("text", "S"), -1, _refused)
    assert text is not None
    for part in ("T", "é", "  ", "repeat(' '"):
        assert part in text.sql
    # A text type of an extension is one, too; another type of an extension is not known.
    citext = way(_type("citext", "S"), -1, _refused)
    assert citext == Way(text.sql.replace("::text", "::citext"), None, text.plain.replace("::text", "::citext"))
    assert way(_type("hstore", "U"), -1, _refused) is None


def test_types_that_are_made_of_another() -> None:
    year = "({n}::integer)::year"
    assert way(_type("year", "N", "d", base=23), -1, _integer) == Way(year, 100, year)
    array = "ARRAY[(({n}) % 100)::integer, (({n} + 1) % 100)::integer]::integer[]"
    assert way(_type("integer[]", "A", element=23), -1, _integer) == Way(array, 100, array)
    row = "ROW((({n}) % 100)::integer, (({n}) % 100)::integer)::pair"
    assert way(_type("pair", "C", "c", columns=[(23, -1), (23, -1)]), -1, _integer) == Way(row, 100, row)
    odd = way(_type("odd", "C", "c", columns=[(9, -1)]), -1, _nothing)
    assert odd is not None
    assert odd.at("n") == "ROW(NULL)::odd"
    assert way(_type("int4range", "R", "r", bound=23), -1, _integer) == Way(
        "int4range({n}::integer, ({n} + 1)::integer)", 100
    )
    assert way(_type("int4multirange", "R", "m", range="int4range", multibound=23), -1, _integer) == Way(
        "int4multirange(int4range({n}::integer, ({n} + 1)::integer))", 100
    )
    # Where that one is not known, neither is this.
    assert way(_type("odd[]", "A", element=9), -1, _nothing) is None


def test_an_array_has_the_modifier_of_its_elements() -> None:
    asked = []
    way(_type("varchar(3)[]", "A", element=1043), 7, lambda *kind: asked.append(kind))
    assert asked == [(1043, 7)]


def test_an_enum_has_its_labels() -> None:
    mood = way(_type("mood", "E", "e", labels=["sad", "it's ok"]), -1, _refused)
    assert mood == Way("(ARRAY['sad', 'it''s ok'])[1 + {n}]::mood", 2)
    assert way(_type("none", "E", "e"), -1, _refused) is None


def test_a_number_is_kept_within_what_differs() -> None:
    assert Way("x{n}").at("n + 1") == "x(n + 1)"
    assert Way("x{n}", 7).at("n + 1") == "x((n + 1) % 7)"


def test_numbers_and_words_of_conditions_are_tried() -> None:
    assert constants(["((x >= 5) AND (x <= 9))"], "N") == ([5, 9], ["4", "5", "6", "8", "9", "10"])
    words = ["(x = ANY (ARRAY['new'::text, 'it''s paid'::text]))", "(x <> 'new'::text)"]
    assert constants(words, "S") == ([], ["'new'", "'it''s paid'"])
    # A number of more digits, or within a name, says nothing.
    assert constants(["(a1 < 1234567890)"], "N") == ([], [])


def test_guesses_suit_the_numbers() -> None:
    numbers = guesses("N", [5, 9])
    assert Way("5 + {n}", 5) in numbers
    assert Way("5 + 1 + {n}", 3) in numbers
    assert Way("{n} * 9") in numbers
    texts = guesses("S", [3, 100])
    assert Way("lpad({n}::text, 3, '0')", 1000) in texts
    assert Way("translate(lpad({n}::text, 4, '0'), '0123456789', 'ABCDEFGHIJ')", 10**4) in texts
    assert not [each for each in texts if "100" in each.sql]
    assert guesses("D", [5]) == []
