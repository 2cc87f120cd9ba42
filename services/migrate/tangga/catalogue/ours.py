"""Which tables are the migrators' own: no model describes them, and no step makes them."""

from typing import Final

# journal/tables.py makes them.
TABLES: Final = ("migration_log", "migration_backfill")
OURS: Final = ("alembic_version", *TABLES)
