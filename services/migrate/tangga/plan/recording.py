"""What each statement of a step really does: the locks that PostgreSQL took for it, and what it did to rows.

A cursor class of psycopg2 sees every statement, also those of a step that uses `op.get_bind()` or the bare driver.
After each statement a second session reads pg_locks of the session that migrates: a lock on a table is held until the
end of the transaction, so nothing is missed. A statement outside a transaction would be over, and its locks gone:

- if it may run in a transaction, it gets one of its own, and is looked at before that commits;
- if it may not (CONCURRENTLY, VACUUM), other sessions hold the tables, so that it has to wait, and is looked at then.
"""

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple

import psycopg2.extensions
from psycopg2.errors import ActiveSqlTransaction, InvalidTransactionTermination
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_INERROR
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import NullPool

from tangga.catalogue.ours import OURS

# PostgreSQL's table lock modes, the weakest first (documentation, 13.3.1), and what others cannot do meanwhile.
MODES: Final = {
    "ACCESS SHARE": "nothing",
    "ROW SHARE": "nothing",
    "ROW EXCLUSIVE": "nothing",
    "SHARE UPDATE EXCLUSIVE": "nothing",
    "SHARE": "writes",
    "SHARE ROW EXCLUSIVE": "writes",
    "EXCLUSIVE": "writes",
    "ACCESS EXCLUSIVE": "reads, writes",
}
_STRENGTH = {mode: strength for strength, mode in enumerate(MODES)}
_MODES_IN_PG_LOCKS = {mode.title().replace(" ", "") + "Lock": mode for mode in MODES}
_KINDS = {
    "r": "table",
    "p": "table",
    "f": "table",
    "m": "view",
    "v": "view",
    "S": "sequence",
    "i": "index",
    "I": "index",
}
_POLL_SECONDS = 0.005

_ours = re.compile(rf"\b({'|'.join(OURS)})\b")
_no_step = re.compile(r"\s*(BEGIN|START|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|SET|RESET|SHOW)\b", re.IGNORECASE)
_first_word = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*(\w+)", re.DOTALL)
_reads = ("SELECT", "WITH", "VALUES", "TABLE")
_data = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "MERGE", "COPY")

_relations = """
    SELECT c.oid::int8, n.nspname, c.relname, c.relkind, c.relfilenode::int8, i.indrelid::int8,
           coalesce(s.seq_scan, 0), coalesce(s.seq_tup_read, 0), coalesce(s.idx_tup_fetch, 0),
           coalesce(s.n_tup_ins, 0), coalesce(s.n_tup_upd + s.n_tup_del, 0)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_index AS i ON i.indexrelid = c.oid LEFT JOIN pg_stat_xact_all_tables AS s ON s.relid = c.oid
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r','p','f','m','v','S','i','I')
"""
_locks = """
    SELECT relation::int8, mode, granted FROM pg_locks
    WHERE pid = %s AND (NOT granted OR locktype = 'relation'
                        AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
"""
_own_tables = """
    SELECT string_agg(oid::regclass::text, ', ') FROM pg_class
    WHERE relkind IN ('r', 'p') AND pg_has_role(relowner, 'USAGE') AND relnamespace::regnamespace::text !~ '^pg_'
      AND relnamespace <> 'information_schema'::regnamespace
"""


@dataclass
class Touch:
    """What a statement does to one table (or other relation)."""

    table: str
    kind: str
    # Not in the live database: made by this run, so nobody else is there to be kept waiting.
    new: bool
    # The strongest lock that is held on it while the statement runs, and all of them.
    lock: str
    locks: list[str]
    # By this statement; False: held since an earlier statement of the same transaction.
    taken: bool
    blocks: str
    # Of: rewrite, scan, insert, change (UPDATE, DELETE), truncate. Empty: the catalogue only.
    work: list[str]


@dataclass
class Statement:
    """One statement of a step."""

    sql: str
    # "step": in the step's own; "own": in one of its own; "none": outside of any
    transaction: str
    touches: list[Touch] = field(default_factory=list)


class _Relation(NamedTuple):
    schema: str
    name: str
    kind: str
    file: int
    table: int | None
    seq_scans: int
    seq_rows: int
    index_rows: int
    inserted: int
    changed: int

    @property
    def title(self) -> str:
        return self.name if self.schema == "public" else f"{self.schema}.{self.name}"


Modes = dict[int, set[str]]
Look = dict[int, _Relation]


