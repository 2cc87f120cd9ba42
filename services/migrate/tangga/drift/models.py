"""Where the models and a schema differ, in words.

Alembic compares tables, columns, types, defaults, and constraints and indexes by their names. For what is within them,
the models' tables are made on the scratch database, in a schema beside the steps' tables, and the two are compared as
pg_dump prints them.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Enum, MetaData, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from tangga.catalogue import dump as schema
from tangga.causes import one_line
from tangga.compared import NOT_BY_ALEMBIC, options
from tangga.drift.beside import BESIDE, DEFAULT, made_beside, types_of

_KINDS = ("column", "constraint", "check constraint", "foreign key", "index")
_LABELS = text("SELECT enumlabel FROM pg_enum WHERE enumtypid = to_regtype(:name) ORDER BY enumsortorder")
# Alembic compares defaults, and knows that now() is CURRENT_TIMESTAMP; and whether NULL may be.
_COMPARED = re.compile(r"(?<! BY) DEFAULT .*?(?= NOT NULL$|$)|( CONSTRAINT \S+)? NOT NULL$", re.DOTALL)


class Compared(NamedTuple):
    """One line per difference; `note` says what could not be compared, and why."""

    differences: list[str]
    note: str | None


def compare(connection: Connection, dump: Callable[[], list[str]], models: Sequence[MetaData]) -> Compared:
    """Compare the models with a scratch database, of which `dump` returns pg_dump's schema."""
    context = MigrationContext.configure(connection, opts=options(*models))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Computed default .* cannot be modified")  # it is said below
        found = compare_metadata(context, models)  # type: ignore[arg-type] # several are one to it
    lines = [_words(change) for entry in found for change in (entry if isinstance(entry, list) else [entry])]
    lines += [line for metadata in models for line in _labels(connection, metadata)]
    connection.rollback()
    try:
        with made_beside(connection, models) as beside:
            expected, there = _sides(schema.objects(dump()), beside, connection.dialect.identifier_preparer.quote)
    except Exception as error:  # models and types of the authors' own run here
        problem = f"the models' tables cannot be made on the scratch server ({one_line(error)})"
        return Compared(lines, f"{problem}, so these were not compared with the models: {NOT_BY_ALEMBIC}")
    # What Alembic has said is not said again, nor the parts of a table that is on one side only.
    known = {_subject(line) for line in lines}
    return Compared(
        lines + [
            f"{name}: {_value(model)} in the models, {_value(steps)} in the schema"
            for name, model, steps in _within(expected, there)
            if not known & {_subject(name), _table(name)}
        ], None
    )  # fmt: skip


def _within(expected: dict[str, str], there: dict[str, str]) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield what differs. The same under another name is no difference here: Alembic compares names, where it can."""
    renamed = {(_table(name), expected[name]) for name in expected.keys() - there.keys()}
    renamed &= {(_table(name), there[name]) for name in there.keys() - expected.keys()}
    for name in sorted(expected.keys() | there.keys()):
        model, steps = expected.get(name), there.get(name)
        if model != steps and (_table(name), model or steps) not in renamed:
            yield name, model, steps


def _sides(
    objects: dict[str, str], beside: dict[str, str], quote: Callable[[str], str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return what the models make and what the steps made, of the models' tables."""

    def put_back(words: str, names: dict[str, str]) -> str:
        for twin, name in names.items():
            words = words.replace(f"{twin}.", name)
        return words

    expected, there, tables = {}, {}, set()
    in_names = {twin: "" if name == DEFAULT else f"{name}." for name, twin in beside.items()}
    in_words = {twin: f"{quote(name)}." for name, twin in beside.items()}
    for name, definition in objects.items():
        if BESIDE in name:
            plain = put_back(name, in_names)
            if plain.startswith("table "):
                tables.add(plain.removeprefix("table "))
            expected[plain] = put_back(definition, in_words)
        else:
            there[name] = definition

    def of_a_model(side: dict[str, str]) -> dict[str, str]:
        return {
            name: _COMPARED.sub("", definition) if name.startswith("column ") else definition
            for name, definition in side.items()
            if name.startswith(tuple(f"{kind} " for kind in _KINDS)) and _table(name) in tables
        }  # fmt: skip

    return of_a_model(expected), of_a_model(there)


def _subject(line: str) -> str:
    """Return what a line is about: the table, or table.part."""
    words = line.partition(": ")[0]
    return next((words.removeprefix(f"{kind} ") for kind in ("table", *_KINDS) if words.startswith(f"{kind} ")), words)


def _table(name: str) -> str:
    return _subject(name).rpartition(".")[0]


def _labels(connection: Connection, metadata: MetaData) -> list[str]:
    """Compare the labels of enums, in their order; one that is not there at all is seen with its column."""
    lines = {}
    quote = connection.dialect.identifier_preparer.quote
    for kind in types_of(metadata):
        if not isinstance(kind, Enum) or not kind.native_enum or not kind.name:
            continue
        name = ".".join(quote(part) for part in (kind.schema, kind.name) if part)
        there = [*connection.scalars(_LABELS, {"name": name})]
        if there and there != [*kind.enums]:
            lines[name] = f"type {name}: {', '.join(kind.enums)} in the models, {', '.join(there)} in the schema"
    return [*lines.values()]


def _words(change: tuple[Any, ...]) -> str:
    kind = change[0]
    if kind.startswith("modify_"):
        _, of_schema, table, column, _, database, model = change
        table = f"{of_schema}.{table}" if of_schema else table
        return f"column {table}.{column}: {kind[7:]}: {_value(model)} in the models, {_value(database)} in the schema"
    where = "in the models, not in the schema" if kind.startswith("add_") else "in the schema, not in the models"
    what = kind.partition("_")[2].replace("fk", "foreign key")
    if kind.endswith("_column"):
        table = f"{change[1]}.{change[2]}" if change[1] else change[2]
        return f"column {table}.{change[3].name}: {where}"
    subject = change[1]
    table = getattr(subject, "table", None)
    name = getattr(subject, "fullname", subject.name) if table is None else f"{table.fullname}.{subject.name}"
    return f"{what} {name}: {where}"


def _value(value: Any) -> str:
    if isinstance(value, TypeEngine):
        return str(value.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    # A server default is a clause with the text in it.
    return "none" if value is None else str(getattr(getattr(value, "arg", value), "text", value))
