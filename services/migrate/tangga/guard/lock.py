"""One migrator at a time: an advisory lock that is waited for with a bound, out loud."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, text

from tangga.connect import pid_of
from tangga.exits import UNREACHABLE, Stop
from tangga.remedies import say
from tangga.settings import Settings

logger = logging.getLogger("tangga.lock")

# Any constant will do; it is the first eight bytes of "tanggamigrate"'s ASCII, so that pg_locks shows a known number.
LOCK_KEY = int.from_bytes(b"tanggami", "big")
_POLL_SECONDS = 0.2
_REPORT_SECONDS = 5

_try_lock = text("SELECT pg_try_advisory_lock(:key)")
# A bigint key is shown as two halves, classid and objid (documentation of pg_locks). An advisory lock belongs to one
# database, but pg_locks shows those of the whole server.
_holder = text("""
    SELECT a.pid, coalesce(a.client_addr::text, 'local') AS address,
           extract(epoch FROM now() - a.backend_start)::int AS age
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.classid = (:key >> 32)::int AND l.objid = (:key & 4294967295)::bigint::oid
""")


class LockNotObtained(Exception):
    """Another migrator held the lock for longer than MIGRATE_LOCK_WAIT."""


@contextmanager
def migration_lock(engine: Engine, settings: Settings, *, wanted: bool) -> Iterator[None]:
    """Hold the migration lock while the body runs, on a session of its own; do nothing unless `wanted`.

    Polls `pg_try_advisory_lock`: a session that blocks in `pg_advisory_lock` holds a snapshot, for which CREATE INDEX
    CONCURRENTLY in the other migrator would wait for ever. The lock belongs to the session, so it is gone when this
    process is, however that ends. Raises LockNotObtained after `lock_wait` seconds.
    """
    if not wanted:
        yield
        return
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as session:
        _require_session(session, settings)
        _wait(session, settings.lock_wait)
        yield


def _require_session(connection: Connection, settings: Settings) -> None:
    """Raise Stop if a pooler answers: the lock would stay with the server's session, which it hands on to others.

    A server's own process introduces itself; a pooler cannot know yet whose session it will take.
    """
    if connection.scalar(text("SELECT pg_backend_pid()")) != pid_of(connection):
        raise Stop(
            f"a pooler answers at {settings.address}; behind it, the lock holds nobody back",
            say("pooler"),
            UNREACHABLE,
        )


def _wait(connection: Connection, limit: float) -> None:
    start = time.monotonic()
    next_report = 0.0
    while not connection.scalar(_try_lock, {"key": LOCK_KEY}):
        waited = time.monotonic() - start
        if waited >= limit:
            raise LockNotObtained(f"another migrator holds the lock after {waited:.0f} s: {_describe(connection)}")
        if waited >= next_report:
            logger.info("waiting for the migration lock (%.0f s): %s", waited, _describe(connection))
            next_report = waited + _REPORT_SECONDS
        time.sleep(_POLL_SECONDS)
    if next_report:
        logger.info("got the migration lock after %.1f s", time.monotonic() - start)


def _describe(connection: Connection) -> str:
    row = connection.execute(_holder, {"key": LOCK_KEY}).one_or_none()
    return f"held by pid {row.pid} from {row.address} for {row.age} s" if row else "just released"
