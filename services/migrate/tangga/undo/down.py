"""One step down: what it loses is found by running it, and saved before it is lost.

The step runs inside a savepoint. If it did something to rows that nobody has looked after, it is taken back, those
tables are locked against writers, what is about to go is saved, and it runs again, until nothing new shows. So a step
that loses nothing runs once, and what was saved is what was lost, whoever writes meanwhile.
"""

# ruff: noqa: S608 - names come from the catalogue, quoted by the server

import logging
from collections.abc import Callable
from pathlib import Path

from alembic.runtime.migration import MigrationContext
from alembic.script import Script
from sqlalchemy import Connection, text

from tangga.catalogue.sql import execute, one
from tangga.exits import STEP_FAILED, Stop
from tangga.journal import tables as bookkeeping
from tangga.undo.attempt import Attempt
from tangga.undo.captures import TRIGGER_FUNCTION, Capture
from tangga.undo.changes import Change, Table, changes, tables
from tangga.undo.saving import KINDS, NOTATION, Folder, Item, Save

logger = logging.getLogger("tangga.undo")

# A writer that is faster than this many locks does not exist; a step that does something else each time might.
_ATTEMPTS = 8


class Unforeseen(Exception):
    """What a step does cannot be found out without doing it."""


class Losses:
    """What one run of a step loses: saved as it is found, or only counted if there is no folder."""

    def __init__(self, connection: Connection, folder: Folder | None) -> None:
        self.items: list[Item] = []
        self._connection = connection
        self._folder = folder

    def add(self, item: Item, select: str) -> None:
        """Save what a query returns; nothing if that is no row."""
        item.rows = one(self._connection, f"SELECT count(*) FROM ({select}) AS lost")
        if item.rows:
            if self._folder:
                self._folder.write(self._connection, item, select)
            self.items.append(item)

    def dropped(self, table: Table, change: Change) -> None:
        """Save what is about to be dropped: a table, or the columns' values other than NULL."""
        key = table.key(change.columns)
        if change.dropped:
            names = table.names([*table.columns])
            self.add(Item("dropped-table", table.name, names, table.names(key), 0), _select(names, table))
        elif change.columns:
            # Without a key the whole row is kept: it may tell a person where the value belongs.
            names = table.names([*dict.fromkeys([*key, *sorted(change.columns)])] if key else [*table.columns])
            given = " OR ".join(f"{name} IS NOT NULL" for name in table.names(sorted(change.columns)))
            item = Item("dropped-columns", table.name, names, table.names(key), 0)
            self.add(item, f"{_select(names, table)} WHERE {given}")

    def everything(self, found: dict[int, Table]) -> None:
        """Save all tables, because nobody knows which of them will lose something."""
        execute(self._connection, NOTATION)
        for table in found.values():
            names = table.names([*table.columns])
            if table.parent is None and names:
                self.add(Item("whole-table", table.name, names, table.names(table.key()), 0), _select(names, table))
        execute(self._connection, "SET LOCAL row_security = on")


