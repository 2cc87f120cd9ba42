"""How far a backfill has come: its row in migration_backfill, which moves in the statement that changes a batch."""

# ruff: noqa: S608 - names are quoted; the rest is SQL of the revision's author

from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from tangga.catalogue.ours import backfill
from tangga.safe.escaping import escaped

_KEY = text("""
    SELECT format_type(atttypid, atttypmod) AS type,
           attnotnull AND EXISTS (
               SELECT FROM pg_index WHERE indrelid = attrelid AND indisunique AND indisvalid AND indpred IS NULL
                 AND indnkeyatts = 1 AND indkey[0] = attnum
           ) AS usable
    FROM pg_attribute WHERE attrelid = CAST(:table AS regclass) AND attname = :key AND NOT attisdropped
""")
_READ = "SELECT * FROM {backfill} WHERE revision = :revision AND name = :name"
_FINISH = "UPDATE {backfill} SET finished = true WHERE revision = :revision AND name = :name"
# Transactions that have written to the table and are still open.
_WRITERS = text("""
    SELECT pid, virtualtransaction FROM pg_locks
    WHERE relation = CAST(:table AS regclass)
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND granted AND pid <> pg_backend_pid() AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock')
""")


class Changed(NamedTuple):
    """What a batch has done: in all so far, and the sessions that waited for it at its end."""

    rows_done: int
    rows_changed: int
    waiting: int


class Cursor:
    """The walk of one backfill through a table, in the order of a key.

    Names are quoted, but for `column`, the key's own. Raises ValueError if the key is not unique, or may be NULL.
    """

    def __init__(
        self, connection: Connection, revision: str, name: str, *, table: str, key: str, column: str, update: str
    ) -> None:
        self.table = table
        self.name = name
        self._connection, self._key, self._update = connection, key, update
        self._id = {"revision": revision, "name": name}
        found = connection.execute(_KEY, {"table": table, "key": column}).one_or_none()
        if found is None or not found.usable:
            raise ValueError(f"the backfill of {table} needs a key that is unique and never NULL; {key} is not")
        self._type = found.type

    def start(self) -> bool:
        """Fix the last key; tell whether that is done now, and not by an earlier run.

        Raises ValueError if the earlier run had another UPDATE.
        """
        values = {**self._id, "statement": self._update}
        inserted = self._connection.execute(
            text(f"""
                INSERT INTO {backfill()} (revision, name, statement, end_key, rows_total)
                SELECT :revision, :name, :statement,
                       (SELECT {self._key} FROM {self.table} ORDER BY 1 DESC LIMIT 1)::text,
                       (SELECT count(*) FROM {self.table})
                ON CONFLICT DO NOTHING
            """),
            values,
        )
        at = self.read()
        if at.statement != self._update:
            raise ValueError(
                f"the backfill {self.name} was begun with another UPDATE, which has changed {at.rows_changed:,} "
                f"rows: {at.statement}. Put that back, or, to begin again: DELETE FROM {backfill()}"
            )
        return bool(inserted.rowcount)

    def read(self) -> Any:
        """Return the row of migration_backfill."""
        return self._connection.execute(text(_READ.format(backfill=backfill())), self._id).one()

    def finish(self) -> None:
        """Note that all rows are done."""
        self._connection.execute(text(_FINISH.format(backfill=backfill())), self._id)

    def writers(self) -> set[tuple[int, str]]:
        """Return the transactions that have written to the table and are still open: pid and virtual transaction."""
        return {(row.pid, row.virtualtransaction) for row in self._connection.execute(_WRITERS, {"table": self.table})}

    def next(self, last: str | None, end: str | None, size: int) -> tuple[str | None, int]:
        """Return the last key of the next batch, and how many rows it has; (None, 0) past the end.

        The end is compared outside: inside, the planner would rather sort the rest of the table than walk its index.
        """
        after = f"WHERE {self._key} > CAST(:last AS {self._type})" if last is not None else ""
        row = self._connection.execute(
            text(f"""
                SELECT (array_agg(key))[count(*)]::text, count(*) FROM (
                    SELECT {self._key} AS key FROM {self.table} {after} ORDER BY 1 LIMIT :size
                ) AS batch WHERE key <= CAST(:end AS {self._type})
            """),
            {"last": last, "end": end, "size": size},
        ).one()
        return row[0], row[1]

    def change(self, last: str | None, upper: str, rows: int) -> Changed | None:
        """Change the rows up to a key and move the cursor there; None if it is not where it was.

        The cursor's row is locked first: the server may still be busy with the last batch of a killed migrator.
        """
        after = f"{self._key} > CAST(:last AS {self._type}) AND" if last is not None else ""
        statement = text(f"""
            WITH progress AS (
                SELECT FROM {backfill()}
                WHERE revision = :revision AND name = :name AND last_key IS NOT DISTINCT FROM :last FOR UPDATE
            ), changed AS (
                {escaped(self._update)} AND EXISTS (SELECT FROM progress)
                  AND {after} {self._key} <= CAST(:upper AS {self._type}) RETURNING 1
            )
            UPDATE {backfill()}
            SET last_key = :upper, rows_done = rows_done + :rows,
                rows_changed = rows_changed + (SELECT count(*) FROM changed)
            WHERE revision = :revision AND name = :name AND EXISTS (SELECT FROM progress)
            RETURNING rows_done, rows_changed, (
                SELECT count(*) FROM pg_stat_activity
                WHERE CASE WHEN wait_event_type = 'Lock' THEN pg_backend_pid() = ANY (pg_blocking_pids(pid)) END
            )
        """)
        values = {**self._id, "last": last, "upper": upper, "rows": rows}
        row = self._connection.execute(statement, values).one_or_none()
        return Changed(*row) if row else None
