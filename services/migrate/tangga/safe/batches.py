"""Change every row of a table that is in use, in batches, each its own transaction.

    backfill("posts", "kota = ''", where="kota IS NULL")

A batch is one statement, which changes the rows and moves the cursor in migration_backfill: a migrator that is killed
loses nothing, and no row is changed twice, whatever `where` says. The last key is fixed at the start: rows that come
later are the application's to fill (a default, a trigger, or code that knows the column). Batches grow and shrink to a
quarter of a second, and make room when the server is busy.
"""

# ruff: noqa: S608 - names are quoted; the rest is SQL of the revision's author

import logging
import time
from collections.abc import Collection
from typing import Any

from alembic import op
from alembic.runtime.migration import MigrationContext, MigrationInfo
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from tangga.catalogue import ours
from tangga.guard.blockers import Retries, described, gave_way, sessions
from tangga.guard.steps import Steps
from tangga.journal import tables
from tangga.safe.cursor import Changed, Cursor
from tangga.safe.escaping import escaped
from tangga.safe.pace import Pace

logger = logging.getLogger("tangga.backfill")

_REPORT_SECONDS = 2
# While a batch waits for a row that somebody has locked, it holds the rows that it has changed. Below deadlock_timeout
# (1 s), so that in a circle it is always the batch that gives way.
_ROW_LOCK_TIMEOUT = "500ms"

_SHORTEN_LOCK_TIMEOUT = text("""
    SELECT set_config('lock_timeout', :shorter, false) FROM pg_settings
    WHERE name = 'lock_timeout'
      AND (setting::integer = 0 OR setting::integer * interval '1 ms' > CAST(:shorter AS interval))
""")


def backfill(
    table: str,
    assignments: str,
    *,
    where: str = "true",
    key: str = "id",
    name: str | None = None,
    batch_size: int = 1000,
) -> None:
    """Run UPDATE `table` SET `assignments` WHERE `where`, in batches by ranges of `key`.

    `key` is a column that is unique and never NULL. `name` tells two backfills of one table in one step apart.
    `batch_size` is the number of rows to begin with. Commits what stands before it in the step. With `--sql`, it is one
    UPDATE. Raises ValueError for a key or a name that will not do, Stop if rows stay locked for MIGRATE_LOCK_RETRY_FOR.
    """
    ctx = op.get_context()
    steps = Steps.of(ctx)
    name = name or table
    if name in steps.backfills:
        raise ValueError(f"two backfills of one step are called {name}: give each a name of its own (name=...)")
    steps.backfills.add(name)
    quoted = ctx.dialect.identifier_preparer.quote
    update = f"UPDATE {quoted(table)} SET {assignments} WHERE ({where})"
    if ctx.as_sql:
        ctx.impl.static_output(
            f"-- backfill of {table}: alembic upgrade runs this in batches, each its own transaction"
        )
        op.execute(text(escaped(update)))
        return
    tables.prepare(ctx)
    with steps.repeatable(), ctx.autocommit_block():
        connection = op.get_bind()
        connection.execute(_SHORTEN_LOCK_TIMEOUT, {"shorter": _ROW_LOCK_TIMEOUT})
        cursor = Cursor(
            connection, _revision(steps), name, table=quoted(table), key=quoted(key), column=key, update=update
        )
        _Backfill(steps, connection, cursor, Pace(batch_size)).run()
        steps.reset_timeouts()


def forget(ctx: MigrationContext, step: MigrationInfo, heads: Collection[Any], run_args: dict[str, Any]) -> None:
    """Alembic's on_version_apply hook: in the transaction that writes alembic_version, the cursors have served.

    On the way down all go: the tables that they walk through may go too.
    """
    del heads, run_args
    # A step that has a backfill has run it in this process, be it for the second time.
    if (ctx.as_sql or step.is_upgrade) and not Steps.of(ctx).backfills:
        return
    delete = f"DELETE FROM {ours.backfill()}"
    if step.is_upgrade:
        delete += f" WHERE revision IN ({', '.join(repr(revision) for revision in step.up_revision_ids)})"
    ctx.impl.execute(text(escaped(delete)))


