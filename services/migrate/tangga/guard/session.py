"""What a step does to the transaction and the session that it runs in: followed, bounded and put back.

Alembic begins a transaction for each step and commits that one. A step that ends it by itself (get_bind().commit(), a
COMMIT by SQL, the driver's commit) goes on in another one, which Alembic would not commit: the rest of the step and its
row in alembic_version would be lost, with exit code 0. Here the step's end commits whatever transaction it is in by
then. A step that takes back its own work is refused: it would be noted as done.
"""

import functools
import importlib
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from alembic.runtime.migration import MigrationContext
from alembic.script import Script
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext

from tangga.connect import LOCK_NOT_AVAILABLE, POSTGRESQL, driver_connection, sqlstate
from tangga.exits import STEP_FAILED, Stop
from tangga.settings import Settings, bounds
from tangga.words import file_name

# libpq's PGTransactionStatusType: outside of a transaction, in one, and in one that has failed.
_IDLE, _IN_TRANSACTION, _IN_ERROR = 0, 2, 3
# psycopg2's own notion of it: it has sent BEGIN, and does not notice a COMMIT that was sent as a statement.
_SENT_BEGIN = 2
_ROLLS_BACK = re.compile(r"\s*(rollback|abort)\b(?!.*\bto\b)", re.IGNORECASE | re.DOTALL)
_CHANGES_NOTHING = re.compile(
    r"\s*(select|show|set|reset|begin|start|commit|end|rollback|abort|savepoint|release|explain|table|values)\b",
    re.IGNORECASE,
)
# What may change a setting of the session: looked for, so that other steps cost no question.
_SETS = re.compile(
    r"^\s*(set|reset|discard)\b|;\s*(set|reset|discard)\b|\bset_config\b|\bsearch_path\b|\bset\s+(\w+\s+)?role\b"
    r"|\bsession\s+authorization\b",
    re.IGNORECASE,
)
# A plan leaves out what says that it is ours (catalogue/ours.py).
_SETTINGS = """/* tangga */
    SELECT session_user, current_setting('role'), (
        SELECT jsonb_object_agg(name, setting) FROM pg_settings
        WHERE context IN ('user', 'superuser') AND name !~ '^transaction_' AND name <> 'seed'
    )::text
"""
_PUT_BACK = """/* tangga */
    SELECT set_config(name, was.setting, false)
    FROM jsonb_each_text(CAST(%s AS jsonb)) AS was (name, setting) JOIN pg_settings AS now USING (name)
    WHERE now.setting <> was.setting
"""
# A step whose file has the word may take its work back by whatever way; only then its transactions are told apart.
_MAY_ROLL_BACK = re.compile(r"rollback|abort", re.IGNORECASE)
_NUMBER = "/* tangga */ SELECT pg_current_xact_id_if_assigned()::text"
_GIVE_NUMBER = "/* tangga */ SELECT pg_current_xact_id()::text"
_WAS_ROLLED_BACK = "/* tangga */ SELECT pg_xact_status(%s::xid8) = 'aborted'"
_SET = "/* tangga */ SELECT set_config(%s, %s, false)"


class _Settings(NamedTuple):
    """A session's user, its role, and its other settings as JSON."""

    user: str
    role: str
    others: str


