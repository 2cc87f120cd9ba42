"""SQL that the API sends: built by SQLAlchemy, compiled once when its module is loaded."""

import re
from itertools import count
from typing import Any

from psycopg2.extensions import cursor as Cursor
from sqlalchemy import BindParameter, text
from sqlalchemy.dialects.postgresql import psycopg2
from sqlalchemy.sql.elements import CompilerElement

_DIALECT = psycopg2.dialect()  # type: ignore[no-untyped-call]
_PLACEHOLDER = re.compile(r"%\((\w+)\)s|%%")
_WRITES = re.compile(r"\b(INSERT INTO|UPDATE|DELETE FROM|MERGE INTO)\b")
_numbers = count(1)
# One at a time in the whole database, however many workers and replicas there are, and on one of its processors: then
# what is left is everybody else's (decision 34). Any key will do that is not the migrators'.
SCAN_KEY = int.from_bytes(b"tangga s", "big")
_BEFORE_SCAN = (
    f"SET LOCAL lock_timeout = %(scan_timeout)s; SELECT pg_advisory_xact_lock({SCAN_KEY}); "
    "SET LOCAL statement_timeout = %(scan_timeout)s; SET LOCAL max_parallel_workers_per_gather = 0; "
)

Row = dict[str, Any]


class Statement:
    """A statement's text, as psycopg2 takes it, and the values that it brings itself.

    Compiling takes longer than all the rest of a read, so it is not done for each request. For the same reason the
    server parses and plans it once for each connection (`prepare`, then `execute`); `text` is for where that cannot be.

    One that may read a whole table (`scans`) is never prepared: only a plan that knows the values takes the right
    index. It goes out in one message with its bounds, which end with it.

    Types are psycopg2's: a JSON value goes in as `psycopg2.extras.Json`, and bytes come out as a memoryview.
    """

    def __init__(self, statement: CompilerElement | str, *, harmless: bool = False, scans: str = "") -> None:
        """Compile; a string is SQL with `:name` for each value. `harmless`: if it writes, it may well be done twice.

        `scans` marks a statement that may read a whole table, and tells the client what to do if that takes too long.
        """
        self.scans = scans
        element = text(statement) if isinstance(statement, str) else statement
        compiled = element.compile(dialect=_DIALECT)
        binds: dict[str, BindParameter[Any]] = getattr(compiled, "binds", {})
        self.text = (_BEFORE_SCAN if scans else "") + str(compiled)
        # Whether it matters if it was done or not, should its answer be lost.
        self.writes = bool(_WRITES.search(self.text)) and not harmless
        self._own = {name: bind.value for name, bind in binds.items() if not bind.required}
        names = list(dict.fromkeys(match[1] for match in _PLACEHOLDER.finditer(self.text) if match[1]))
        self._columns: list[str] = []
        name = f"api_{next(_numbers)}"
        self.prepare = f"PREPARE {name} AS {_PLACEHOLDER.sub(lambda m: _position(m, names), self.text)}"
        self.execute = f"EXECUTE {name}"
        if names:
            self.execute += f" ({', '.join(f'%({name})s' for name in names)})"

    def values(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return all values of an execution: the statement's own, and those that are given."""
        return self._own | given if self._own else given

    def rows(self, cursor: Cursor) -> list[Row]:
        """Return what an execution has found, by the names of the columns; [] if the statement returns nothing."""
        if cursor.description is None:
            return []
        if not self._columns:
            self._columns = [column.name for column in cursor.description]
        return [dict(zip(self._columns, row, strict=True)) for row in cursor.fetchall()]


def _position(match: re.Match[str], names: list[str]) -> str:
    return f"${names.index(match[1]) + 1}" if match[1] else "%"
