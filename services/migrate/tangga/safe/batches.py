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
from typing import Any, NamedTuple

from alembic import op
from alembic.runtime.migration import MigrationContext, MigrationInfo
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from tangga.guard.blockers import Retries, described, gave_way, sessions
from tangga.guard.steps import Steps
from tangga.journal import tables

logger = logging.getLogger("tangga.backfill")

_BATCH_SECONDS = 0.25
_LARGEST_BATCH = 50_000
_SMALLEST_BATCH = 10
_LONGEST_PAUSE = 2.0
_REPORT_SECONDS = 2
# While a batch waits for a row that somebody has locked, it holds the rows that it has changed. Below deadlock_timeout
# (1 s), so that in a circle it is always the batch that gives way.
_ROW_LOCK_TIMEOUT = "500ms"

_KEY = text("""
    SELECT format_type(atttypid, atttypmod) AS type,
           attnotnull AND EXISTS (
               SELECT FROM pg_index WHERE indrelid = attrelid AND indisunique AND indisvalid AND indpred IS NULL
                 AND indnkeyatts = 1 AND indkey[0] = attnum
           ) AS usable
    FROM pg_attribute WHERE attrelid = CAST(:table AS regclass) AND attname = :key AND NOT attisdropped
""")
_READ = text("SELECT * FROM migration_backfill WHERE revision = :revision AND name = :name")
_FINISH = text("UPDATE migration_backfill SET finished = true WHERE revision = :revision AND name = :name")
# Transactions that have written to the table and are still open.
_WRITERS = text("""
    SELECT pid, virtualtransaction FROM pg_locks
    WHERE relation = CAST(:table AS regclass)
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND granted AND pid <> pg_backend_pid() AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock')
""")
_SHORTEN_LOCK_TIMEOUT = text("""
    SELECT set_config('lock_timeout', :shorter, false) FROM pg_settings
    WHERE name = 'lock_timeout'
      AND (setting::integer = 0 OR setting::integer * interval '1 ms' > CAST(:shorter AS interval))
""")


class _Batch(NamedTuple):
    """What a batch has done: in all so far, and the sessions that waited for it at its end."""

    rows_done: int
    rows_changed: int
    waiting: int


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
        _Backfill(steps, connection, quoted(table), quoted(key), key, name, update).run(batch_size)
        steps.reset_timeouts()


def forget(ctx: MigrationContext, step: MigrationInfo, heads: Collection[Any], run_args: dict[str, Any]) -> None:
    """Alembic's on_version_apply hook: in the transaction that writes alembic_version, the cursors have served.

    On the way down all go: the tables that they walk through may go too.
    """
    del heads, run_args
    # A step that has a backfill has run it in this process, be it for the second time.
    if (ctx.as_sql or step.is_upgrade) and not Steps.of(ctx).backfills:
        return
    delete = "DELETE FROM migration_backfill"
    if step.is_upgrade:
        delete += f" WHERE revision IN ({', '.join(repr(revision) for revision in step.up_revision_ids)})"
    ctx.impl.execute(text(escaped(delete)))


