"""What stands in a database, so that two of them can be compared."""

import re
from contextlib import closing
from typing import Any

from psycopg2 import sql

from tests.databases import Row, connect, query, run

_CATALOGUE = {
    "columns": """
        SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid),
               attidentity, attgenerated
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
        ORDER BY relname, attnum
    """,
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2
    """,
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1",
    "relations": """
        SELECT relname, relkind, relowner::regrole::text, relacl::text
        FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1
    """,
    "others": """
        SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        UNION ALL SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype NOT IN ('c', 'b')
        UNION ALL SELECT extname FROM pg_extension
        UNION ALL SELECT tgname FROM pg_trigger WHERE NOT tgisinternal
        ORDER BY 1
    """,
}


def catalogue(database: str) -> dict[str, list[Row]]:
    """Return everything that the steps made, so that two databases can be compared."""
    with closing(connect(database)) as connection:
        found = {name: run(connection, statement) for name, statement in _CATALOGUE.items()}
    # The migrators' own tables stay, as alembic_version does.
    return {name: [row for row in rows if not re.match("(pk_)?migration_", row[0])] for name, rows in found.items()}


def revision(database: str) -> str | None:
    """Return the revision in alembic_version; None before the first step."""
    with closing(connect(database)) as connection:
        if run(connection, "SELECT to_regclass('alembic_version')") == [(None,)]:
            return None
        rows = run(connection, "SELECT version_num FROM alembic_version")
    assert len(rows) <= 1
    return rows[0][0] if rows else None


def rows(database: str, table: str, *without: str) -> list[dict[str, Any]]:
    """Return a table's rows as dictionaries in the order of their values, without some of the columns."""
    found = query(database, sql.SQL("SELECT to_jsonb(t) FROM {} AS t ORDER BY t").format(sql.Identifier(table)))
    return [{name: value for name, value in row.items() if name not in without} for [row] in found]
