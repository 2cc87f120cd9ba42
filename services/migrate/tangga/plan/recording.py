"""What each statement of a step really does: the locks that PostgreSQL took for it, and what it did to rows.

A cursor class of the driver sees every statement, also those of a step that uses `op.get_bind()` or the bare driver.
After each statement a second session reads pg_locks of the session that migrates: a lock on a table is held until the
end of the transaction, so nothing is missed. A statement outside a transaction would be over, and its locks gone:

- if it may run in a transaction, it gets one of its own, and is looked at before that commits;
- if it may not (CONCURRENTLY, VACUUM), other sessions hold the tables, so that it has to wait, and is looked at then.
"""

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine

from tangga import connect
from tangga.catalogue.ours import OF_THE_APPLICATION, THE_MIGRATORS, speaks_of_them
from tangga.connect import ACTIVE_TRANSACTION, INVALID_TERMINATION, driver_connection, sqlstate
from tangga.plan import cursors
from tangga.plan.cursors import rows
from tangga.plan.locks import IN_PG_LOCKS, Modes
from tangga.plan.model import Statement
from tangga.plan.work import Look, Relation, Seen, statement
from tangga.settings import bounds

_POLL_SECONDS = 0.005
# On a server of our own nobody is waited for but the step itself, which may have left a transaction open.
LOOK_SECONDS = 10
# Where a statement may run for ever: not on a copy with a few rows.
_STATEMENT_SECONDS = 900
# libpq's PGTransactionStatusType: outside of a transaction, and in one that has failed.
_IDLE, _IN_TRANSACTION, _IN_ERROR = 0, 2, 3
_ONLY_OUTSIDE = (ACTIVE_TRANSACTION, INVALID_TERMINATION)

_no_step = re.compile(r"\s*(BEGIN|START|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|SET|RESET|SHOW)\b", re.IGNORECASE)
# What may have ended the transaction in the middle of a string: also the END of a function, which costs a look.
_may_end = re.compile(r"\b(COMMIT|ROLLBACK|ABORT|END)\b", re.IGNORECASE)

_RELATIONS = f"""
    SELECT c.oid::int8, n.nspname, c.relname, c.relkind, c.relfilenode::int8, i.indrelid::int8,
           coalesce(s.seq_scan, 0), coalesce(s.seq_tup_read, 0), coalesce(s.idx_tup_fetch, 0),
           coalesce(s.n_tup_ins, 0), coalesce(s.n_tup_upd + s.n_tup_del, 0)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_index AS i ON i.indexrelid = c.oid LEFT JOIN pg_stat_xact_all_tables AS s ON s.relid = c.oid
    WHERE {OF_THE_APPLICATION} AND c.relkind IN ('r','p','f','m','v','S','i','I') AND NOT {THE_MIGRATORS}
"""  # noqa: S608 - a condition of ours.py
# What the session itself has locked, and what is left of it: in a transaction nothing else can have changed. Each with
# words for its state; those that are as they were are not asked for again, for a step may make thousands of tables.
_LOCKED = f"""
    SELECT l.relation::int8, k.state, l.modes, n.nspname, c.relname, c.relkind, c.relfilenode::int8, i.indrelid::int8,
           s.scans, s.scanned, s.fetched, s.inserted, s.changed
    FROM (
        SELECT relation, array_agg(mode) AS modes FROM pg_locks
        WHERE pid = pg_backend_pid() AND locktype = 'relation'
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        GROUP BY relation
    ) AS l
    LEFT JOIN pg_class AS c ON c.oid = l.relation LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_index AS i ON i.indexrelid = c.oid
    CROSS JOIN LATERAL (
        SELECT coalesce(pg_stat_get_xact_numscans(c.oid), 0) AS scans,
               coalesce(pg_stat_get_xact_tuples_returned(c.oid), 0) AS scanned,
               coalesce(pg_stat_get_xact_tuples_inserted(c.oid), 0) AS inserted,
               coalesce(pg_stat_get_xact_tuples_updated(c.oid) + pg_stat_get_xact_tuples_deleted(c.oid), 0) AS changed,
               coalesce(pg_stat_get_xact_tuples_fetched(c.oid), 0)
               + (SELECT coalesce(sum(pg_stat_get_xact_tuples_fetched(indexrelid)), 0)::int8
                  FROM pg_index WHERE indrelid = c.oid) AS fetched
    ) AS s
    -- In a transaction, modes only grow in number.
    CROSS JOIN LATERAL (
        SELECT concat_ws(' ', l.relation, cardinality(l.modes), c.oid, c.relfilenode, s.*) AS state
    ) AS k
    WHERE (c.oid IS NULL
           OR {OF_THE_APPLICATION} AND c.relkind IN ('r','p','f','m','v','S','i','I') AND NOT {THE_MIGRATORS})
      AND NOT EXISTS (SELECT FROM unnest(%s::text[]) AS known (state) WHERE known.state = k.state)
"""  # noqa: S608 - a condition of ours.py
_LOCKS = """
    SELECT relation::int8, mode, granted FROM pg_locks
    WHERE pid = %s AND (NOT granted OR locktype = 'relation'
                        AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
"""
_OWN_TABLES = f"""
    SELECT string_agg(pg_class.oid::regclass::text, ', ')
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind IN ('r', 'p') AND pg_has_role(relowner, 'USAGE') AND {OF_THE_APPLICATION}
"""  # noqa: S608 - a condition of ours.py
_READABLE = f"""
    SELECT pg_class.oid::int8, pg_class.oid::regclass::text
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind IN ('r', 'm') AND relispopulated AND has_table_privilege(pg_class.oid, 'SELECT')
      AND {OF_THE_APPLICATION}
"""  # noqa: S608 - a condition of ours.py


