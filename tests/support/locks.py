"""What a second session meets while a statement's locks are held."""

from contextlib import closing
from typing import NamedTuple

import psycopg2
from psycopg2 import sql

from tests.databases import connect, run

# What each lock mode keeps out: PostgreSQL's documentation, table 13.2.
CONFLICTS = {
    "ACCESS SHARE": {"ACCESS EXCLUSIVE"},
    "ROW SHARE": {"EXCLUSIVE", "ACCESS EXCLUSIVE"},
    "ROW EXCLUSIVE": {"SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE"},
    "SHARE UPDATE EXCLUSIVE": {
        "SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE",
    },
    "SHARE": {"ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE"},
    "SHARE ROW EXCLUSIVE": {
        "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE",
    },
    "EXCLUSIVE": {
        "ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE",
        "ACCESS EXCLUSIVE",
    },
    "ACCESS EXCLUSIVE": {
        "ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE",
        "EXCLUSIVE", "ACCESS EXCLUSIVE",
    },
}  # fmt: skip


class Kind(NamedTuple):
    """A kind of statement, its lock on `posts`, what it does there, and what must be there before."""

    name: str
    statement: str
    lock: str
    work: list[str]
    before: str = ""


def refused_modes(database: str, table: str) -> set[str]:
    """Return the lock modes that a second session does not get on a table at this moment."""
    refused = set()
    with closing(connect(database)) as second:
        for mode in CONFLICTS:
            run(second, "BEGIN")
            try:
                run(second, sql.SQL("LOCK TABLE {} IN {} MODE NOWAIT").format(sql.Identifier(table), sql.SQL(mode)))
            except psycopg2.errors.LockNotAvailable:
                refused.add(mode)
            run(second, "ROLLBACK")
    return refused


def kept_out(locks: dict[str, list[str]], *tables: str) -> dict[str, set[str]]:
    """Return the modes that nobody else gets on these tables while others hold `locks`."""
    return {table: set().union(*(CONFLICTS[mode] for mode in locks.get(table, ()))) for table in tables}
