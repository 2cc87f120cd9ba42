"""How routes ask the database: a statement at a time, on one of a few connections, for a bounded time."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from psycopg2.errors import LockNotAvailable, QueryCanceled

from services.api.db.connection import Connection, Runner, connect
from services.api.db.statement import Row, Statement
from services.api.problem import Problem
from services.api.settings import Settings

logger = logging.getLogger("tangga.api")

_SCANS_WAITING = 64  # in one worker; each holds a request, and no connection
_LONGEST_REST = 0.1  # seconds between two scans of a worker


class Database(Runner):
    """The connections of one worker: at most `db_pool_size`, opened when they are needed, used by the latest first.

    A request that waits for its statement holds a connection and nothing else, so a slow statement is in nobody's way
    as long as there is another connection (decision 23). What may read a whole table gets one of them, and no more
    (decision 34).
    """

    def __init__(self, settings: Settings) -> None:
        self.size = settings.db_pool_size
        self.open = 0
        self._settings = settings
        self._free = asyncio.Semaphore(self.size)
        self._idle: list[Connection] = []
        self._scan = asyncio.Semaphore(1)
        self._scans_waiting = 0

    @property
    def in_use(self) -> int:
        """How many connections requests hold right now."""
        return self.open - len(self._idle)

    async def rows(self, statement: Statement, **values: Any) -> list[Row]:
        """Run a statement; return its rows. Raises psycopg2.Error, and TimeoutError when it takes too long."""
        if statement.scans:
            async with self._scan_turn(statement):
                timeout = int(self._settings.db_scan_timeout * 1000)
                return await self._rows(statement, values | {"scan_timeout": timeout})
        return await self._rows(statement, values)

    async def _rows(self, statement: Statement, values: dict[str, Any]) -> list[Row]:
        connection = await self._take()
        try:
            return await connection.rows(statement, **values)
        finally:
            self._give_back(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Hold a connection for statements that stand or fall together: an exception undoes them all."""
        connection = await self._take()
        try:
            await connection.command("BEGIN")
            try:
                yield connection
            except Exception:
                if not connection.closed:
                    await connection.command("ROLLBACK")
                raise
            await connection.command("COMMIT")
        except asyncio.CancelledError:
            connection.close()  # whatever is open there is rolled back
            raise
        finally:
            self._give_back(connection)

    @asynccontextmanager
    async def _scan_turn(self, statement: Statement) -> AsyncIterator[None]:
        """Wait for this worker's turn to scan, among a bounded number of others. Raises Problem."""
        if self._scans_waiting >= _SCANS_WAITING:
            raise _too_many_scans()
        self._scans_waiting += 1
        try:
            async with asyncio.timeout(self._settings.db_scan_timeout):
                await self._scan.acquire()
        except TimeoutError:
            raise _too_many_scans() from None
        finally:
            self._scans_waiting -= 1
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            yield
        except LockNotAvailable:
            raise _too_many_scans() from None
        except QueryCanceled:
            raise Problem(504, f"This search takes too long. {statement.scans}") from None
        finally:
            # Many quick ones in a row would leave as little to others as a long one.
            loop.call_later(min(2 * (loop.time() - began), _LONGEST_REST), self._scan.release)

    def close(self) -> None:
        """Close the connections that are not in use; the others end with the process."""
        while self._idle:
            self._idle.pop().close()
            self.open -= 1

    async def _take(self) -> Connection:
        if self._free.locked():
            async with asyncio.timeout(self._settings.db_statement_timeout):
                await self._free.acquire()
        else:
            await self._free.acquire()
        if self._idle:
            return self._idle.pop()
        self.open += 1
        try:
            raw = await asyncio.get_running_loop().run_in_executor(None, connect, self._settings)
        except BaseException:
            self.open -= 1
            self._free.release()
            raise
        return Connection(raw, self._settings, self._ended)

    def _give_back(self, connection: Connection) -> None:
        if connection.closed:
            self.open -= 1
        else:
            self._idle.append(connection)
        self._free.release()

    def _ended(self, connection: Connection) -> None:
        """The server has ended an idle connection; the next request opens a new one."""
        logger.warning("database_connection_replaced")
        self._idle.remove(connection)
        self.open -= 1


def _too_many_scans() -> Problem:
    return Problem(503, "Too many searches are under way. Try again shortly.", {"Retry-After": "1"})
