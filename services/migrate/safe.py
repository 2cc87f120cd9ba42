"""What `from services.migrate import safe` finds: steps that were written before tangga was a package say so.

They are not changed: a database has noted the checksum of each file that it has run.
"""

from tangga.safe import (
    add_check,
    add_column,
    add_foreign_key,
    add_unique,
    backfill,
    create_index,
    drop_index,
    set_not_null,
)

__all__ = [
    "add_check",
    "add_column",
    "add_foreign_key",
    "add_unique",
    "backfill",
    "create_index",
    "drop_index",
    "set_not_null",
]
