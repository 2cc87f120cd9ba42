"""Ways to make values of a type from a number, in SQL; and guesses that may meet a CHECK."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tangga.catalogue.sql import literal


class Way(NamedTuple):
    """How to make values: SQL with {n} for a number from 0, and how many values differ (None: any number).

    `plain`: the same without what is out of the ordinary (long, empty, negative, to the microsecond, in a hundred
    years), growing with the number; empty, where `sql` is that already.
    """

    sql: str
    size: int | None = None
    plain: str = ""

    def at(self, n: str) -> str:
        """Return the SQL for the number `n`, itself SQL."""
        return self.sql.replace("{n}", f"({n})" if self.size is None else f"(({n}) % {self.size})")

    def as_plain(self) -> "Way":
        """Return the way without what is out of the ordinary."""
        return Way(self.plain or self.sql, self.size)


class Type(NamedTuple):
    """A type as pg_type has it; `sql` is how SQL writes it with its modifier, `name` without."""

    sql: str
    name: str
    # d: domain, e: enum, r: range, m: multirange, b: base, ...
    kind: str
    # A: array, N: number, S: text, ...
    category: str
    base: int
    base_modifier: int
    element: int
    labels: list[str]
    # What a range is over; the range of a multirange, and what that is over.
    bound: int | None
    range: str | None
    multibound: int | None
    # Of a domain, as it declares them.
    checks: list[str]
    # A domain that is NOT NULL.
    required: bool = False
    # Of a composite type: each column's type, with its modifier.
    columns: Sequence[Sequence[int]] = ()

    def made_of(self, modifier: int) -> tuple[int, int] | None:
        """Return the type that its values are made of, with that one's modifier; None if it stands for itself."""
        if self.kind == "d":
            return self.base, self.base_modifier
        if self.category == "A" and self.element:
            return self.element, modifier
        over = self.bound or self.multibound
        return (over, -1) if over else None


def way(kind: Type, modifier: int, inner: Callable[[int, int], Way | None]) -> Way | None:
    """Return how to make values of a type; None for a type that is not known here.

    `inner` says it of another type, by its number in pg_type and its modifier.
    """
    cast = f"::{kind.sql}"
    if kind.kind == "e":
        labels = ", ".join(map(literal, kind.labels))
        return Way(f"(ARRAY[{labels}])[1 + {{n}}]{cast}", len(kind.labels)) if labels else None
    if kind.columns:
        return _composite(cast, [inner(oid, its) or Way("NULL", 1) for oid, its in kind.columns])
    if not (below := kind.made_of(modifier)):
        return _simple(kind.name, kind.category, cast, modifier)
    part = inner(*below)
    if part is None:
        return None
    plain = part.as_plain()
    if kind.kind == "d":
        return Way(f"({part.sql}){cast}", part.size, f"({plain.sql}){cast}")
    if kind.category == "A":
        both = [f"ARRAY[{each.at('{n}')}, {each.at('{n} + 1')}]{cast}" for each in (part, plain)]
        return Way(both[0], part.size, both[1])
    bounds = f"{plain.sql}, {plain.sql.replace('{n}', '({n} + 1)')}"
    return Way(f"{kind.name}({kind.range}({bounds}))" if kind.range else f"{kind.name}({bounds})", part.size)


def _composite(cast: str, parts: Sequence[Way]) -> Way:
    plain = [part.as_plain() for part in parts]
    odd, usual = (f"ROW({', '.join(part.at('{n}') for part in each)}){cast}" for each in (parts, plain))
    sizes = [part.size for part in parts]
    return Way(odd, None if None in sizes else max(size or 1 for size in sizes), usual)


