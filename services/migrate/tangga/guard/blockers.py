"""Who is in the way: a step that waits for a lock says whom it waits for, while it waits.

The session that waits cannot say it, so a second one asks. That one is opened only when the first has waited a while.
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from tangga.connect import DEADLOCK_DETECTED, LOCK_NOT_AVAILABLE, set_session, sqlstate
from tangga.exits import TABLE_LOCK_NOT_OBTAINED, Stop
from tangga.remedies import say

logger = logging.getLogger("tangga.blockers")

_POLL_SECONDS = 0.25
_REPORT_SECONDS = 5
# The server ended the wait: after lock_timeout, or because the wait was part of a circle.
GAVE_WAY = (LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED)

# Never the text of a query: it may hold data. `state` is NULL for whoever may not see it
# (pg_read_all_stats grants it). Pid 0 is a prepared transaction.
_QUESTION = """
    SELECT who.pid, usename, coalesce(nullif(application_name, ''), backend_type, 'no name') AS application, state,
           extract(epoch FROM clock_timestamp() -
                   CASE state WHEN 'active' THEN query_start ELSE state_change END) AS age,
           extract(epoch FROM clock_timestamp() - xact_start) AS transaction_age,
           {wanted} AS wanted
    FROM ({pids}) AS who (pid) LEFT JOIN pg_stat_activity AS activity ON activity.pid = who.pid
    ORDER BY xact_start
"""
_BLOCKERS = text(
    _QUESTION.format(
        pids="SELECT DISTINCT unnest(pg_blocking_pids(:pid))",
        wanted="(SELECT relation::regclass::text FROM pg_locks WHERE pid = :pid AND NOT granted LIMIT 1)",
    )
)
_SESSIONS = text(_QUESTION.format(pids="SELECT unnest(CAST(:pids AS integer[]))", wanted="CAST(:wanted AS text)"))


class Blocker(NamedTuple):
    """A session that holds, or queues earlier for, the lock that a step waits for. Ages are in seconds."""

    pid: int
    role: str | None
    application: str
    state: str | None
    age: float | None
    transaction_age: float | None
    wanted: str | None

    def __str__(self) -> str:
        if self.pid == 0:
            return "a prepared transaction (see pg_prepared_xacts)"
        if self.state is None and self.role is not None:
            return f"pid {self.pid} ({self.role}, {self.application}; {say('hidden-state')})"
        parts = [self.role, self.application, self.state and f"{self.state} for {self.age or 0:.0f} s"]
        if self.transaction_age is not None and self.transaction_age - (self.age or 0) >= 1:
            parts.append(f"transaction open for {self.transaction_age:.0f} s")
        return f"pid {self.pid} ({', '.join(part for part in parts if part)})"


class Watch:
    """Look on while a session works; say who blocks it when that changes and every five seconds.

    A context manager. It looks only while something has been going on for `after` seconds: `began` tells since when
    (monotonic), so a run of quick steps is not watched at all.
    """

    def __init__(self, engine: Engine, pid: int, after: float, began: Callable[[], float]) -> None:
        self._last: list[Blocker] = []
        self._seen = 0.0
        self.after = after
        self._engine = engine
        self._pid = pid
        self._began = began
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def last(self, since: float) -> list[Blocker]:
        """Return whom the session waited for when it last waited, if that was after `since` (monotonic)."""
        return self._last if self._seen >= since else []

    def _ended_before_it_was_slow(self) -> bool:
        while (rest := self._began() + self.after - time.monotonic()) > 0:
            if self._end.wait(rest):
                return True
        return False

    def _look(self) -> None:
        if self._ended_before_it_was_slow():
            return
        try:
            with self._engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
                set_session(connection, {"application_name": "tangga-watch"})
                self._poll(connection)
        except SQLAlchemyError as error:
            logger.warning("cannot see who blocks: %s", str(error).partition("\n")[0])

    def _poll(self, connection: Connection) -> None:
        reported: tuple[object, ...] = ()
        since = next_report = 0.0
        while True:
            found = blockers(connection, self._pid)
            now = time.monotonic()
            if found:
                self._last, self._seen = found, now
                who = tuple((blocker.pid, blocker.state, blocker.wanted) for blocker in found)
                since = since or now
                if who != reported or now >= next_report:
                    logger.info("waiting for %s (%.0f s): %s", wanted(found), now - since, described(found))
                    reported, next_report = who, now + _REPORT_SECONDS
            else:
                reported, since = (), 0.0
            if self._end.wait(_POLL_SECONDS) or self._ended_before_it_was_slow():
                return


def blockers(connection: Connection, pid: int) -> list[Blocker]:
    """Return the sessions that a session waits for; the longest transaction first."""
    return [Blocker(*row) for row in connection.execute(_BLOCKERS, {"pid": pid})]


def sessions(connection: Connection, pids: list[int], wanted: str) -> list[Blocker]:
    """Return what there is to say of these sessions, which hold something of the table `wanted`."""
    return [Blocker(*row) for row in connection.execute(_SESSIONS, {"pids": pids, "wanted": wanted})]


def wanted(found: list[Blocker]) -> str:
    """Return what is waited for: a table, or the end of a transaction."""
    return (found[0].wanted if found else None) or "the end of a transaction"


def described(found: list[Blocker]) -> str:
    """Return the blockers in words."""
    return "blocked by " + (" and ".join(map(str, found)) or "a session that was gone before it could be seen")


def gave_way(error: BaseException) -> bool:
    """Tell whether the server ended a wait for a lock, so that it is worth another try."""
    return isinstance(error, DBAPIError) and sqlstate(error) in GAVE_WAY


class Retries:
    """Pauses between the tries of one thing: one second, doubling to thirty, each up to a quarter shorter or longer.

    After `limit` seconds, no more; they are counted from now, or from `began` (monotonic).
    """

    def __init__(self, limit: float, began: float | None = None) -> None:
        self._limit = limit
        self._began = time.monotonic() if began is None else began
        self._tries = 1

    def pause(self, what: str, found: list[Blocker]) -> None:
        """Say that `what` gave way to the sessions `found`, and sleep until the next try; Stop past the limit."""
        spent = time.monotonic() - self._began
        left = self._limit - spent
        if left <= 0:
            raise Stop(
                f"{wanted(found)} is locked: {what}; gave up after {spent:.0f} s and {self._tries} tries; "
                f"{described(found)}",
                _remedy(found),
                TABLE_LOCK_NOT_OBTAINED,
            )
        # Not all at the same moment, if several wait. What is left of the limit always ends with a last try.
        seconds = min(left, min(30, 2 ** (self._tries - 1)) * random.uniform(0.75, 1.25))  # noqa: S311 - no secret
        self._tries += 1
        logger.warning(
            "%s is locked: %s; %s; try %d in %.1f s, giving up in %.0f s",
            wanted(found), what, described(found), self._tries, seconds, left,
        )  # fmt: skip
        time.sleep(seconds)


def _remedy(found: list[Blocker]) -> str:
    end = " ".join(f"SELECT pg_terminate_backend({blocker.pid});" for blocker in found if blocker.pid)
    return (
        f"wait for it to end, or end it, as a superuser: {end or 'see pg_stat_activity'} then migrate again: the steps "
        "before this one stand. MIGRATE_LOCK_RETRY_FOR sets how long to try"
    )
