"""How many statements a request sent to the database, and how long it waited for them."""

from contextvars import ContextVar
from time import perf_counter
from typing import Any

import psycopg2.extensions


class Used:
    """What one request has used of the database so far."""

    __slots__ = ("seconds", "statements")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.statements = 0


# Set by the middleware for each request; the thread in which a route runs gets a copy of its context.
current: ContextVar[Used | None] = ContextVar("used", default=None)


class CountingCursor(psycopg2.extensions.cursor):
    """A cursor that charges each statement to the request that it was sent for.

    One Python frame; SQLAlchemy's events would be two, and do not see the end of a statement that fails.
    """

    def execute(self, query: Any, vars: Any = None) -> None:
        """Send the statement and wait for the answer."""
        used = current.get()
        if used is None:
            return super().execute(query, vars)
        began = perf_counter()
        try:
            return super().execute(query, vars)
        finally:
            used.seconds += perf_counter() - began
            used.statements += 1