def _simple(name: str, category: str, cast: str, modifier: int) -> Way | None:
    if name == "numeric" and modifier >= 0:
        precision, scale = (modifier - 4) >> 16, ((modifier - 4) & 2047 ^ 1024) - 1024
        known = _signed(f"({{n}}::numeric / 10::numeric ^ {scale})", 10 ** min(precision, 18))
    elif name in ("character varying", "character") and modifier >= 0:
        length = modifier - 4
        plain = f"left('{'text '[: max(length - 12, 0)]}' || {{n}}, {length})"
        filled = f"rpad({plain}, {min(length, _LONG)}, '.')"
        known = Way(_odd(filled, plain), 10 ** min(length, 18), plain)
    elif name in ("bit", "bit varying"):
        length = min(modifier, 62) if modifier > 0 else 1 if name == "bit" else 62
        known = Way(f"{{n}}::bit({length})", 2**length)
    elif name in _WAYS or category == "S":
        known = _WAYS.get(name, _WAYS["text"])  # citext and the like
    else:
        return None
    return Way(f"({known.sql}){cast}", known.size, known.plain and f"({known.plain}){cast}")


def _odd(long: str, usual: str) -> str:
    """One row is empty, each fifth is `long`: still as many different values as numbers."""
    return f"CASE WHEN {{n}} = 3 THEN '' WHEN {{n}} % 5 = 2 THEN {long} ELSE {usual} END"


def _signed(value: str, size: int | None = None) -> Way:
    """Each fifth is negative."""
    return Way(f"CASE WHEN {{n}} % 5 = 4 THEN -{value} ELSE {value} END", size, value)


def _moment(start: str) -> Way:
    """To the microsecond, and each fifth in the future, which starts no earlier than 2101."""
    plain = f"{start} + {{n}} * interval '1 minute'"
    later = "CASE WHEN {n} % 5 = 4 THEN interval '100 years' ELSE interval '0' END"
    return Way(f"{plain} + interval '0.123456 second' + {later}", None, plain)


# Characters of a long text: more than the usual limits of 100 and 255.
_LONG = 320
# Capital, accent, double space, sometimes one at the end: so that a step that "cleans" the text is seen to change it.
_TEXT = "'Text  é ' || {n} || repeat(' ', ({n} % 3)::integer)"
_DAY = "date '2001-01-01'"
_DATE = f"{_DAY} + {{n}}::integer"
_TIME = Way(
    "time '00:00' + {n} * interval '1 millisecond' + interval '0.000456 second'", 86_400_000,
    "time '00:00' + {n} * interval '1 millisecond'",
)  # fmt: skip
_WAYS = {
    "smallint": _signed("{n}", 32767),
    "integer": _signed("{n}", 2**31 - 1),
    "bigint": _signed("{n}"),
    "oid": Way("{n}", 2**31 - 1),
    "numeric": _signed("({n} + 0.123456789)"),
    "real": _signed("({n} + 0.125)", 2**20),
    # Not what a real would hold.
    "double precision": _signed("({n} + 0.1)::double precision"),
    "money": _signed("({n} + 0.25)"),
    "boolean": Way("{n} = 1", 2),
    "text": Way(_odd(f"{_TEXT} || repeat(' long', {_LONG // 5})", _TEXT), None, _TEXT),
    "name": Way("'name ' || {n}"),
    '"char"': Way("chr(33 + {n}::integer)", 90),
    "uuid": Way("md5({n}::text)"),
    "bytea": Way("decode(md5({n}::text), 'hex')"),
    "json": Way("json_build_object('number', {n}, 'text', 'text ' || {n})"),
    "jsonb": Way("jsonb_build_object('number', {n}, 'text', 'text ' || {n})"),
    "xml": Way("'<number>' || {n} || '</number>'"),
    "date": Way(f"{_DATE} + CASE WHEN {{n}} % 5 = 4 THEN 36525 ELSE 0 END", 1_000_000, _DATE),
    "time without time zone": _TIME,
    "time with time zone": _TIME,
    "timestamp without time zone": _moment(_DAY),
    "timestamp with time zone": _moment("timestamptz '2001-01-01 00:00+00'"),
    "interval": _signed("({n} * interval '1 minute' + interval '0.123456 second')"),
    "inet": Way("inet '10.0.0.0' + {n}", 2**24),
    "cidr": Way("set_masklen(inet '10.0.0.0' + {n}, 32)", 2**24),
    "macaddr": Way("lpad(to_hex({n}), 12, '0')"),
    "macaddr8": Way("lpad(to_hex({n}), 16, '0')"),
    "point": Way("point({n}, {n})"),
    "line": Way("line(point({n}, 0), point({n} + 1, 1))"),
    "lseg": Way("lseg(point({n}, 0), point({n} + 1, 1))"),
    "box": Way("box(point({n}, 0), point({n} + 1, 1))"),
    "path": Way("path(polygon(box(point({n}, 0), point({n} + 1, 1))))"),
    "polygon": Way("polygon(box(point({n}, 0), point({n} + 1, 1)))"),
    "circle": Way("circle(point({n}, 0), 1)"),
    "tsvector": Way("to_tsvector('simple', 'text ' || {n})"),
    "tsquery": Way("plainto_tsquery('simple', 'text ' || {n})"),
    "pg_lsn": Way("pg_lsn '0/0' + {n}::numeric"),
}


