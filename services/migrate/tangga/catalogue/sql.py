"""Statements whose names come from the catalogue: they may hold any character, so nothing in them is a parameter."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def execute(connection: Connection, statement: str) -> int:
    """Run a statement as it is and return the number of rows that it touched."""
    return connection.exec_driver_sql(statement.replace("%", "%%")).rowcount


def one(connection: Connection, statement: str) -> Any:
    """Run a query as it is and return its one value."""
    return connection.exec_driver_sql(statement.replace("%", "%%")).scalar()


def row(connection: Connection, statement: str) -> Any:
    """Run a query as it is and return its one row."""
    return connection.exec_driver_sql(statement.replace("%", "%%")).one()


def each(connection: Connection, queries: Sequence[str]) -> list[Any]:
    """Run queries as they are, in one statement, and return the one value of each; all of the same type."""
    # Not by UNION ALL: of a thousand, the server's stack would not hold the tree.
    return one(connection, f"SELECT ARRAY[{', '.join(f'({query})' for query in queries)}]") if queries else []
