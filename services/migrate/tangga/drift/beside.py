"""The models' tables, made on a scratch database in schemas beside those of the steps."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import ARRAY, Connection, MetaData, text
from sqlalchemy.schema import AddConstraint, CreateIndex, CreateSchema, CreateTable, DropSchema
from sqlalchemy.schema import sort_tables_and_constraints as sorted_tables
from sqlalchemy.types import SchemaType

DEFAULT = "public"
BESIDE = "tangga_models"


@contextmanager
def made_beside(connection: Connection, models: Sequence[MetaData]) -> Iterator[dict[str, str]]:
    """Make the models' tables in schemas of their own, and drop them afterwards; yield schema -> schema beside it."""
    path = connection.scalar(text("SHOW search_path"))
    connection.rollback()
    named = sorted({table.schema for each in models for table in each.tables.values() if table.schema} - {DEFAULT})
    beside = {DEFAULT: BESIDE, **{name: f"{BESIDE}_{number}" for number, name in enumerate(named)}}
    engine = connection.engine.execution_options(schema_translate_map=beside)
    try:
        with engine.begin() as making:
            for name in beside.values():
                making.execute(CreateSchema(name))
            # First: a name without a schema is a model's table. The steps' types and functions are found behind it.
            making.execute(text(f"SET LOCAL search_path = {BESIDE}, {path}"))
            for metadata in models:
                _make(making, metadata)
        yield beside
    finally:
        with engine.begin() as dropping:
            for name in beside.values():
                dropping.execute(DropSchema(name, cascade=True, if_exists=True))


def _make(connection: Connection, metadata: MetaData) -> None:
    for kind in types_of(metadata):
        kind.create(connection, checkfirst=True)
    for table, keys in sorted_tables(metadata.tables.values()):  # type: ignore[no-untyped-call]
        if table is None:  # what is left are keys that point in a circle
            for key in keys:
                connection.execute(AddConstraint(key))
            continue
        connection.execute(CreateTable(table, include_foreign_key_constraints=keys))
        for index in table.indexes:
            connection.execute(CreateIndex(index))


def types_of(metadata: MetaData) -> Iterator[SchemaType]:
    """Yield the columns' types that are objects of the schema themselves: enums, domains."""
    for table in metadata.tables.values():
        for column in table.columns:
            kind = column.type.item_type if isinstance(column.type, ARRAY) else column.type
            if isinstance(kind, SchemaType):
                yield kind