def down(
    ctx: MigrationContext, script: Script, run: Callable[[], None], directory: Path | None, *, last: bool = False
) -> list[Item]:
    """Run a step's downgrade (`run`) in the open transaction and return what it loses.

    With a directory, that is saved there first; raises Stop if it cannot be. Without one this is a preview: nothing is
    saved, and the caller rolls back; `last`: no other step is previewed after this one. Raises Unforeseen in a preview
    of a step that cannot be run in a transaction.
    """
    connection = ctx.connection
    assert connection is not None
    if one(connection, "SHOW track_counts") != "on":
        raise Stop(
            "track_counts is off, so the rows that a step deletes or changes cannot be seen; the step was not run",
            "ALTER SYSTEM SET track_counts = on, as a superuser, and reload",
            STEP_FAILED,
        )
    # Made now, or a step that is taken back would take them with it.
    bookkeeping.prepare(ctx)
    known: dict[int, Change] = {}
    for _ in range(_ATTEMPTS):
        folder = Folder(directory, _save(connection, script)) if directory else None
        losses, attempt = Losses(connection, folder), Attempt(ctx)
        before = tables(connection)
        if directory and known:
            names = ", ".join(before[oid].name for oid in known if oid in before)
            execute(connection, f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE")
        savepoint = connection.begin_nested()
        try:
            captures = _prepare(connection, before, known, losses)
            if last and known and not captures and not directory:
                savepoint.rollback()
                return losses.items
            try:
                with attempt:
                    run()
            except Exception as error:
                if not attempt.explains(error):
                    raise
                if folder is None:
                    raise Unforeseen(str(error).strip().partition("\n")[0]) from error
                savepoint.rollback()
                folder.abandon()
                folder = Folder(folder.path.parent, _save(connection, script))
                losses = Losses(connection, folder)
                losses.everything(before)
                folder.finish()
                _report(folder, losses.items)
                break
            after = tables(connection)
            found = changes(before, after)
            if any(known.get(oid) != known.get(oid, Change()) | change for oid, change in found.items()):
                savepoint.rollback()
                if folder:
                    folder.abandon()
                known = {oid: known.get(oid, Change()) | found.get(oid, Change()) for oid in known | found}
                continue
            _collect(connection, captures, after, losses)
            if folder:
                folder.finish()
                _report(folder, losses.items)
            if attempt.complete or not directory:
                savepoint.commit()
                return losses.items
            savepoint.rollback()
            break
        except BaseException:
            if folder:
                folder.abandon()
            raise
    else:
        raise Unforeseen(f"step {script.revision} does something else each time it is run")
    # Parts of the step must run outside a transaction. What it loses is saved; now for good.
    run()
    return losses.items


def _prepare(
    connection: Connection, before: dict[int, Table], known: dict[int, Change], losses: Losses
) -> list[Capture]:
    """Save what will be dropped, and make ready to catch what will be deleted or changed."""
    if not known:
        return []
    execute(connection, NOTATION)
    captures = []
    for oid, change in known.items():
        table = before.get(oid)
        if table is None or _with_parent(table, change, known):
            continue
        losses.dropped(table, change)
        if change.dropped:
            continue
        everything = [*table.columns]
        if change.rewritten or (change.written and (table.parent or table.partitioned)):
            captures.append(Capture(oid, table, everything, change.columns))
        elif change.written:
            captures.append(Capture(oid, table, everything, change.columns, by_triggers=True))
        if change.retyped and not change.rewritten:
            numbers = [*dict.fromkeys([*table.key(change.columns), *sorted(change.retyped)])]
            captures.append(Capture(oid, table, numbers, change.columns))
    if any(capture.by_triggers for capture in captures):
        execute(connection, TRIGGER_FUNCTION)
    for number, capture in enumerate(captures):
        capture.begin(connection, f"undo_{number}")
    # The step itself runs under the usual rules.
    execute(connection, "SET LOCAL row_security = on")
    return captures


def _collect(connection: Connection, captures: list[Capture], after: dict[int, Table], losses: Losses) -> None:
    """Save what was caught, as far as it is really gone, and clear away what caught it."""
    if not captures:
        return
    execute(connection, NOTATION)
    for capture in captures:
        for item, select in capture.lost(connection, after[capture.oid]):
            losses.add(item, select)
        capture.end(connection)
    execute(connection, "DROP FUNCTION IF EXISTS pg_temp.undo_capture() CASCADE")
    execute(connection, "SET LOCAL row_security = on")


def _with_parent(table: Table, change: Change, known: dict[int, Change]) -> bool:
    """Tell whether a partition goes the way of its table, with whose rows its own are saved."""
    above = known.get(table.parent or 0, Change())
    return (change.dropped and above.dropped) or bool(change.columns and above.columns)


def _save(connection: Connection, script: Script) -> Save:
    # In UTC, whatever the session's time zone.
    now, database = connection.execute(
        text("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US'), current_database()")
    ).one()
    return Save(script.revision, script.doc, f"{now}+00:00", database)


def _report(folder: Folder, items: list[Item]) -> None:
    for item in items:
        logger.info("saved %s: %s rows (%s)", item, f"{item.rows:,}", KINDS[item.kind])
        if not item.key and item.kind in ("dropped-columns", "changed-rows"):
            logger.warning(
                "%s has no key that tells its rows apart: restore-data cannot put these back, the whole rows are in %s",
                item.table, folder.path / item.file,
            )  # fmt: skip
    if items:
        logger.info("saved in %s; after the next upgrade, restore-data puts it back", folder.path)


def _select(names: list[str], table: Table) -> str:
    return f"SELECT {', '.join(names)} FROM {table.rows}"