class _Present:
    """The transaction that a connection is in at the moment, in the place of the one that Alembic began."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def is_active(self) -> bool:
        return self._connection.in_transaction()

    def commit(self) -> None:
        if found := self._connection.get_transaction():
            found.commit()

    def rollback(self) -> None:
        if found := self._connection.get_transaction():
            found.rollback()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.commit()
        else:
            self.rollback()


class Session:
    """One command's session, while steps run in it. `half_done`: what has committed a part of the current step."""

    def __init__(self, settings: Settings) -> None:
        self.half_done: str | None = None
        self._lock_timeout = settings.lock_timeout
        self._repeatable = False
        self._step: Script | None = None
        self._ctx: MigrationContext | None = None
        self._thread = 0
        # Of the current transaction: something was executed in it, and something that changes the database.
        self._begun = self._changed = False
        # Whether the step may roll back, and the number of its current transaction, once that has one.
        self._may_roll_back = False
        self._number: str | None = None
        self._before: _Settings | None = None
        self._touched = False

    @contextmanager
    def repeatable(self) -> Iterator[None]:
        """Declare that what the body commits can be run again."""
        self._repeatable = True
        try:
            yield
        finally:
            self._repeatable = False

    @contextmanager
    def step(self, ctx: MigrationContext, script: Script) -> Iterator[None]:
        """Run a step's own code in the body; put back afterwards what it has changed in the session."""
        self.half_done, self._begun, self._changed, self._touched = None, False, False, False
        if ctx.as_sql or ctx.connection is None:
            yield
            return
        self._step, self._ctx, self._thread = script, ctx, threading.get_ident()
        source = Path(script.path).read_text(encoding="utf-8", errors="replace")
        self._may_roll_back, self._number = bool(_MAY_ROLL_BACK.search(source)), None
        try:
            with self._bounded_otherwise():
                yield
            connection: Connection = ctx.connection
            if _status(connection) == _IN_ERROR:
                raise Stop(
                    f"step {script.revision} ({script.doc}) has caught an error of the database in "
                    f"{file_name(script.path)} and gone on: its transaction is lost with that",
                    "use a savepoint for what may fail: with op.get_bind().begin_nested(): ...; it was rolled back",
                    STEP_FAILED,
                )
            self._look(connection)
            if self._touched:
                self._put_back(connection)
        finally:
            self._step = self._ctx = None

    @contextmanager
    def followed(self, connection: Connection) -> Iterator[None]:
        """Follow the connection while the body runs, and bound the others that a step opens."""
        listeners: list[tuple[Any, str, Any, dict[str, Any]]] = [
            (connection, "before_cursor_execute", self._before_statement, {}),
            (connection, "after_cursor_execute", self._after_statement, {}),
            (connection, "commit", self._on_commit, {}),
            (connection, "rollback", self._on_rollback, {}),
            # A step may make engines of its own.
            (Engine, "connect", self._on_connect, {}),
            (Engine, "handle_error", self._on_error(connection), {}),
        ]
        with ExitStack() as removed:
            for target, name, function, options in listeners:
                event.listen(target, name, function, **options)
                removed.callback(event.remove, target, name, function)
            yield

    # The transaction ------------------------------------------------------------------------------------------------

    def _before_statement(self, connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if self._step is None:
            return
        self._look(connection)
        if self._may_roll_back and _MAY_ROLL_BACK.search(statement) and self._in_transaction(connection):
            self._number = _answer(connection, _GIVE_NUMBER)
        if not self._touched and _SETS.search(statement) and _status(connection) != _IN_ERROR:
            self._before = self._before or _settings(connection)
            self._touched = True

    def _after_statement(self, connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if self._step is None or driver_connection(connection).autocommit:
            return
        if _status(connection) == _IDLE:
            if _ROLLS_BACK.match(statement):
                self._refuse_lost_work("ROLLBACK")
            self._refuse_if_rolled_back(connection)
            self._ended(connection, "a COMMIT by SQL")
            return
        self._begun = True
        self._changed = self._changed or not _CHANGES_NOTHING.match(statement)
        if self._may_roll_back and self._in_transaction(connection):
            number = _answer(connection, _NUMBER)
            if number != self._number:
                self._refuse_if_rolled_back(connection)
            self._number = number

    def _look(self, connection: Connection) -> None:
        """Notice that the step has ended its transaction behind SQLAlchemy's back."""
        if self._begun and _status(connection) == _IDLE and not driver_connection(connection).autocommit:
            self._refuse_if_rolled_back(connection)
            self._ended(connection, "a COMMIT of its own")

    def _ended(self, connection: Connection, how: str) -> None:
        driver = driver_connection(connection)
        if getattr(driver, "status", None) == _SENT_BEGIN:
            # Without this, each statement from here on would be its own transaction.
            with driver.cursor() as cursor:
                cursor.execute("BEGIN")
        self._committed(connection, how)

    def _committed(self, connection: Connection, how: str) -> None:
        if not self._repeatable:
            self.half_done = how
        self._begun = self._changed = False
        self._number = None
        assert self._ctx is not None
        self._ctx._transaction = _Present(connection)  # type: ignore[assignment]

    def _on_commit(self, connection: Connection) -> None:
        if self._step is not None:
            self._committed(connection, "autocommit_block, or a commit of its own")

    def _on_rollback(self, connection: Connection) -> None:
        if self._step is None:
            return
        self._refuse_lost_work("rollback()")
        self._begun = False
        assert self._ctx is not None
        self._ctx._transaction = _Present(connection)  # type: ignore[assignment]

    def _in_transaction(self, connection: Connection) -> bool:
        return not driver_connection(connection).autocommit and _status(connection) == _IN_TRANSACTION

    def _refuse_if_rolled_back(self, connection: Connection) -> None:
        """Ask the server how the last transaction that had a number has ended: nobody else may have seen it."""
        number, self._number = self._number, None
        if number and _answer(connection, _WAS_ROLLED_BACK, number):
            self._refuse_lost_work("ROLLBACK")

    def _refuse_lost_work(self, how: str) -> None:
        if self._changed and self._step is not None:
            step, self._step = self._step, None
            raise Stop(
                f"step {step.revision} ({step.doc}) takes back its own work by a {how} at {place(step)}, and would be "
                "noted as done without it",
                "use a savepoint for what may fail: with op.get_bind().begin_nested(): ...; nothing of the step was "
                "committed, unless it has committed a part by itself before",
                STEP_FAILED,
            )

    # Other connections ----------------------------------------------------------------------------------------------

    @property
    def _bound(self) -> str:
        """How long a connection that the step opens waits for a lock: as long as the step itself, and no longer."""
        [timeout] = bounds({"lock_timeout": self._lock_timeout}).values()
        return timeout

    @contextmanager
    def _bounded_otherwise(self) -> Iterator[None]:
        """Bound what connects without SQLAlchemy: psycopg2, psycopg and psql by libpq's variable; asyncpg has none."""
        before = os.environ.get("PGOPTIONS")
        asyncpg = _asyncpg()
        connect = getattr(asyncpg, "_connect", None)
        os.environ["PGOPTIONS"] = f"{before or ''} -c lock_timeout={self._bound}".strip()
        if connect:
            asyncpg._connect = _with_setting(connect, {"lock_timeout": self._bound})
        try:
            yield
        finally:
            del os.environ["PGOPTIONS"]
            os.environ |= {"PGOPTIONS": before} if before is not None else {}
            if connect:
                asyncpg._connect = connect

    def _on_connect(self, driver: Any, _: Any) -> None:
        if self._mine() and type(driver).__module__.startswith(POSTGRESQL):
            # The drivers do not agree on how a value is marked, and this one is ours.
            cursor = driver.cursor()
            cursor.execute(f"/* tangga */ SET lock_timeout = '{self._bound}'")
            cursor.close()
            driver.commit()

    def _on_error(self, own: Connection) -> Any:
        def look(error: ExceptionContext) -> None:
            cause = error.original_exception
            if self._mine() and error.connection not in (None, own) and sqlstate(cause) == LOCK_NOT_AVAILABLE:
                assert self._step is not None
                raise Stop(
                    f"step {self._step.revision} ({self._step.doc}) waits for itself at {place(self._step)}: a second "
                    "connection wants what the step's own transaction holds",
                    "run it on op.get_bind(), which is the step's own connection; or commit what stands before it by "
                    "op.get_context().autocommit_block(). Nothing of the step was committed, unless by itself",
                    STEP_FAILED,
                )

        return look

    def _mine(self) -> bool:
        """Tell whether the step's own code is running here: who watches the step is another thread."""
        return self._step is not None and threading.get_ident() == self._thread

    # Settings -------------------------------------------------------------------------------------------------------

    def _put_back(self, connection: Connection) -> None:
        """Give the session its settings back: the next step, and alembic_version, are found where they were."""
        assert self._before is not None
        now, was = _settings(connection), self._before
        with driver_connection(connection).cursor() as cursor:
            if now.user != was.user:
                cursor.execute(_SET, ("session_authorization", was.user))
            if (now.user, now.role) != (was.user, was.role):
                cursor.execute(_SET, ("role", was.role))
            if json.loads(now.others) != json.loads(was.others) or now.user != was.user:
                cursor.execute(_PUT_BACK, (was.others,))


def place(step: Script) -> str:
    """Return the line of the step that is running, as file:line; the file alone if it is not on the stack."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == step.path:
            return f"{file_name(step.path)}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return file_name(step.path)


def _answer(connection: Connection, question: str, *values: str) -> Any:
    """Ask behind SQLAlchemy's back; outside of a transaction, without beginning one."""
    driver = driver_connection(connection)
    outside = _status(connection) == _IDLE and getattr(driver, "status", None) != _SENT_BEGIN
    with driver.cursor() as cursor:
        cursor.execute(question, values)
        [(answer,)] = cursor.fetchall()
    if outside:
        driver.rollback()
    return answer


def _status(connection: Connection) -> int:
    return int(driver_connection(connection).info.transaction_status)


@functools.cache
def _asyncpg() -> Any:
    """Return the module with the function that all of asyncpg connects by: a step may import it only when it runs."""
    return importlib.import_module("asyncpg.connect_utils") if find_spec("asyncpg") else None


def _with_setting(connect: Callable[..., Any], setting: dict[str, str]) -> Callable[..., Any]:
    """Return asyncpg's function with a setting of the session, unless its caller gives that one itself."""

    def connected(*given: Any, **named: Any) -> Any:
        return connect(*given, **named | {"server_settings": setting | (named.get("server_settings") or {})})

    return connected


def _settings(connection: Connection) -> _Settings:
    with driver_connection(connection).cursor() as cursor:
        cursor.execute(_SETTINGS)
        return _Settings(*cursor.fetchone())
