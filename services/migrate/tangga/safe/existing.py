"""What is there already under a name, as PostgreSQL writes it: what was asked for, or something else.

It is made on an empty table, to see how PostgreSQL would write what is asked for; that table is gone afterwards. Here a
table's name is as SQL wants it: quoted, with its schema.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import op


def quoted(name: str, schema: str | None = None) -> str:
    """Return a name as SQL wants it, with its schema before it if one is given."""
    quote = op.get_context().dialect.identifier_preparer.quote
    return f"{quote(schema)}.{quote(name)}" if schema else quote(name)


def online() -> bool:
    """Tell whether there is a database to ask: with --sql there is none."""
    return not op.get_context().as_sql


def scalar(statement: str, **values: str) -> Any:
    """Return the one value of a query."""
    return op.get_bind().execute(sa.text(statement), values).scalar()


def has_constraint(table: str, name: str, wanted: Callable[[], str]) -> bool:
    """Tell whether the constraint is there; ValueError if it is there as something else. The table is quoted."""
    if not online():
        return False
    there = scalar(
        """
        SELECT pg_get_constraintdef(oid) FROM pg_constraint
        WHERE conrelid = CAST(:table AS regclass) AND conname = :name
        """,
        table=table,
        name=name,
    )
    if there is not None:
        require_same(f"constraint {name} of {table}", there.removesuffix(" NOT VALID"), wanted())
    return there is not None


def require_same_column(table: str, column: sa.Column[Any]) -> None:
    """Raise ValueError if the column is there, with another type or nullability."""
    there = column_as_postgres_writes_it(table, column.name)
    if there is None:
        return
    with empty_copy(None) as copy:
        op.add_column(copy, sa.Column(column.name, column.type, nullable=column.nullable))
        wanted = column_as_postgres_writes_it(copy, column.name)
    require_same(f"column {column.name} of {table}", there, wanted)


def require_same(what: str, there: str | None, wanted: str | None) -> None:
    """Raise ValueError if what is there is not what is wanted."""
    if there != wanted:
        raise ValueError(f"{what} is there already, but as {there}; this step asks for {wanted}")


@contextmanager
def empty_copy(table: str | None) -> Iterator[str]:
    """Make an empty table with a table's columns, to see how PostgreSQL writes a definition; gone after the body."""
    connection = op.get_bind()
    columns = f"LIKE {table}" if table else ""
    with connection.begin_nested() as savepoint:
        connection.execute(sa.text(f"CREATE TEMPORARY TABLE tangga_copy ({columns})"))
        yield "tangga_copy"
        savepoint.rollback()


def check_as_postgres_writes_it(table: str, condition: str) -> str:
    """Return the definition of a CHECK with this condition."""
    with empty_copy(table) as copy:
        op.create_check_constraint(op.f("wanted"), copy, sa.text(condition))
        definition: str = scalar(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = CAST(:copy AS regclass)", copy=copy
        )
    return definition


def index_as_postgres_writes_it(name: str, table: str) -> str | None:
    """Return what is indexed and how, without the names of index and table; None if the table has no such index."""
    definition: str | None = scalar(
        """
        SELECT CASE WHEN indisunique THEN 'unique ' ELSE '' END ||
               substring(pg_get_indexdef(indexrelid) FROM ' USING (.*)')
        FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE indrelid = CAST(:table AS regclass) AND relname = :name
        """,
        table=table,
        name=name,
    )
    return definition


def column_as_postgres_writes_it(table: str, column: str) -> str | None:
    """Return a column's type, and whether it is NOT NULL; None if the table has no such column."""
    definition: str | None = scalar(
        """
        SELECT format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END FROM pg_attribute
        WHERE attrelid = CAST(:table AS regclass) AND attname = :column AND NOT attisdropped
        """,
        table=table,
        column=column,
    )
    return definition