@dataclass
class _At:
    """What is known of a transaction after a statement, and so before the next one."""

    connection: Any
    look: Look
    locks: Modes
    # What this run has made, and the state that it was in.
    made: dict[int, str] = field(default_factory=dict)


class Recorder:
    """Records the statements of the connections of `self.engine`, on a scratch database."""

    def __init__(self, scratch: Engine, observer: Connection, statement_seconds: float = 0) -> None:
        """`observer` is a connection of its own to the same database, in autocommit; a statement may take so long."""
        self._scratch = scratch
        # No wait without an end: what waits for longer is said to be the step's fault (trial.py).
        self._bounds = bounds(
            {"lock_timeout": LOOK_SECONDS, "statement_timeout": statement_seconds or _STATEMENT_SECONDS}
        )
        connect.set_session(observer, self._bounds)
        self._observer = driver_connection(observer)
        self._live = {oid for (oid,) in rows(self._observer, "SELECT oid::int8 FROM pg_class")}
        self._row_counts: dict[int, int] = {}
        self._statements: list[Statement] | None = None
        self._at: _At | None = None
        self.engine = connect.engine(
            scratch.url,
            "plan",
            # The copy holds few rows, so the planner would scan also where there is an index.
            session={"enable_seqscan": "off", **self._bounds},
            cursor_factory=cursors.factory(scratch.url, self),
        )

    @contextmanager
    def step(self) -> Iterator[list[Statement]]:
        """Record into the list that is yielded, while the body runs."""
        tables = rows(self._observer, _READABLE)
        counts = ", ".join(f"(SELECT count(*) FROM {name})" for _, name in tables)  # noqa: S608 - quoted by the server
        found = rows(self._observer, f"SELECT ARRAY[{counts}]::bigint[]")[0][0]
        self._row_counts = {oid: number for (oid, _), number in zip(tables, found, strict=True)}
        self._statements = []
        try:
            yield self._statements
        finally:
            self._statements = None

    def run(self, connection: Any, sql: str, text: Callable[[], str], execute: Callable[[], Any]) -> None:
        """Execute, and note what it did; `text` tells the statement with its values afterwards."""
        alone = self._transaction(connection, sql) == "own"
        try:
            with self.watching(connection, sql, text):
                execute()
        except Exception as error:
            if not (alone and sqlstate(error) in _ONLY_OUTSIDE):
                raise
            self._held_open(connection, text, execute)

    @contextmanager
    def watching(self, connection: Any, sql: str, text: Callable[[], str]) -> Iterator[None]:
        """Note what the body executes; outside of a transaction, it gets one of its own."""
        kind = self._transaction(connection, sql)
        if kind is None:
            yield
        elif kind == "step":
            with self._looked_at(connection, "step", text):
                yield
        else:
            rows(connection, "BEGIN")
            try:
                with self._looked_at(connection, "own", text):
                    yield
            except BaseException:
                rows(connection, "ROLLBACK")
                raise
            rows(connection, "COMMIT")

    def _transaction(self, connection: Any, sql: str) -> str | None:
        """Return in whose transaction a statement is noted, "step" or "own"; None if it is not to be noted."""
        status = connection.info.transaction_status
        # Rows in alembic_version and migration_log are written by every step alike.
        unnoted = self._statements is None or status == _IN_ERROR or _no_step.match(sql) or speaks_of_them(sql)
        if unnoted or status != _IN_TRANSACTION:
            self._at = None
        if unnoted:
            return None
        return "own" if connection.autocommit and status == _IDLE else "step"

    @contextmanager
    def _looked_at(self, connection: Any, transaction: str, text: Callable[[], str]) -> Iterator[None]:
        at, self._at = self._at, None
        if at is None or at.connection is not connection:
            at = _At(connection, self._look(connection), self._locks(connection)[0])
        yield
        after: Look = {}
        locks: Modes = {}
        for oid, state, modes, *rest in rows(connection, _LOCKED, [*at.made.values()]):
            locks[oid] = {IN_PG_LOCKS[mode] for mode in modes}
            if rest[0] is not None:
                after[oid] = Relation(*rest)
            if oid not in self._live:
                at.made[oid] = state
        sql = text().strip()
        self._note(Seen(sql, transaction, at.look, after, at.locks, locks))
        if _may_end.search(sql):
            return
        for oid in locks.keys() - after.keys():
            at.look.pop(oid, None)
        at.look |= after
        at.locks |= locks
        self._at = at

    def _held_open(self, connection: Any, text: Callable[[], str], execute: Callable[[], Any]) -> None:
        """Run a statement that must not be in a transaction.

        It has to wait twice: for somebody who changes the tables' schema (whatever asks for SHARE UPDATE EXCLUSIVE or
        more does), and for a transaction that has written to them (an index is built CONCURRENTLY in several phases).
        """
        before = self._look(connection)
        locks: Modes = {}
        tables = rows(self._observer, _OWN_TABLES)[0][0]
        others = connect.engine(self._scratch.url, "plan", session=self._bounds)
        with ThreadPoolExecutor(1) as pool, others.connect() as changer, others.connect() as writer:
            if tables:
                changer.exec_driver_sql(f"LOCK TABLE {tables} IN SHARE UPDATE EXCLUSIVE MODE".replace("%", "%%"))
                writer.exec_driver_sql(f"LOCK TABLE {tables} IN ROW EXCLUSIVE MODE".replace("%", "%%"))
            running = pool.submit(execute)
            for holder in (changer, writer):
                self._until(running, connection, locks, waiting=True)
                holder.rollback()
            self._until(running, connection, locks, waiting=False)
            running.result()
        self._note(Seen(text().strip(), "none", before, self._look(connection), {}, locks))

    def _until(self, running: Future[Any], connection: Any, into: Modes, *, waiting: bool) -> None:
        """Collect locks until the statement is over, or (`waiting`) until it waits for somebody."""
        while not running.done():
            locks, waits = self._locks(connection)
            for oid, modes in locks.items():
                into.setdefault(oid, set()).update(modes)
            if waits and waiting:
                return
            time.sleep(_POLL_SECONDS)

    def _locks(self, connection: Any) -> tuple[Modes, bool]:
        """Return the locks that a session has or waits for, and whether it waits."""
        modes: Modes = {}
        waits = False
        for oid, mode, granted in rows(self._observer, _LOCKS, connection.info.backend_pid):
            waits = waits or not granted
            if oid is not None:
                modes.setdefault(oid, set()).add(IN_PG_LOCKS[mode])
        return modes, waits

    def _look(self, connection: Any) -> Look:
        """Read the catalogue and the counters as the session itself sees them."""
        return {oid: Relation(*rest) for oid, *rest in rows(connection, _RELATIONS)}

    def _note(self, seen: Seen) -> None:
        assert self._statements is not None
        if noted := statement(seen, self._live, self._row_counts):
            self._statements.append(noted)
