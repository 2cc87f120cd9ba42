"""What only the scratch server shows of a table (drift/within.py), as lines: from pg_dump's words for both sides."""

import re
from collections.abc import Callable
from typing import Any

from tangga.drift.within import Difference, table_of
from tangga.revision import swaps
from tangga.revision.sql import quoted
from tangga.revision.swaps import Table
from tangga.revision.written import Phase, Raw, Written, comment, execute

_IDENTIFIER = r'(?:"(?:[^"]|"")+"|[^\s"(),]+)'
_COLUMN = re.compile(r"(?P<type>.+?)(?: GENERATED ALWAYS AS (?P<expression>\(.*\)) STORED)?", re.DOTALL)
_INDEX = re.compile(
    r"CREATE (?P<unique>UNIQUE )?INDEX \S+ ON (?:ONLY )?.+? USING (?P<using>\w+) \((?P<rest>.*);", re.DOTALL
)
_INDEX_OPTIONS = re.compile(
    r"(?: INCLUDE \((?P<include>[^)]*)\))?(?P<nulls> NULLS NOT DISTINCT)?(?: WITH \((?P<with>[^)]*)\))?"
    r"(?: WHERE \((?P<where>.*)\))?",
    re.DOTALL,
)
_KEYED = re.compile(
    r"(?P<kind>UNIQUE|PRIMARY KEY) \((?P<columns>[^()]*)\)(?P<late> DEFERRABLE(?: INITIALLY DEFERRED)?)?"
)
_FOREIGN_KEY = re.compile(
    rf"FOREIGN KEY \((?P<columns>[^()]*)\) REFERENCES (?:(?P<schema>{_IDENTIFIER})\.)?(?P<table>{_IDENTIFIER})"
    r"\((?P<to>[^()]*)\)(?: ON UPDATE (?P<update>[A-Z ]+?))?(?: ON DELETE (?P<delete>[A-Z ]+?))?"
    r"(?P<late> DEFERRABLE(?: INITIALLY DEFERRED)?)?(?: NOT VALID)?"
)

# Lines that make the first of two definitions of the second (None: there is none); None if it is not known how.
Lines = list[Written] | None


def changed(difference: Difference, tables: dict[str, Table], version: int) -> tuple[list[Written], list[Written]]:
    """Return the lines up and down; where it is not known how, a comment that says what differs."""
    found = []
    for want, have in ((difference.model, difference.steps), (difference.steps, difference.model)):
        lines = _lines(difference.name, want, have, tables, version)
        if lines is None:
            said = f"Not written: {difference.name}: {want or 'none'} is wanted, {have or 'none'} is there."
            lines = [Written(Phase.ALTER, comment(said))]
        found.append(lines)
    return found[0], found[1]


def _lines(name: str, want: str | None, have: str | None, tables: dict[str, Table], version: int) -> Lines:
    kind = next((each for each in _KINDS if name.startswith(f"{each} ")), None)
    if name.startswith(("type ", "sequence ")):
        return _whole(name, want, have)
    table = tables.get(table_of(name))
    if kind is None or table is None:
        return None
    part = name.removeprefix(f"{kind} ").removeprefix(f"{table_of(name)}.")
    if kind == "column":
        return _column(table, part, want, have, version)
    if want is None:
        return [_dropped(kind, table, part)]
    made = _KINDS[kind](table, part, want, have is not None)
    return None if made is None else list(made)


def _whole(name: str, want: str | None, have: str | None) -> Lines:
    """A type or a sequence of its own."""
    if want and have:
        return None
    kind, _, title = name.partition(" ")
    if want:
        return [Written(Phase.TYPES, execute(" ".join(want.split()).removesuffix(";")))]
    return [Written(Phase.DROP_TYPES, execute(f"DROP {kind.upper()} {quoted(*title.split('.'))}"))]


def _column(table: Table, name: str, want: str | None, have: str | None, version: int) -> Lines:
    new, old = (_COLUMN.fullmatch(each or "") for each in (want, have))
    if new is None or old is None:
        return None
    column = f"ALTER TABLE {table.sql} ALTER COLUMN {quoted(name)}"
    if new["expression"] == old["expression"]:
        return [Written(Phase.ALTER, execute(f"{column} TYPE {new['type']}"))]
    if new["expression"] is None:
        return [Written(Phase.ALTER, execute(f"{column} DROP EXPRESSION IF EXISTS"))]
    if old["expression"] and old["type"] == new["type"] and version >= 17:
        return [Written(Phase.ALTER, execute(f"{column} SET EXPRESSION AS {new['expression']}"))]
    again = f"ALTER TABLE {table.sql} ADD COLUMN {quoted(name)} {want}"
    drop = f"ALTER TABLE {table.sql} DROP COLUMN {quoted(name)}"
    return [
        Written(Phase.SWAP, comment("Its values come from others, so nothing is lost."), execute(drop), execute(again))
    ]