def guesses(category: str, numbers: list[int], literals: Sequence[str] = ()) -> list[Way]:
    """Return ways that may meet a CHECK in which these numbers, and these constants in SQL, stand."""
    if category == "D":
        return _days(literals)
    return {"N": _numbers, "S": _texts}.get(category, lambda _: [])(numbers)


def _days(literals: Sequence[str]) -> list[Way]:
    """Days, and minutes, after and before each moment: as many as there are, or few that end before another one."""
    return [
        Way(f"({moment}::timestamptz {sign} {{n}} * interval '1 {step}')", size)
        for size in (None, 28, 5)
        for moment in literals
        for sign in ("+ interval '1 minute' +", "+ interval '1 day' +", "-")
        for step in ("day", "minute")
    ]


def _numbers(numbers: list[int]) -> list[Way]:
    spans = [(low, high) for low in numbers for high in numbers if low < high][::-1]
    return [
        Way("{n} + 1"),
        *(Way(f"{low} + {{n}}", high - low + 1) for low, high in spans),
        *(Way(f"{low} + 1 + {{n}}", high - low - 1) for low, high in spans if high - low > 1),
        *(Way(f"{number} + 1 + {{n}}") for number in numbers),
        *(Way(f"{{n}} * {number}") for number in numbers),
        Way("-1 - {n}"),
        *(Way(f"{number} - 1 - {{n}}") for number in numbers),
        Way("(1 + {n}) / 1002.0", 1000),
    ]


def _texts(numbers: list[int]) -> list[Way]:
    sizes = [size for number in numbers for size in (number, number - 1, number + 1) if 0 < size <= 40]
    padded = [(f"lpad({{n}}::text, {size}, '0')", 10 ** min(size, 18)) for size in sizes]
    return [
        Way("'person' || {n} || '@example.org'"),
        Way("'name' || {n}"),
        Way("'N' || {n}"),
        Way("'n-' || {n}"),
        Way("'0' || {n}"),
        Way("'1' || {n}"),
        Way("'+62' || lpad({n}::text, 10, '0')"),
        Way("'https://example.org/' || {n}"),
        *(Way(digits, count) for digits, count in padded),
        # Letters only: digits become letters.
        Way("translate({n}::text, '0123456789', 'abcdefghij')"),
        Way("translate({n}::text, '0123456789', 'ABCDEFGHIJ')"),
        *(Way(f"translate({digits}, '0123456789', 'ABCDEFGHIJ')", count) for digits, count in padded),
        *(Way(f"translate({digits}, '0123456789', 'abcdefghij')", count) for digits, count in padded),
    ]
