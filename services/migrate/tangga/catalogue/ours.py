"""Which schemas are the application's, and which tables in them are the migrators' own."""

from typing import Final

# journal/tables.py makes them.
TABLES: Final = ("migration_log", "migration_backfill")
# No model describes these, and no step makes them.
OURS: Final = ("alembic_version", *TABLES)

# A condition on pg_namespace: all schemas but the server's own.
OF_THE_APPLICATION: Final = "nspname !~ '^pg_' AND nspname <> 'information_schema'"
# The schema whose tables people call by their names alone.
_UNNAMED: Final = "public"


def title(schema: str, name: str) -> str:
    """Return what people call a table: without the schema in which all others are, too."""
    return name if schema == _UNNAMED else f"{schema}.{name}"
