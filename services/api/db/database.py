"""How routes ask the database: one function, in one thread hop, on one connection, for a bounded time."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine

P = ParamSpec("P")
T = TypeVar("T")


class Database:
    """The engine of one worker and the threads that may use it: as many as connections, so no thread waits for one."""

    def __init__(self, engine: Engine, threads: int, timeout: float) -> None:
        """`timeout` in seconds bounds the wait for a free thread and the work together."""
        self.engine = engine
        self._timeout = timeout
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="database")

    async def run(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work(connection, ...)` in a thread of its own and return its result.

        Raises TimeoutError when that takes too long: a server that is cut off does not even cancel a statement.
        """

        def call() -> T:
            with self.engine.connect() as connection:
                return work(connection, *args, **kwargs)

        # The context goes along: what the request has asked of the database is counted there.
        context = copy_context()
        async with asyncio.timeout(self._timeout):
            return await asyncio.get_running_loop().run_in_executor(self._threads, context.run, call)

    def connect(self) -> Connection:
        """Return a connection of the pool, as a context manager."""
        return self.engine.connect()

    def close(self) -> None:
        """Close the connections that are not in use; the others follow when their work is done."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.engine.dispose()