def _dropped(kind: str, table: Table, name: str) -> Written:
    if kind == "index":
        return Written(Phase.SAFE, f"safe.drop_index({name!r}{f', schema={table.schema!r}' if table.schema else ''})")
    return swaps.dropped(table, name)


def _check(table: Table, name: str, want: str, swap: bool) -> Lines:
    found = re.fullmatch(r"CHECK \((.*)\)(?: NO INHERIT)?( NOT VALID)?", want, re.DOTALL)
    return None if found is None or found[2] else [*swaps.check(table, name, _bare(found[1]), swap=swap)]


def _constraint(table: Table, name: str, want: str, swap: bool) -> Lines:
    if want.startswith("CHECK "):
        return _check(table, name, want, swap)
    if found := _KEYED.fullmatch(want):
        columns = _names(found["columns"])
        if found["kind"] == "UNIQUE":
            return [*swaps.unique(table, name, columns, swap=swap, **_late(found["late"]))]
        by = f"PRIMARY KEY USING INDEX {quoted(swaps.beside(name))}"
        required = [Written(Phase.SAFE, f"safe.set_not_null({table.name!r}, {each!r})") for each in columns]
        return [*(required if not swap else ()), *swaps.by_index(table, name, columns, by, swap=swap)]
    add = execute(f"ALTER TABLE {table.sql} ADD CONSTRAINT {quoted(name)} {want}")
    return [*([swaps.dropped(table, name, Phase.SWAP)] if swap else ()), Written(Phase.SWAP, add)]


def _foreign_key(table: Table, name: str, want: str, swap: bool) -> Lines:
    found = _FOREIGN_KEY.fullmatch(want)
    if found is None:
        return None
    schema = _names(found["schema"])[0] if found["schema"] and found["schema"] != "public" else None
    return [
        *swaps.foreign_key(
            table, name, _names(found["table"])[0], _names(found["columns"]), _names(found["to"]), swap=swap,
            ondelete=found["delete"], onupdate=found["update"], referent_schema=schema, **_late(found["late"]),
        )
    ]  # fmt: skip


def _index(table: Table, name: str, want: str, swap: bool) -> Lines:
    found = _INDEX.fullmatch(want)
    if found is None:
        return None
    keys, rest = _until_closed(found["rest"])
    options = _INDEX_OPTIONS.fullmatch(rest)
    if options is None:
        return None
    return [
        *swaps.index(
            table, name, [_key(each) for each in keys], swap=swap, unique=bool(found["unique"]),
            using=None if found["using"] == "btree" else found["using"],
            include=_names(options["include"] or ""),
            where=_bare(f"({options['where']})") if options["where"] else None,
            postgresql_nulls_not_distinct=bool(options["nulls"]),
            postgresql_with=dict(each.split("=", 1) for each in _names(options["with"] or "")),
        )
    ]  # fmt: skip


def _key(words: str) -> str:
    plain = _names(words)[0] if re.fullmatch(_IDENTIFIER, words) else None
    return plain or Raw(f"sa.text({words!r})")


def _until_closed(words: str) -> tuple[list[str], str]:
    """Split what stands up to the closing bracket at its commas; return what comes after it, too."""
    depth, start, parts = 0, 0, []
    quote = ""
    for at, letter in enumerate(words):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "(":
            depth += 1
        elif letter == ")" and depth:
            depth -= 1
        elif letter in ",)" and not depth:
            parts.append(words[start:at].strip())
            start = at + 1
            if letter == ")":
                return parts, words[start:]
    return parts, ""


def _bare(condition: str) -> str:
    """Take off brackets that enclose the whole."""
    while condition.startswith("(") and _until_closed(condition[1:])[1] == "":
        inner = condition[1:-1]
        if len(_until_closed(f"{inner})")[0]) != 1 or not condition.endswith(")"):
            break
        condition = inner
    return condition


def _names(words: str) -> list[str]:
    found = [each.strip() for each in words.split(",") if each.strip()]
    return [each[1:-1].replace('""', '"') if each.startswith('"') else each for each in found]


def _late(words: str | None) -> dict[str, Any]:
    return {"deferrable": bool(words), "initially": "DEFERRED" if words and "DEFERRED" in words else None}


_KINDS: dict[str, Callable[[Table, str, str, bool], Lines]] = {
    "column": lambda *_: None,
    "check constraint": _check,
    "constraint": _constraint,
    "foreign key": _foreign_key,
    "index": _index,
}
