"""One step down: what it loses is found by running it, and saved before it is lost.

The step runs inside a savepoint. If it did something to rows that nobody has looked after, it is taken back, those
tables are locked against writers, what is about to go is saved, and it runs again, until nothing new shows. So a step
that loses nothing runs once, and what was saved is what was lost, whoever writes meanwhile.
"""

import logging
from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path

from alembic.runtime.migration import MigrationContext
from alembic.script import Script
from sqlalchemy import Connection, text

from tangga.catalogue.sql import execute, one
from tangga.exits import STEP_FAILED, Stop
from tangga.journal.tables import prepare
from tangga.undo.attempt import Attempt
from tangga.undo.catching import Losses, catch, collect
from tangga.undo.changes import Change, Table, changes, tables
from tangga.undo.saves import KINDS, Item, Save
from tangga.undo.saving import Folder

logger = logging.getLogger("tangga.undo")

# A writer that is faster than this many locks does not exist; a step that does something else each time might.
_ATTEMPTS = 8


class Unforeseen(Exception):
    """What a step does cannot be found out without doing it."""


def down(
    ctx: MigrationContext, script: Script, run: Callable[[], None], directory: Path | None, *, last: bool = False
) -> list[Item]:
    """Run a step's downgrade (`run`) in the open transaction and return what it loses.

    With a directory, that is saved there first; raises Stop if it cannot be. Without one this is a preview: nothing is
    saved, and the caller rolls back; `last`: no other step is previewed after this one. Raises Unforeseen in a preview
    of a step that cannot be run in a transaction.
    """
    assert ctx.connection is not None
    _require_counters(ctx.connection)
    # Made now, or a step that is taken back would take them with it.
    prepare(ctx)
    descent = _Descent(ctx, script, run, directory, last=last)
    for _ in range(_ATTEMPTS):
        state = descent.attempt()
        if state in (_State.SAVED, _State.ALL_SAVED):
            # Parts of the step must run outside a transaction. What it loses is saved; now for good.
            run()
        if state is not _State.LEARNED:
            return descent.losses.items
    raise Unforeseen(f"step {script.revision} does something else each time it is run")


class _State(Enum):
    """What an attempt has come to. Except for DONE, the step is taken back."""

    DONE = auto()  # it has run, and what it lost is saved
    LEARNED = auto()  # it did something that nobody had looked after: known now
    FORESEEN = auto()  # a preview that knows enough without running it once more
    SAVED = auto()  # what it loses is saved; a part of it must run outside a transaction
    ALL_SAVED = auto()  # it cannot run inside a transaction, so every table is saved


class _Descent:
    """One step on its way down, attempt by attempt: what is known of it, and the folder of the present attempt."""

    def __init__(
        self,
        ctx: MigrationContext,
        script: Script,
        run: Callable[[], None],
        directory: Path | None,
        *,
        last: bool,
    ) -> None:
        assert ctx.connection is not None
        self._ctx, self._connection = ctx, ctx.connection
        self._script, self._run, self._directory, self._last = script, run, directory, last
        self._known: dict[int, Change] = {}
        self._before: dict[int, Table] = {}
        self._folder: Folder | None = None
        self.losses = Losses(self._connection, None)

    def attempt(self) -> _State:
        """Run the step inside a savepoint, and return what that has come to."""
        self._open_folder()
        self._before = tables(self._connection)
        self._lock_known()
        savepoint = self._connection.begin_nested()
        try:
            state = self._tried()
            if state is _State.DONE:
                savepoint.commit()
            else:
                savepoint.rollback()
            if state is _State.LEARNED:
                self._abandon()
            elif state is _State.ALL_SAVED:
                self._save_everything()
        except BaseException:
            self._abandon()
            raise
        return state

    def _tried(self) -> _State:
        captures = catch(self._connection, self._before, self._known, self.losses)
        if self._last and self._known and not captures and not self._directory:
            return _State.FORESEEN
        attempt = Attempt(self._ctx)
        try:
            with attempt:
                self._run()
        except Exception as error:
            if not attempt.explains(error):
                raise
            if self._folder is None:
                raise Unforeseen(str(error).strip().partition("\n")[0]) from error
            return _State.ALL_SAVED
        after = tables(self._connection)
        if self._learned(changes(self._before, after)):
            return _State.LEARNED
        collect(self._connection, captures, after, self.losses)
        self._finish()
        return _State.DONE if attempt.complete or not self._directory else _State.SAVED

    def _learned(self, found: dict[int, Change]) -> bool:
        """Add what an attempt did to what is known; tell whether that is more than was looked after."""
        known = {oid: self._known.get(oid, Change()) | change for oid, change in found.items()}
        if all(self._known.get(oid) == change for oid, change in known.items()):
            return False
        self._known |= known
        return True

    def _lock_known(self) -> None:
        """Keep writers away from the tables that lose something, so that what is saved is what is lost."""
        if self._directory and self._known:
            names = ", ".join(self._before[oid].name for oid in self._known if oid in self._before)
            execute(self._connection, f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE")

    def _save_everything(self) -> None:
        """Save every table, in a folder that begins now: of what an attempt has written, nothing is whole."""
        self._abandon()
        self._open_folder()
        self.losses.everything(self._before)
        self._finish()

    def _open_folder(self) -> None:
        self._folder = Folder(self._directory, _save(self._connection, self._script)) if self._directory else None
        self.losses = Losses(self._connection, self._folder)

    def _finish(self) -> None:
        if self._folder:
            self._folder.finish()
            _report(self._folder, self.losses.items)

    def _abandon(self) -> None:
        if self._folder:
            self._folder.abandon()


def _require_counters(connection: Connection) -> None:
    if one(connection, "SHOW track_counts") != "on":
        raise Stop(
            "track_counts is off, so the rows that a step deletes or changes cannot be seen; the step was not run",
            "ALTER SYSTEM SET track_counts = on, as a superuser, and reload",
            STEP_FAILED,
        )


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