def _revision(steps: Steps) -> str:
    assert steps.current is not None
    return str(steps.current.revision.revision)


class _Backfill:
    """The batches of one backfill, one after the other, and what is said of them."""

    def __init__(self, steps: Steps, connection: Connection, cursor: Cursor, pace: Pace) -> None:
        self._steps, self._connection, self._cursor, self._pace = steps, connection, cursor, pace
        self._table = cursor.table
        self._retries: Retries | None = None
        self._began = self._reported = time.monotonic()
        self._done_before = 0

    def run(self) -> None:
        """Run all batches that are left."""
        at = self._start()
        last, self._done_before = at.last_key, at.rows_done
        while not at.finished:
            upper, rows = self._cursor.next(last, at.end_key, self._pace.size)
            if upper is None:
                self._cursor.finish()
                break
            began = time.monotonic()
            changed = self._changed(last, upper, rows)
            if changed is None:
                last = self._cursor.read().last_key
                self._pace.gave_way()
                continue
            last = upper
            pause = self._pace.pause_after(time.monotonic() - began, rows, changed.waiting)
            self._report(changed, at.rows_total, making_room=pause > 0)
            time.sleep(pause)
        at = self._cursor.read()
        logger.info(
            "%s: %s rows, %s of them changed, in %.1f s, of which %.1f s to make room",
            self._table, f"{at.rows_done:,}", f"{at.rows_changed:,}", time.monotonic() - self._began,
            self._pace.paused,
        )  # fmt: skip

    def _start(self) -> Any:
        """Begin, or go on where an earlier run stopped; wait until all rows up to the last key can be seen."""
        new = self._cursor.start()
        at = self._cursor.read()
        if not new and not at.finished:
            logger.info("%s: goes on after %s of %s rows", self._table, f"{at.rows_done:,}", f"{at.rows_total:,}")
        if not at.finished:
            self._wait_for_writers()
        return at

    def _wait_for_writers(self) -> None:
        """A row that a transaction still open has written, below the last key, would be passed by: wait for its end."""
        began = reported = time.monotonic()
        left = open_now = self._cursor.writers()
        limit = self._steps.settings.lock_retry_for
        while left := left & open_now:
            time.sleep(0.05)
            now = time.monotonic()
            found = sessions(self._connection, [pid for pid, _ in left], self._table)
            if now - began > limit:
                Retries(0, began).pause("the backfill needs the rows that open transactions have written", found)
            if now - reported >= _REPORT_SECONDS:
                logger.info("%s: waiting for transactions that have written to it; %s", self._table, described(found))
                reported = now
            open_now = self._cursor.writers()

    def _changed(self, last: str | None, upper: str, rows: int) -> Changed | None:
        """Change a batch; None if it is to be tried again: rows stay locked, or the cursor is not where it was."""
        began = time.monotonic()
        try:
            changed = self._cursor.change(last, upper, rows)
        except DBAPIError as error:
            if not gave_way(error):
                raise
            self._retries = self._retries or Retries(self._steps.settings.lock_retry_for)
            self._retries.pause(f"a batch of {rows:,} rows was rolled back", self._steps.blockers(began))
            return None
        self._retries = None
        return changed

    def _report(self, changed: Changed, total: int, *, making_room: bool) -> None:
        """Say every few seconds how far it is."""
        now = time.monotonic()
        if now - self._reported < _REPORT_SECONDS:
            return
        rate = (changed.rows_done - self._done_before) / (now - self._began)
        logger.info(
            "%s: %s of %s rows, %s a second, %.0f s left%s",
            self._table, f"{changed.rows_done:,}", f"{total:,}", f"{rate:,.0f}",
            max(0, total - changed.rows_done) / rate, "; making room for others" if making_room else "",
        )  # fmt: skip
        self._reported = now
