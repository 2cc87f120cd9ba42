"""Enums: made, dropped, and given the labels of the models."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, Enum, MetaData, text

from tangga.catalogue.sql import literal
from tangga.drift.beside import types_of
from tangga.revision.sql import quoted
from tangga.revision.written import Phase, Written, comment, execute

_LABELS = text("SELECT enumlabel FROM pg_enum WHERE enumtypid = to_regtype(:name) ORDER BY enumsortorder")
_USED = text("""
    SELECT attrelid::regclass::text AS table, quote_ident(attname) AS column, pg_get_expr(adbin, adrelid) AS value,
           typelem = to_regtype(:name) AS several
    FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid JOIN pg_class ON pg_class.oid = attrelid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE to_regtype(:name) IN (atttypid, typelem) AND relkind IN ('r', 'p') AND NOT relispartition
      AND NOT attisdropped
    ORDER BY 1, 2
""")


class Use(NamedTuple):
    """A column of the type, or of an array of it."""

    table: str
    column: str
    default: str | None
    several: bool


class Labels(NamedTuple):
    """An enum: the models' labels, the database's ([]: it is not there), and where it is used."""

    schema: str | None
    bare: str
    models: list[str]
    there: list[str]
    uses: list[Use]

    @property
    def name(self) -> str:
        """The name as SQL wants it."""
        return quoted(self.schema, self.bare)


def read(connection: Connection, models: Sequence[MetaData]) -> list[Labels]:
    """Return the models' enums that are not there, or have other labels there."""
    found = {}
    for kind in (each for metadata in models for each in types_of(metadata.tables.values())):
        if not isinstance(kind, Enum) or not kind.native_enum or not kind.name:
            continue
        name = quoted(kind.schema, kind.name)
        there = [*connection.scalars(_LABELS, {"name": name})]
        if there != [*kind.enums]:
            uses = [Use(*row) for row in connection.execute(_USED, {"name": name})] if there else []
            found[name] = Labels(kind.schema, kind.name, [*kind.enums], there, uses)
    return [*found.values()]


def changed(labels: Labels, *, down: bool = False) -> Iterator[Written]:
    """Yield what gives the type the models' labels; downwards, those that it has now."""
    have, want = (labels.models, labels.there) if down else (labels.there, labels.models)
    name = labels.name
    if not have:
        yield Written(Phase.TYPES, execute(_made(name, want)))
    elif not want:
        yield Written(Phase.DROP_TYPES, execute(f"DROP TYPE {name}"))
    elif renamed := _renamed(have, want):
        for old, new in renamed:
            yield Written(
                Phase.ALTER,
                comment(f"{old} is gone and {new} stands in its place: rows that are {old} become {new}."),
                execute(f"ALTER TYPE {name} RENAME VALUE {literal(old)} TO {literal(new)}"),
            )
    elif _adds_only(have, want):
        lines = [execute(f"ALTER TYPE {name} ADD VALUE IF NOT EXISTS {each}") for each in _places(have, want)]
        yield Written(Phase.TYPES, "with op.get_context().autocommit_block():", *lines, "")
    else:
        yield Written(Phase.DROP_TYPES, *_made_anew(labels, want))


def _made(name: str, labels: Sequence[str]) -> str:
    return f"CREATE TYPE {name} AS ENUM ({', '.join(map(literal, labels))})"


def _renamed(have: Sequence[str], want: Sequence[str]) -> list[tuple[str, str]]:
    """Return the labels in whose place another one stands; [] if it is anything else."""
    if len(have) != len(want):
        return []
    pairs = [(old, new) for old, new in zip(have, want, strict=True) if old != new]
    return [] if any(new in have for _, new in pairs) else pairs


def _adds_only(have: Sequence[str], want: Sequence[str]) -> bool:
    return [label for label in want if label in have] == [*have]


def _places(have: Sequence[str], want: Sequence[str]) -> Iterator[str]:
    for number, label in enumerate(want):
        if label in have:
            continue
        place = f"AFTER {literal(want[number - 1])}" if number else f"BEFORE {literal(have[0])}"
        yield f"{literal(label)} {place}"


def _made_anew(labels: Labels, want: Sequence[str]) -> Iterator[str]:
    """PostgreSQL drops no label: the type is made anew, and the columns with it."""
    old = f"{labels.bare[:59]}_old"
    gone = [label for label in (labels.models if want == labels.there else labels.there) if label not in want]
    yield comment(
        f"PostgreSQL drops no label, so the type is made anew and its tables are rewritten; a row that is "
        f"{' or '.join(gone) or 'of another order'} is refused."
    )
    yield execute(f"ALTER TYPE {labels.name} RENAME TO {quoted(old)}")
    yield execute(_made(labels.name, want))
    for use in labels.uses:
        through, to = ("text[]", f"{labels.name}[]") if use.several else ("text", labels.name)
        column = f"ALTER TABLE {use.table} ALTER COLUMN {use.column}"
        if use.default:
            yield execute(f"{column} DROP DEFAULT")
        yield execute(f"{column} TYPE {to} USING {use.column}::{through}::{to}")
        if use.default:
            yield execute(f"{column} SET DEFAULT {use.default}")
    yield execute(f"DROP TYPE {quoted(labels.schema, old)}")
