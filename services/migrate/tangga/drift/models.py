"""Where the models and a schema differ, in words.

Alembic compares tables, columns, types, defaults, and constraints and indexes by their names. For what is within them,
the models' tables are made on the scratch database, in a schema beside the steps' tables, and the two are compared as
pg_dump prints them.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Enum, MetaData, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from tangga.catalogue import dump as schema
from tangga.causes import one_line
from tangga.compared import NOT_BY_ALEMBIC, options
from tangga.drift.beside import made_beside, types_of
from tangga.drift.within import Within, compared, subject, table_of
from tangga.project import version_options

_LABELS = text("SELECT enumlabel FROM pg_enum WHERE enumtypid = to_regtype(:name) ORDER BY enumsortorder")
_LEFT_ALONE = text("""
    SELECT nspname, relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
    WHERE relkind IN ('r', 'p') AND nspname <> 'information_schema' AND nspname !~ '^pg_' AND (
        EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid) OR NOT pg_has_role(relowner, 'USAGE')
        OR EXISTS (SELECT FROM pg_depend WHERE (classid, objid, deptype) = ('pg_class'::regclass, c.oid, 'e'))
    )
""")


class Compared(NamedTuple):
    """One line per difference; `note` says what could not be compared, and why."""

    differences: list[str]
    note: str | None


def compare(
    connection: Connection, dump: Callable[[], list[str]], models: Sequence[MetaData], told: Mapping[str, Any]
) -> Compared:
    """Compare the models with a scratch database, of which `dump` returns pg_dump's schema.

    `told`: what env.py configures; its include_object and include_name leave out here what they leave out there.
    """
    if not models:
        return Compared([], "nobody says where the models are ([tool.tangga] metadata, or target_metadata in env.py)")
    alone = left_alone(connection)
    context = MigrationContext.configure(connection, opts={**version_options(connection), **_asked(models, told)})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Computed default .* cannot be modified")  # it is said below
        found = compare_metadata(context, models)  # type: ignore[arg-type] # several are one to it
    changes = [change for entry in found for change in (entry if isinstance(entry, list) else [entry])]
    lines = [_words(change) for change in changes if not _is_of(change, alone)]
    lines += [line for metadata in models for line in _labels(connection, metadata)]
    connection.rollback()
    try:
        looked = look(connection, dump, models, told)
    except Exception as error:  # models and types of the authors' own run here
        return Compared(lines, f"{cannot_be_made(error)}, so these were not compared with the models: {NOT_BY_ALEMBIC}")
    # What Alembic has said is not said again, nor the parts of a table that is on one side only.
    known = {subject(line) for line in lines}
    return Compared(
        lines + [
            f"{name}: {_value(model)} in the models, {_value(steps)} in the schema"
            for name, model, steps in looked.found
            if not known & {subject(name), table_of(name)}
        ], None
    )  # fmt: skip


def _asked(models: Sequence[MetaData], told: Mapping[str, Any]) -> dict[str, Any]:
    ours, theirs = options(*models), told.get("include_name")
    ours["include_object"] = told.get("include_object")
    if theirs:
        own = ours["include_name"]
        ours["include_name"] = lambda *asked: own(*asked) and theirs(*asked)
    return ours


def look(
    connection: Connection, dump: Callable[[], list[str]], models: Sequence[MetaData], told: Mapping[str, Any]
) -> Within:
    """Make the models' tables beside the steps', and compare both as pg_dump prints them; raises what that raises."""
    with made_beside(connection, models, told.get("include_object")) as beside:
        return compared(schema.objects(dump()), beside, connection.dialect.identifier_preparer.quote)


def cannot_be_made(error: Exception) -> str:
    """Say why the models' tables were not compared."""
    return f"the models' tables cannot be made on the scratch server ({one_line(error)})"


def left_alone(connection: Connection) -> set[tuple[str | None, str]]:
    """Return schema and name of the tables that no model need describe: partitions, an extension's, somebody else's."""
    default = connection.dialect.default_schema_name
    rows = connection.execute(_LEFT_ALONE).all()
    return {(None if row.nspname == default else row.nspname, row.relname) for row in rows}


def _is_of(change: tuple[Any, ...], tables: set[tuple[str | None, str]]) -> bool:
    """Tell whether a change would remove one of these tables, or what is in it."""
    if not change[0].startswith("remove_"):
        return False
    table = change[1] if change[0] == "remove_table" else getattr(change[1], "table", None)
    return table is not None and (table.schema, table.name) in tables


def _labels(connection: Connection, metadata: MetaData) -> list[str]:
    """Compare the labels of enums, in their order; one that is not there at all is seen with its column."""
    lines = {}
    quote = connection.dialect.identifier_preparer.quote
    for kind in types_of(metadata.tables.values()):
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
