"""One connection to PostgreSQL, driven by the event loop: one statement at a time, and no thread."""

import asyncio
import os
import re
import select
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from time import perf_counter
from typing import Any

import psycopg2
import psycopg2.errors
from psycopg2.extensions import POLL_OK, POLL_WRITE, TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as RawConnection
from psycopg2.extensions import cursor as Cursor

from services.api.db.statement import Row, Statement
from services.api.observe import statements
from services.api.settings import Settings

_CONNECT_SECONDS = 3
_SILENCE_SECONDS = 5  # beyond DB_STATEMENT_TIMEOUT: the server bounds a statement itself
_SENT_AT_ONCE = 8192  # bytes; the smallest buffer of a socket is larger
# Last words of a server that has rolled everything back, or of a pooler that has not sent the statement on. libpq
# leaves their code out when the end of the line comes together with them.
_NOT_DONE = re.compile(
    "FATAL: +(terminating connection due to|the database system is|query_wait_timeout|pgbouncer cannot connect"
    "|server login has been failing)"
)


class OutcomeUnknown(Exception):
    """A write was sent, and nothing says whether it was done: its cause is the error that stands for the answer."""


class Runner(ABC):
    """What runs statements: the database, each on whatever connection is free, or one connection."""

    @abstractmethod
    async def rows(self, statement: Statement, **values: Any) -> list[Row]:
        """Run a statement; return its rows. Raises psycopg2.Error."""

    async def row(self, statement: Statement, **values: Any) -> Row | None:
        """Run a statement; return its row, or None. More than one row is a bug."""
        rows = await self.rows(statement, **values)
        assert len(rows) <= 1
        return rows[0] if rows else None


