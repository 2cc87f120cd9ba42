"""The models' tables, made on a scratch database in schemas beside those of the steps."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import ARRAY, Connection, MetaData, Table, TypeDecorator, text
from sqlalchemy.schema import AddConstraint, CreateIndex, CreateSchema, CreateSequence, CreateTable, DropSchema
from sqlalchemy.schema import sort_tables_and_constraints as sorted_tables
from sqlalchemy.types import SchemaType, TypeEngine

from tangga.catalogue.ours import UNNAMED

BESIDE = "tangga_models"


@contextmanager
def made_beside(
    connection: Connection, models: Sequence[MetaData], include: Callable[..., bool] | None
) -> Iterator[dict[str, str]]:
    """Make the models' tables in schemas of their own, and drop them afterwards; yield schema -> schema beside it.

    `include`: Alembic's include_object. Models of what is no table, a view's say, are left out by it.
    """
    path = connection.scalar(text("SHOW search_path"))
    connection.rollback()
    named = sorted(schemas_of(models) - {UNNAMED})
    beside = {UNNAMED: BESIDE, **{name: f"{BESIDE}_{number}" for number, name in enumerate(named)}}
    engine = connection.engine.execution_options(schema_translate_map=beside)
    try:
        with engine.begin() as making:
            for name in beside.values():
                making.execute(CreateSchema(name))
            # First: a name without a schema is a model's table. The steps' types and functions are found behind it.
            making.execute(text(f"SET LOCAL search_path = {BESIDE}, {path}"))
            for metadata in models:
                every = [*metadata.tables.values()]
                left = [each for each in every if include and not include(each, each.name, "table", False, None)]
                _make(making, metadata, [each for each in every if each not in left])
        yield beside
    finally:
        with engine.begin() as dropping:
            for name in beside.values():
                dropping.execute(DropSchema(name, cascade=True, if_exists=True))


def schemas_of(models: Sequence[MetaData]) -> set[str]:
    """Return the schemas that models name."""
    every = (
        each
        for found in models
        for each in (*found.tables.values(), *found._sequences.values(), *types_of(found.tables.values()))
    )
    return {str(schema) for each in every if (schema := getattr(each, "schema", None))}


def _make(connection: Connection, metadata: MetaData, tables: list[Table]) -> None:
    for kind in types_of(tables):
        kind.create(connection, checkfirst=True)
    for sequence in metadata._sequences.values():
        connection.execute(CreateSequence(sequence))
    for table, keys in sorted_tables(tables):  # type: ignore[no-untyped-call]
        if table is None:  # what is left are keys that point in a circle
            for key in keys:
                connection.execute(AddConstraint(key))
            continue
        connection.execute(CreateTable(table, include_foreign_key_constraints=keys))
        for index in table.indexes:
            connection.execute(CreateIndex(index))


def types_of(tables: Iterable[Table]) -> Iterator[SchemaType]:
    """Yield the columns' types that are objects of the schema themselves: enums, domains."""
    for table in tables:
        for column in table.columns:
            kind: TypeEngine[Any] = column.type
            while isinstance(kind, ARRAY | TypeDecorator):
                kind = kind.item_type if isinstance(kind, ARRAY) else kind.impl_instance
            if isinstance(kind, SchemaType):
                yield kind
