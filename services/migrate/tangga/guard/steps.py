"""The steps of one command, each with what guards it.

Alembic computes the list of steps from where the database is, and runs them one by one. `Steps` puts itself between: it
keeps the list, so that a second try goes on where the first stopped (computed again, `+2` would go two further), and
surrounds each step with its own time-outs. A step overrides them by module attributes, in PostgreSQL's notation:

    lock_timeout = "500ms"
    statement_timeout = "2h"
"""

import functools
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationStep, RevisionStep
from sqlalchemy import Connection, event

from services.api.settings import MigrateSettings
from tangga.guard.command import is_stamp, require_version
from services.migrate.backups import require_backup
from tangga.guard.blockers import Blocker, Retries, Watch, gave_way, pid_of
from tangga.exits import TABLE_LOCK_NOT_OBTAINED, Stop
from tangga.revision.version_rows import refuse_surplus

TIMEOUTS = ("lock_timeout", "statement_timeout")


def timeouts(settings: MigrateSettings) -> dict[str, str]:
    """Return PostgreSQL's settings for the session that migrates (as text, with units)."""
    return {
        # A step that queues behind a long transaction makes everybody else queue behind it: better to give up early.
        "lock_timeout": f"{int(settings.migrate_lock_timeout * 1000)}ms",
        "statement_timeout": f"{int(settings.migrate_statement_timeout * 1000)}ms",
        # Without this, the server would finish the statement of a migrator that was killed, and hold its locks.
        "client_connection_check_interval": "1s",
    }


class Steps:
    """What one command has to run: computed once, in order, each step guarded."""

    def __init__(self, settings: MigrateSettings) -> None:
        self.settings = settings
        self.current: RevisionStep | None = None
        self.started = 0.0
        # What the names of TIMEOUTS are set to while the current step runs.
        self.in_force = timeouts(settings)
        # The names of the current step's backfills (backfill.py).
        self.backfills: set[str] = set()
        self._left: list[MigrationStep] | None = None
        self._watch: Watch | None = None
        self._tried = False
        self._in_step = False
        self._commits_are_repeatable = False
        self._half_done = False

    @classmethod
    def of(cls, ctx: MigrationContext) -> "Steps":
        """Return the steps of the command that a context belongs to."""
        steps: Steps = ctx.opts["steps"]
        return steps

    def run(self, connection: Connection | None, **options: Any) -> None:
        """Configure Alembic (offline without a connection) and run what is left; `options` go to `configure`."""
        options["steps"] = self
        # Nothing may be executed here before `configure`: Alembic would take the transaction for ours, and not commit.
        context.configure(connection=connection, **options)
        compute: Callable[..., Iterable[MigrationStep]] = context.get_context().opts["fn"]

        def left(heads: Any, ctx: MigrationContext) -> Iterator[MigrationStep]:
            if self._left is None:
                require_version(heads, ctx)
                if not is_stamp(context.config):  # a stamp mends them
                    refuse_surplus(context.script, heads)
                self._left = [self._guarded(step) for step in compute(heads, ctx) or ()]
                if self._left:
                    require_backup(heads, ctx, self.settings)
            while self._left:
                yield self._left[0]
                # Asked for the next one: the step before it is committed.
                del self._left[0]
            self.current = None

        context.configure(connection=connection, fn=left, **options)
        with self._noticing_commits(connection), context.begin_transaction():
            if connection is None:
                for name, value in timeouts(self.settings).items():
                    context.execute(f"SET {name} = '{value}'")
            context.run_migrations()

    def retried(self, attempt: Callable[[], None]) -> None:
        """Call `attempt`, again and again while a step of it gives way to a lock: each time on a new connection.

        Raises Stop when a step has been tried for MIGRATE_LOCK_RETRY_FOR seconds.
        """
        step, retries = None, Retries(0)
        while True:
            try:
                return attempt()
            except Exception as error:
                if self.current is None or not gave_way(error):
                    raise
                title = f"step {self.current.revision.revision} ({self.current.revision.doc})"
                if self._half_done:
                    raise Stop(
                        f"{title} could not get a lock; it is not tried again, for a part of it is committed "
                        "(autocommit_block)",
                        "see whether it can run again as it is; the forms of tangga/safe/forms.py can",
                        TABLE_LOCK_NOT_OBTAINED,
                    ) from error
                if self.current is not step:
                    step, retries = self.current, Retries(self.settings.migrate_lock_retry_for)
                retries.pause(f"{title} was rolled back", self.blockers())

    @contextmanager
    def watched(self, connection: Connection) -> Iterator[None]:
        """Say who blocks the connection while the body waits for a lock."""
        # In time for a short lock_timeout; a second try waits for the same session, so there it starts at once.
        after = 0 if self._tried else min(0.5, self.settings.migrate_lock_timeout / 2)
        self._tried, self.started = True, time.monotonic()
        with Watch(self.settings, pid_of(connection), after, lambda: self.started) as self._watch:
            yield

    def blockers(self, since: float | None = None) -> list[Blocker]:
        """Return whom the step waited for last, since it began or since then (monotonic); [] if nobody was seen."""
        return self._watch.last(self.started if since is None else since) if self._watch else []

    def reset_timeouts(self) -> None:
        """Set (or print) the time-outs that the current step runs with."""
        for name in TIMEOUTS:
            context.execute(f"SET {name} = '{self.in_force[name]}'")

    @contextmanager
    def repeatable(self) -> Iterator[None]:
        """Declare that what the body commits can be run again, so that a step that was cut off there may be, too."""
        self._commits_are_repeatable = True
        try:
            yield
        finally:
            self._commits_are_repeatable = False

    @contextmanager
    def _noticing_commits(self, connection: Connection | None) -> Iterator[None]:
        def commit(_: Connection) -> None:
            if self._in_step and not self._commits_are_repeatable:
                self._half_done = True

        if connection is not None:
            event.listen(connection, "commit", commit)
        yield
        if connection is not None:
            event.remove(connection, "commit", commit)

    def _guarded(self, step: MigrationStep) -> MigrationStep:
        if not isinstance(step, RevisionStep):
            return step
        original = step.migration_fn
        own = {name: getattr(step.revision.module, name) for name in TIMEOUTS if hasattr(step.revision.module, name)}
        usual = timeouts(self.settings)
        offline_or_scratch = context.is_offline_mode() or "runs" in context.config.attributes

        @functools.wraps(original)  # Alembic logs its name
        def run(**arguments: Any) -> None:
            self.current, self.started, self.in_force = step, time.monotonic(), usual | own
            self.backfills, self._half_done = set(), False
            if own:
                self.reset_timeouts()
            self._in_step = True
            try:
                if step.is_upgrade or offline_or_scratch:
                    original(**arguments)
                else:
                    self._down(step, functools.partial(original, **arguments))
            finally:
                self._in_step = False
            self.in_force = usual
            if own:
                self.reset_timeouts()

        step.migration_fn = run
        return step

    def _down(self, step: RevisionStep, original: Callable[[], None]) -> None:
        """Run a downgrade; what it loses is saved first."""
        from tangga.undo.down import down  # only now: an upgrade does not pay for it

        def run() -> None:
            self.backfills = set()
            original()

        down(context.get_context(), step.revision, run, self.settings.migrate_save_dir)