class Connection(Runner):
    """An asynchronous connection of psycopg2. Every statement is a transaction by itself, unless BEGIN was sent."""

    def __init__(self, raw: RawConnection, settings: Settings, on_end: Callable[["Connection"], None]) -> None:
        """`on_end` is called if the server ends it while nothing is under way."""
        self._raw = raw
        self._on_end = on_end
        # If the server does not even answer any more, this bounds a statement.
        self._timeout = settings.db_statement_timeout + _SILENCE_SECONDS
        self._prepared: set[Statement] | None = None if settings.db_pooler else set()
        self._loop = asyncio.get_running_loop()
        self._socket = raw.fileno()
        self._answer: asyncio.Future[None] | None = None
        # Once for all statements: to watch and not to watch would be two system calls for each.
        self._loop.add_reader(self._socket, self._readable)

    @property
    def closed(self) -> bool:
        """Whether it can still be used."""
        return bool(self._raw.closed)

    def close(self) -> None:
        """End it at once, whatever is under way."""
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._raw.close()

    async def rows(self, statement: Statement, **values: Any) -> list[Row]:
        """Run a statement; return its rows. Raises psycopg2.Error, and TimeoutError if there is no answer at all.

        Whoever is cancelled meanwhile ends the connection: nobody else may read what is still to come.
        """
        used = statements.current.get()
        began = perf_counter()
        try:
            return await self._run(statement, statement.values(values))
        finally:
            if used is not None:
                used.seconds += perf_counter() - began
                used.statements += 1

    async def command(self, text: str) -> None:
        """Run BEGIN, COMMIT or ROLLBACK; raises OutcomeUnknown if the answer to COMMIT is lost."""
        await self._send(text, writes=text == "COMMIT")

    async def _run(self, statement: Statement, values: dict[str, Any]) -> list[Row]:
        prepared = self._prepared
        if prepared is None or statement.scans:
            return statement.rows(await self._send(statement.text, values, writes=statement.writes))
        if statement not in prepared:
            await self._send(statement.prepare)
            prepared.add(statement)
        try:
            return statement.rows(await self._send(statement.execute, values, writes=statement.writes))
        except psycopg2.errors.FeatureNotSupported:
            # A step of the schema has changed the type of a column that it returns. Nothing has been done yet, unless
            # in a transaction that is lost now: then the client may try again (errors.py).
            if self._raw.info.transaction_status != TRANSACTION_STATUS_IDLE:
                self.close()
                raise
            prepared.clear()
            await self._send("DEALLOCATE ALL")
            return await self._run(statement, values)

    async def _send(self, text: str, values: dict[str, Any] | None = None, *, writes: bool = False) -> Cursor:
        cursor = self._raw.cursor()
        timer = self._loop.call_later(self._timeout, self._no_answer)
        # In a transaction nothing is done before its COMMIT.
        writes = writes and (text == "COMMIT" or self._raw.info.transaction_status == TRANSACTION_STATUS_IDLE)
        try:
            cursor.execute(text, values)
            self._answer = self._loop.create_future()
            if len(cursor.query or b"") > _SENT_AT_ONCE:
                self._proceed()  # the rest is sent when the socket has room
            await self._answer
        except psycopg2.Error as error:
            unknown = writes and self._answer is not None and not _is_verdict(error)
            if unknown or self._raw.closed:
                self.close()
            if unknown:
                raise OutcomeUnknown(str(error).strip()) from error
            raise
        except TimeoutError as error:
            self.close()
            if writes:
                raise OutcomeUnknown(str(error)) from error
            raise
        except BaseException:
            self.close()
            raise
        finally:
            self._answer = None
            timer.cancel()
        return cursor

    def _no_answer(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(TimeoutError("the database does not answer at all"))

    def _readable(self) -> None:
        if self._answer is None:
            # Nothing is due on an idle connection, so this is the server's farewell, or the end of the line (or news of
            # a changed setting, for which a new connection is right as well).
            self.close()
            self._on_end(self)
        else:
            self._proceed()

    def _proceed(self) -> None:
        answer = self._answer
        if answer is None or answer.done():
            return
        try:
            state = self._raw.poll()
        except psycopg2.Error as error:
            answer.set_exception(error)
            return
        if state == POLL_WRITE:
            self._loop.add_writer(self._socket, self._writable)
        elif state == POLL_OK:
            answer.set_result(None)

    def _writable(self) -> None:
        self._loop.remove_writer(self._socket)
        self._proceed()


def _is_verdict(error: psycopg2.Error) -> bool:
    """Tell whether an error is the server's answer: then the statement was rolled back, even if the server ends.

    libpq's own words for a line that broke have no code. Class 08 is a pooler's, which has lost the server; 40003 says
    itself that nobody knows.
    """
    code = error.pgcode or "08"
    return bool(_NOT_DONE.match(str(error))) or not (code.startswith("08") or code == "40003")


def connect(settings: Settings) -> RawConnection:
    """Connect, and wait for it: to be called in a thread, for looking a name up blocks. Raises psycopg2.Error."""
    password, *previous = settings.passwords()
    try:
        return _connect(settings, password)
    except psycopg2.OperationalError as error:
        if not previous or "password authentication failed" not in str(error):
            raise
        return _connect(settings, previous[0])


def _connect(settings: Settings, password: str) -> RawConnection:
    """Each wait is bounded, by the server as well: a statement, a lock, a line that has gone dead."""
    timeout = int(settings.db_statement_timeout * 1000)
    # A pooler hands the session on to others, so it takes no settings; there the role has them (docs/scaling.md).
    options = "" if settings.db_pooler else f"-c statement_timeout={timeout} -c lock_timeout={timeout}"
    deadline = time.monotonic() + _CONNECT_SECONDS
    raw: RawConnection = psycopg2.connect(
        **settings.connection_parameters(),
        password=password,
        async_=True,
        application_name=application_name(),
        options=options,
        # A server that vanished without a word (its machine is gone) answers neither data nor these.
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
        tcp_user_timeout=timeout,
    )
    while (state := raw.poll()) != POLL_OK:
        wanted = ([raw], []) if state != POLL_WRITE else ([], [raw])
        left = deadline - time.monotonic()
        if left <= 0 or not any(select.select(*wanted, [], left)):
            raw.close()
            raise psycopg2.OperationalError(f"no answer from the database within {_CONNECT_SECONDS} s")
    return raw


def application_name() -> str:
    """Say in pg_stat_activity which worker of which container holds a connection. PostgreSQL keeps 63 bytes."""
    return f"tangga-api {socket.gethostname()[:36]} worker {os.getpid()}"