class _Backfill:
    def __init__(
        self, steps: Steps, connection: Connection, table: str, key: str, column: str, name: str, update: str
    ) -> None:
        assert steps.current is not None
        self.steps, self.connection, self.table, self.key = steps, connection, table, key
        self.id = {"revision": steps.current.revision.revision, "name": name}
        self.update = update
        found = connection.execute(_KEY, {"table": table, "key": column}).one_or_none()
        if found is None or not found.usable:
            raise ValueError(f"the backfill of {table} needs a key that is unique and never NULL; {key} is not")
        self.type = found.type
        self.retries: Retries | None = None

    def run(self, size: int) -> None:
        """Run all batches that are left, beginning with so many rows."""
        start = reported = time.monotonic()
        best = float("inf")
        paused = 0.0
        at = self._start()
        last, done_before = at.last_key, at.rows_done
        while not at.finished:
            upper, rows = self._next(last, at.end_key, size)
            if upper is None:
                self.connection.execute(_FINISH, self.id)
                break
            began = time.monotonic()
            batch = self._change(last, upper, rows)
            now = time.monotonic()
            if batch is None:
                last = self._read().last_key
                size = max(_SMALLEST_BATCH, size // 2)
                continue
            last, seconds = upper, now - began
            # What was best is forgotten slowly: rows that `where` leaves out go faster than others ever can.
            best = min(best * 1.02, seconds / rows)
            pause = _pause(seconds, seconds / rows / best, batch.waiting)
            if now - reported >= _REPORT_SECONDS:
                rate = (batch.rows_done - done_before) / (now - start)
                logger.info(
                    "%s: %s of %s rows, %s a second, %.0f s left%s",
                    self.table, f"{batch.rows_done:,}", f"{at.rows_total:,}", f"{rate:,.0f}",
                    max(0, at.rows_total - batch.rows_done) / rate, "; making room for others" if pause else "",
                )  # fmt: skip
                reported = now
            size = _next_size(size, seconds, batch.waiting)
            time.sleep(pause)
            paused += pause
        at = self._read()
        logger.info(
            "%s: %s rows, %s of them changed, in %.1f s, of which %.1f s to make room",
            self.table, f"{at.rows_done:,}", f"{at.rows_changed:,}", time.monotonic() - start, paused,
        )  # fmt: skip

    def _start(self) -> Any:
        """Fix the last key, or find what an earlier run has done, and wait until all rows up to the key can be seen."""
        values = {**self.id, "statement": self.update}
        inserted = self.connection.execute(
            text(f"""
                INSERT INTO migration_backfill (revision, name, statement, end_key, rows_total)
                SELECT :revision, :name, :statement,
                       (SELECT {self.key} FROM {self.table} ORDER BY 1 DESC LIMIT 1)::text,
                       (SELECT count(*) FROM {self.table})
                ON CONFLICT DO NOTHING
            """),
            values,
        )
        at = self._read()
        if at.statement != self.update:
            raise ValueError(
                f"the backfill {self.id['name']} was begun with another UPDATE, which has changed {at.rows_changed:,} "
                f"rows: {at.statement}. Put that back, or, to begin again: DELETE FROM migration_backfill"
            )
        if not inserted.rowcount and not at.finished:
            logger.info("%s: goes on after %s of %s rows", self.table, f"{at.rows_done:,}", f"{at.rows_total:,}")
        if not at.finished:
            self._wait_for_writers()
        return at

    def _read(self) -> Any:
        return self.connection.execute(_READ, self.id).one()

    def _wait_for_writers(self) -> None:
        """A row that a transaction still open has written, below the last key, would be passed by: wait for its end."""
        began = reported = time.monotonic()
        left = open_now = self._writers()
        limit = self.steps.settings.lock_retry_for
        while left := left & open_now:
            time.sleep(0.05)
            now = time.monotonic()
            found = sessions(self.connection, [pid for pid, _ in left], self.table)
            if now - began > limit:
                Retries(0, began).pause("the backfill needs the rows that open transactions have written", found)
            if now - reported >= _REPORT_SECONDS:
                logger.info("%s: waiting for transactions that have written to it; %s", self.table, described(found))
                reported = now
            open_now = self._writers()

    def _writers(self) -> set[tuple[int, str]]:
        return {(row.pid, row.virtualtransaction) for row in self.connection.execute(_WRITERS, {"table": self.table})}

    def _next(self, last: str | None, end: str | None, size: int) -> tuple[str | None, int]:
        """Return the last key of the next batch, and how many rows it has; (None, 0) past the end.

        The end is compared outside: inside, the planner would rather sort the rest of the table than walk its index.
        """
        after = f"WHERE {self.key} > CAST(:last AS {self.type})" if last is not None else ""
        row = self.connection.execute(
            text(f"""
                SELECT (array_agg(key))[count(*)]::text, count(*) FROM (
                    SELECT {self.key} AS key FROM {self.table} {after} ORDER BY 1 LIMIT :size
                ) AS batch WHERE key <= CAST(:end AS {self.type})
            """),
            {"last": last, "end": end, "size": size},
        ).one()
        return row[0], row[1]

    def _change(self, last: str | None, upper: str, rows: int) -> _Batch | None:
        """Change the rows up to a key and move the cursor there; None if it is not where it was, or rows stay locked.

        The cursor's row is locked first: the server may still be busy with the last batch of a killed migrator.
        """
        after = f"{self.key} > CAST(:last AS {self.type}) AND" if last is not None else ""
        statement = text(f"""
            WITH progress AS (
                SELECT FROM migration_backfill
                WHERE revision = :revision AND name = :name AND last_key IS NOT DISTINCT FROM :last FOR UPDATE
            ), changed AS (
                {escaped(self.update)} AND EXISTS (SELECT FROM progress)
                  AND {after} {self.key} <= CAST(:upper AS {self.type}) RETURNING 1
            )
            UPDATE migration_backfill
            SET last_key = :upper, rows_done = rows_done + :rows,
                rows_changed = rows_changed + (SELECT count(*) FROM changed)
            WHERE revision = :revision AND name = :name AND EXISTS (SELECT FROM progress)
            RETURNING rows_done, rows_changed, (
                SELECT count(*) FROM pg_stat_activity
                WHERE CASE WHEN wait_event_type = 'Lock' THEN pg_backend_pid() = ANY (pg_blocking_pids(pid)) END
            )
        """)
        began = time.monotonic()
        try:
            row = self.connection.execute(
                statement, {**self.id, "last": last, "upper": upper, "rows": rows}
            ).one_or_none()
        except DBAPIError as error:
            if not gave_way(error):
                raise
            self.retries = self.retries or Retries(self.steps.settings.lock_retry_for)
            self.retries.pause(f"a batch of {rows:,} rows was rolled back", self.steps.blockers(began))
            return None
        self.retries = None
        return _Batch(*row) if row else None


def _pause(seconds: float, slowness: float, waiting: int) -> float:
    """Return how long to pause after a batch that took `seconds`, `slowness` times the best of lately.

    Not at all up to twice the best; then up to as long as the batch took; as long again for each session that waited.
    """
    return min(_LONGEST_PAUSE, seconds * (min(1.0, max(0.0, slowness - 2)) + waiting))


def _next_size(size: int, seconds: float, waiting: int) -> int:
    """Return how many rows the next batch should have, to take as long as batches should.

    Fewer if somebody waited for this one; but who waits for a moment is helped by the pause, not by smaller batches.
    """
    wanted = 0.5 if waiting and seconds > _BATCH_SECONDS / 5 else min(2.0, max(0.5, _BATCH_SECONDS / seconds))
    return max(_SMALLEST_BATCH, min(_LARGEST_BATCH, int(size * wanted)))


def escaped(sql: str) -> str:
    """Return an author's SQL as `sqlalchemy.text` wants it: a colon in it is a colon, and no parameter."""
    return sql.replace(":", "\\:")
