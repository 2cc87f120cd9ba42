"""Changes of a table that is in use, in forms that let reads and writes go on: see forms.py."""

from tangga.safe.batches import backfill
from tangga.safe.forms import (
    add_check,
    add_column,
    add_foreign_key,
    add_unique,
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
