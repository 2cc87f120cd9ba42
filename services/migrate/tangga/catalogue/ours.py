"""Which schemas are the application's, and which tables in them are the migrators' own.

Those are known by their columns, not by their names: an application may have a table that is called like one of them,
and Alembic's own may be called otherwise (version_table). It is quick to import: precheck.py needs it.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

# journal/tables.py makes them, in a schema of their own.
TABLES: Final = ("migration_log", "migration_backfill")
# Where Alembic's own is, unless it was told otherwise.
VERSION: Final = "alembic_version"

# A condition on pg_class AS c: a version table of Alembic's, by its shape, for env.py may give it any name and schema.
HOLDS_VERSIONS: Final = """
    (SELECT array_agg(attname || ' ' || atttypid::regtype) FROM pg_attribute
     WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) = '{version_num character varying}'::text[]
"""
# The same of all tables of the migrators': that one, or ours, wherever an older version made it.
THE_MIGRATORS: Final = f"""(
    c.relkind = 'r' AND (
        (c.relnatts = 1 AND coalesce({HOLDS_VERSIONS}, false))
        OR (c.relname IN ('migration_log', 'migration_backfill')
            AND EXISTS (SELECT FROM pg_attribute
                        WHERE attrelid = c.oid AND attname IN ('image_version', 'rows_changed')))
    )
)"""
# A condition on pg_namespace: all schemas but the server's own.
OF_THE_APPLICATION: Final = "nspname !~ '^pg_' AND nspname <> 'information_schema'"
# Questions: which tables are made like Alembic's version table;
# whether an upgrade that was killed left a constraint that nobody has validated (guard/validation.py does),
# and whether the log is where older versions made it (journal/tables.py moves it).
VERSION_TABLES: Final = f"""
    SELECT format('%I.%I', nspname, relname) AS name
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
    WHERE relkind = 'r' AND {OF_THE_APPLICATION} AND {HOLDS_VERSIONS} ORDER BY 1
"""  # noqa: S608 - the conditions above
LEFT_OVER: Final = f"""
    SELECT EXISTS (SELECT FROM pg_constraint JOIN pg_namespace AS n ON n.oid = connamespace
                   WHERE NOT convalidated AND {OF_THE_APPLICATION})
"""  # noqa: S608 - the condition above
TO_MOVE: Final = f"""
    SELECT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = to_regclass('migration_log') AND {THE_MIGRATORS})
"""  # noqa: S608 - the condition above
# The schema whose tables people call by their names alone.
UNNAMED: Final = "public"

_chosen = {"schema": "tangga"}


def use(table: Mapping[str, Any]) -> None:
    """Take the schema of our tables from [tool.tangga] (schema, by default tangga); raises ValueError."""
    value = table.get("schema", "tangga")
    if not isinstance(value, str) or not value:
        raise ValueError(f"[tool.tangga] schema is not a name: {value!r}")
    _chosen["schema"] = value


def configure(file: Path) -> None:
    """Take what a project's pyproject.toml says; nothing, if there is none."""
    if file.exists():
        use(tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("tangga", {}))


def schema() -> str:
    """Return the schema of the migrators' own tables."""
    return _chosen["schema"]


def log() -> str:
    """Return the table of what was done, as SQL names it."""
    return f"{identifier(schema())}.migration_log"


def backfill() -> str:
    """Return the table of how far backfills have come, as SQL names it."""
    return f"{identifier(schema())}.migration_backfill"


def is_the_migrators(schema_name: str, name: str) -> bool:
    """Tell whether a table is ours, or Alembic's under its usual name."""
    return name == VERSION or (schema_name == schema() and name in TABLES)


def speaks_of_them(sql: str) -> bool:
    """Tell whether a statement is of the migrators' own: it says so, or names one of their tables, or Alembic's."""
    own = re.escape(identifier(schema()))
    return re.search(rf"^/\* tangga \*/|\b{VERSION}\b|(?<![\w.]){own}\.({'|'.join(TABLES)})\b", sql) is not None


def identifier(name: str) -> str:
    """Return a name as SQL wants it: quoted, if it has to be."""
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else '"' + name.replace('"', '""') + '"'


def title(schema: str, name: str) -> str:
    """Return what people call a table: without the schema in which all others are, too."""
    return name if schema == UNNAMED else f"{schema}.{name}"
