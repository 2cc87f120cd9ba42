"""Expressions and names of models, as SQL in a revision file has them."""

from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import ClauseElement

# psycopg2's own style would double every %.
_DIALECT = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]


def sql_of(expression: Any) -> str:
    """Return an expression with its values in it, and without the table's name."""
    if not isinstance(expression, ClauseElement):
        return str(expression)
    compiled = expression.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True, "include_table": False})
    return str(compiled).replace("\\:", ":")


def type_of(kind: Any) -> str:
    """Return a type as SQL names it."""
    return str(kind.compile(dialect=_DIALECT))


def quoted(*parts: str | None) -> str:
    """Return a name, with its schema before it if there is one."""
    return ".".join(_DIALECT.identifier_preparer.quote(part) for part in parts if part)


def version(connection: Connection) -> int:
    """Return the server's version: 17."""
    found = connection.dialect.server_version_info
    return int(found[0]) if found else 0
