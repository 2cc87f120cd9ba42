"""A step that is run and may yet be taken back: nothing in it may commit."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from alembic.runtime.migration import MigrationContext
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, OperationalError

from tangga.connect import ACTIVE_TRANSACTION, INVALID_TERMINATION, sqlstate

_ENDS_TRANSACTION = re.compile(r"\s*(commit|end|abort|begin|start\s+transaction|rollback)\b(?!.*\bto\b)", re.I | re.S)
_BUILDS = re.compile(r"\s*(create\s+(unique\s+)?index|reindex\b.*)\s+concurrently\b|\s*vacuum\b", re.I | re.S)
_CONCURRENTLY = re.compile(
    r"(\s*(?:drop\s+index|alter\s+table\b.*?\bdetach\s+partition\b.*))\s+concurrently\b", re.I | re.S
)
# After an autocommit_block these belong to a safe form (tangga/safe/forms.py): no row depends on them, and in one
# transaction they would read whole tables under its locks.
_PROVES = re.compile(
    r"\s*alter\s+table\b.*\b(validate\s+constraint\b|set\s+not\s+null\s*;?\s*$|using\s+index\b)", re.I | re.S
)
_ONLY_OUTSIDE = (ACTIVE_TRANSACTION, INVALID_TERMINATION)


class EndsTransaction(Exception):
    """The step ends the transaction by itself."""


class Attempt:
    """Runs a step inside the savepoint that is open. `complete`: nothing was left out or done in another way."""

    def __init__(self, ctx: MigrationContext) -> None:
        assert ctx.connection is not None
        self._ctx = ctx
        self._connection = ctx.connection
        self.complete = True

    def __enter__(self) -> Self:
        # Alembic's own would commit.
        self._ctx.__dict__["autocommit_block"] = self._no_block
        event.listen(self._connection, "before_cursor_execute", self._look_at, retval=True)
        # Before guard/session.py takes note of what will not happen.
        event.listen(self._connection, "commit", self._refuse, insert=True)
        event.listen(self._connection, "rollback", self._refuse, insert=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        event.remove(self._connection, "rollback", self._refuse)
        event.remove(self._connection, "commit", self._refuse)
        event.remove(self._connection, "before_cursor_execute", self._look_at)
        del self._ctx.__dict__["autocommit_block"]

    def explains(self, error: Exception) -> bool:
        """Tell whether the step failed because it was run in a transaction, and may well succeed outside."""
        if isinstance(error, OperationalError):
            # A time-out, a deadlock, a lost connection: it says nothing about the step.
            return False
        only_outside = isinstance(error, DBAPIError) and sqlstate(error) in _ONLY_OUTSIDE
        return not self.complete or only_outside or isinstance(error, EndsTransaction)

    @contextmanager
    def _no_block(self) -> Iterator[None]:
        self.complete = False
        yield

    def _look_at(
        self, _connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool
    ) -> tuple[str, Any]:
        if _ENDS_TRANSACTION.match(statement):
            raise EndsTransaction(statement.strip())
        if _BUILDS.match(statement) or (not self.complete and _PROVES.match(statement)):
            # An index holds no data, and building it here would stop writers.
            self.complete = False
            return "SELECT", ()
        if found := _CONCURRENTLY.match(statement):
            self.complete = False
            statement = found[1] + statement[found.end() :]
        return statement, parameters

    def _refuse(self, _connection: Any) -> None:
        raise EndsTransaction("the step ends its transaction")