class _Cursor(psycopg2.extensions.cursor):
    """Reports what it executes. Called by psycopg2, for every cursor of the connection."""

    def __init__(self, recorder: "Recorder", *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.recorder = recorder

    def execute(self, query: Any, vars: Any = None) -> None:
        self.recorder.run(self, str(query), partial(super().execute, query, vars))

    def executemany(self, query: Any, vars_list: Any) -> None:
        self.recorder.run(self, str(query), partial(super().executemany, query, vars_list))

    def copy_expert(self, sql: Any, *arguments: Any, **options: Any) -> None:
        self.recorder.run(self, str(sql), partial(super().copy_expert, sql, *arguments, **options))


class Recorder:
    """Records the statements of the connections of `self.engine`, on a scratch database."""

    def __init__(self, scratch: Engine, observer: Connection) -> None:
        """`observer` is a connection of its own to the same database, in autocommit."""
        self._url = scratch.url
        self._observer: psycopg2.extensions.connection = observer.connection.dbapi_connection  # type: ignore[assignment]
        self._live = {oid for (oid,) in _rows(self._observer, "SELECT oid::int8 FROM pg_class")}
        self._row_counts: dict[int, int] = {}
        self._statements: list[Statement] | None = None
        self.engine = create_engine(
            self._url,
            poolclass=NullPool,
            connect_args={
                "application_name": "tangga-plan",
                "cursor_factory": partial(_Cursor, self),
                # The copy holds few rows, so the planner would scan also where there is an index.
                "options": "-c enable_seqscan=off",
            },
        )

    @contextmanager
    def step(self) -> Iterator[list[Statement]]:
        """Record into the list that is yielded, while the body runs."""
        self._row_counts = {
            oid: _rows(self._observer, f"SELECT count(*) FROM {name}")[0][0]  # noqa: S608 - from the catalogue, quoted
            for oid, name in _rows(
                self._observer,
                "SELECT oid::int8, oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'm') AND relispopulated "
                "AND relnamespace::regnamespace::text !~ '^pg_' AND has_table_privilege(oid, 'SELECT')",
            )
        }
        self._statements = []
        try:
            yield self._statements
        finally:
            self._statements = None

    def run(self, cursor: _Cursor, sql: str, execute: Callable[[], Any]) -> None:
        """Execute, and note what it did."""
        connection = cursor.connection
        status = connection.info.transaction_status
        # `_ours`: rows in alembic_version and migration_log are written by every step alike.
        if self._statements is None or status == TRANSACTION_STATUS_INERROR or _no_step.match(sql) or _ours.search(sql):
            execute()
        elif not connection.autocommit or status != TRANSACTION_STATUS_IDLE:
            self._in_transaction(cursor, "step", execute)
        else:
            _rows(connection, "BEGIN")
            try:
                self._in_transaction(cursor, "own", execute)
            except (ActiveSqlTransaction, InvalidTransactionTermination):
                _rows(connection, "ROLLBACK")
                self._held_open(cursor, execute)
            except BaseException:
                _rows(connection, "ROLLBACK")
                raise
            else:
                _rows(connection, "COMMIT")

    def _in_transaction(self, cursor: _Cursor, transaction: str, execute: Callable[[], Any]) -> None:
        connection = cursor.connection
        before, held = self._look(connection), self._locks(connection)[0]
        execute()
        locks, _ = self._locks(connection)
        self._note(cursor, transaction, before, self._look(connection), held, locks)

    def _held_open(self, cursor: _Cursor, execute: Callable[[], Any]) -> None:
        """Run a statement that must not be in a transaction.

        It has to wait twice: for somebody who changes the tables' schema (whatever asks for SHARE UPDATE EXCLUSIVE or
        more does), and for a transaction that has written to them (an index is built CONCURRENTLY in several phases).
        """
        connection = cursor.connection
        before = self._look(connection)
        locks: Modes = {}
        tables = _rows(self._observer, _own_tables)[0][0]
        with ThreadPoolExecutor(1) as pool, self._session() as changer, self._session() as writer:
            if tables:
                _rows(changer, f"LOCK TABLE {tables} IN SHARE UPDATE EXCLUSIVE MODE")
                _rows(writer, f"LOCK TABLE {tables} IN ROW EXCLUSIVE MODE")
            running = pool.submit(execute)
            for holder in (changer, writer):
                self._until(running, connection, locks, waiting=True)
                holder.rollback()
            self._until(running, connection, locks, waiting=False)
            running.result()
        self._note(cursor, "none", before, self._look(connection), {}, locks)

    def _until(
        self, running: Future[Any], connection: psycopg2.extensions.connection, into: Modes, *, waiting: bool
    ) -> None:
        """Collect locks until the statement is over, or (`waiting`) until it waits for somebody."""
        while not running.done():
            locks, waits = self._locks(connection)
            for oid, modes in locks.items():
                into.setdefault(oid, set()).update(modes)
            if waits and waiting:
                return
            time.sleep(_POLL_SECONDS)

    def _locks(self, connection: psycopg2.extensions.connection) -> tuple[Modes, bool]:
        """Return the locks that a session has or waits for, and whether it waits."""
        modes: Modes = {}
        waits = False
        for oid, mode, granted in _rows(self._observer, _locks, connection.info.backend_pid):
            waits = waits or not granted
            if oid is not None:
                modes.setdefault(oid, set()).add(_MODES_IN_PG_LOCKS[mode])
        return modes, waits

    def _look(self, connection: psycopg2.extensions.connection) -> Look:
        """Read the catalogue and the counters as the session itself sees them."""
        return {oid: _Relation(*rest) for oid, *rest in _rows(connection, _relations)}

    def _note(
        self, cursor: _Cursor, transaction: str, before: Look, after: Look,
        held: Modes, locks: Modes,
    ) -> None:  # fmt: skip
        assert self._statements is not None
        sql = (cursor.query or b"").decode().strip()
        word = first_word(sql)
        touches = []
        for oid, modes in locks.items():
            relation = before.get(oid) or after.get(oid)
            if relation is None or relation.name in OURS or not self._matters(oid, relation, modes, locks):
                continue
            touches.append(
                Touch(
                    table=relation.title,
                    kind=_KINDS[relation.kind],
                    new=oid not in self._live,
                    lock=max(modes, key=_STRENGTH.__getitem__),
                    locks=sorted(modes, key=_STRENGTH.__getitem__),
                    taken=strength(modes) > strength(held.get(oid, ())),
                    blocks=MODES[max(modes, key=_STRENGTH.__getitem__)],
                    work=self._work(word, oid, before, after, modes - held.get(oid, set()), transaction),
                )
            )
        touches.sort(key=lambda touch: (not touch.taken, -_STRENGTH[touch.lock], touch.table))
        # A question to the catalogue touches no table, and nobody waits for it.
        if touches or word not in _reads or any(oid not in before for oid in after):
            self._statements.append(Statement(sql, transaction, touches))

    def _matters(self, oid: int, relation: _Relation, modes: set[str], locks: Modes) -> bool:
        if relation.kind not in "iI":
            return relation.kind in "rpfmv" or oid in self._live
        # Who reads a table opens its indexes; a lock on the table that is as strong says it all.
        return (
            oid in self._live and "ACCESS EXCLUSIVE" in modes
            and "ACCESS EXCLUSIVE" not in locks.get(relation.table or 0, ())
        )  # fmt: skip

    def _work(self, word: str, oid: int, looked: Look, looks: Look, taken: set[str], transaction: str) -> list[str]:
        before, after = looked.get(oid), looks.get(oid)
        if before is None or after is None or before.kind not in "rpm":
            return []
        rows = self._row_counts.get(oid, 0)
        work = []
        if before.file != after.file:
            work.append("truncate" if word == "TRUNCATE" else "rewrite")
        if transaction == "none":
            # Between transactions, counters go over into the server's totals. A new index was built from all rows.
            scan = any(
                index.table == oid and (number not in looked or looked[number].file != index.file)
                for number, index in looks.items()
            )
        else:
            # A foreign key is checked by a query of PostgreSQL's own, which may read all rows through an index.
            scan = after.seq_rows - before.seq_rows >= rows and after.seq_scans > before.seq_scans
            scan = scan or (word not in _data and 0 < rows <= after.index_rows - before.index_rows)
        if scan:
            work.append("scan")
        # Where the table is empty, the counters do not move; the lock is that of a writer all the same.
        writer = "ROW EXCLUSIVE" in taken
        if after.inserted > before.inserted or (word == "INSERT" and writer):
            work.append("insert")
        if after.changed > before.changed or (word in ("UPDATE", "DELETE", "MERGE") and writer):
            work.append("change")
        return work

    @contextmanager
    def _session(self) -> Iterator[psycopg2.extensions.connection]:
        url = self._url
        session = psycopg2.connect(
            host=url.host, port=url.port, dbname=url.database, user=url.username, password=url.password,
            application_name="tangga-plan",
        )  # fmt: skip
        with closing(session):
            yield session


def first_word(sql: str) -> str:
    """Return the word that says what kind of statement it is, in capitals; comments are passed over."""
    found = _first_word.match(sql)
    return found[1].upper() if found else ""


def strength(modes: set[str] | tuple[str, ...]) -> int:
    """Return how strong the strongest of some lock modes is; -1 without any."""
    return max((_STRENGTH[mode] for mode in modes), default=-1)


def _rows(connection: psycopg2.extensions.connection, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """Execute on a cursor that reports nothing."""
    with connection.cursor(cursor_factory=psycopg2.extensions.cursor) as cursor:
        cursor.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []
