"""The steps of one command, each with what guards it.

Alembic computes the list of steps from where the database is, and runs them one by one. `Steps` puts itself between: it
surrounds each step with its own time-outs, and tries it again, on the same connection, when it gave way to a lock. A
step overrides the time-outs by module attributes, in PostgreSQL's notation:

    lock_timeout = "500ms"
    statement_timeout = "2h"
"""

import functools
import inspect
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationStep, RevisionStep
from alembic.script import Script
from sqlalchemy import Connection

from tangga.connect import pid_of, set_session
from tangga.exits import STEP_FAILED, TABLE_LOCK_NOT_OBTAINED, Stop
from tangga.guard.blockers import Blocker, Retries, Watch, gave_way
from tangga.guard.command import goes_up_for_real, is_stamp, require_version
from tangga.guard.session import Session
from tangga.project import rehearsal
from tangga.settings import Settings, bounds
from tangga.version_rows import refuse_surplus
from tangga.words import file_name

# Of a step down: what it would run with, the step, the step itself, the folder for what it would lose.
Down = Callable[[MigrationContext, Script, Callable[[], None], Path], object]
TIMEOUTS = ("lock_timeout", "statement_timeout")


def timeouts(settings: Settings) -> dict[str, str]:
    """Return PostgreSQL's settings for the session that migrates (as text, with units)."""
    return {
        # A step that queues behind a long transaction makes everybody else queue behind it: better to give up early.
        **bounds({"lock_timeout": settings.lock_timeout, "statement_timeout": settings.statement_timeout}),
        # Without this, the server would finish the statement of a migrator that was killed, and hold its locks.
        "client_connection_check_interval": "1s",
    }


class Steps:
    """What one command has to run: in order, each step guarded."""

    def __init__(self, settings: Settings, down: Down | None = None) -> None:
        """`down` runs a step down and saves what it would lose; without it, a step down just runs."""
        self.settings = settings
        self.current: RevisionStep | None = None
        self.started = 0.0
        # What the names of TIMEOUTS are set to while the current step runs.
        self.in_force = timeouts(self.settings)
        # The names of the current step's backfills (safe/batches.py).
        self.backfills: set[str] = set()
        self._down = down
        self._watch: Watch | None = None
        self._session = Session(settings)

    @classmethod
    def of(cls, ctx: MigrationContext) -> "Steps":
        """Return the steps of the command that a context belongs to."""
        steps: Steps = ctx.opts["steps"]
        return steps

    def computed_by(self, compute: Callable[..., Iterable[MigrationStep]]) -> Callable[..., Iterator[MigrationStep]]:
        """Return Alembic's function that computes the steps, each guarded, after a look at where the database is."""

        def left(heads: Any, ctx: MigrationContext) -> Iterator[MigrationStep]:
            require_version(heads, ctx)
            if not is_stamp(context.config):  # a stamp mends them
                refuse_surplus(context.script, heads)
            steps = [*(compute(heads, ctx) or ())]
            if steps and heads and self.settings.before_upgrade and goes_up_for_real(heads, ctx):
                self.settings.before_upgrade(heads)
            if ctx.as_sql:
                for name, value in timeouts(self.settings).items():
                    ctx.impl.execute(f"SET {name} = '{value}'")
            for step in steps:
                # Asked for the next one: the step before it is committed.
                yield self._guarded(step, ctx)
            self.current = None

        return left

    @contextmanager
    def watched(self, connection: Connection) -> Iterator[None]:
        """Bound what the connection waits for, and say who blocks it while it does."""
        set_session(connection, timeouts(self.settings))
        # In time for a short lock_timeout.
        after = min(0.5, self.settings.lock_timeout / 2)
        self.started = time.monotonic()
        with Watch(connection.engine, pid_of(connection), after, lambda: self.started) as self._watch:
            yield

    def blockers(self, since: float | None = None) -> list[Blocker]:
        """Return whom the step waited for last, since it began or since then (monotonic); [] if nobody was seen."""
        return self._watch.last(self.started if since is None else since) if self._watch else []

    def reset_timeouts(self) -> None:
        """Set (or print) the time-outs that the current step runs with."""
        for name in TIMEOUTS:
            context.execute(f"SET {name} = '{self.in_force[name]}'")

    def repeatable(self) -> AbstractContextManager[None]:
        """Declare that what the body commits can be run again, so that a step that was cut off there may be, too."""
        return self._session.repeatable()

    def followed(self, connection: Connection) -> AbstractContextManager[None]:
        """Follow what the steps do to their transaction and to their session (session.py)."""
        return self._session.followed(connection)

    def in_step(self, ctx: MigrationContext, script: Script) -> AbstractContextManager[None]:
        """Say that the body is a step's own code; what it leaves in the session is put back."""
        return self._session.step(ctx, script)

    def _guarded(self, step: MigrationStep, ctx: MigrationContext) -> MigrationStep:
        if not isinstance(step, RevisionStep):
            return step
        original = step.migration_fn

        @functools.wraps(original)  # Alembic logs its name
        def run(**arguments: Any) -> None:
            self.current = step
            once = functools.partial(self._run_once, step, ctx, functools.partial(original, **arguments))
            if ctx.as_sql or rehearsal():
                once()
            else:
                self._retried(once, step, ctx)

        step.migration_fn = run
        return step

    def _run_once(self, step: RevisionStep, ctx: MigrationContext, original: Callable[[], None]) -> None:
        module, usual = step.revision.module, timeouts(self.settings)
        own = {name: getattr(module, name) for name in TIMEOUTS if hasattr(module, name)}
        self.started, self.in_force = time.monotonic(), usual | own
        self.backfills = set()
        if own:
            self.reset_timeouts()
        with self.in_step(ctx, step.revision):
            run = functools.partial(_run_to_its_end, step, original)
            if step.is_upgrade or self._down is None:
                run()
            else:
                self._down(ctx, step.revision, functools.partial(self._forgetful, run), self.settings.save_dir)
        self.in_force = usual
        if own:
            self.reset_timeouts()

    def _retried(self, once: Callable[[], None], step: RevisionStep, ctx: MigrationContext) -> None:
        """Run a step, again and again while it gives way to a lock; Stop after MIGRATE_LOCK_RETRY_FOR s."""
        title = f"step {step.revision.revision} ({step.revision.doc})"
        retries = Retries(self.settings.lock_retry_for)
        while True:
            try:
                return once()
            except Exception as error:
                if not gave_way(error):
                    raise
                if self._session.half_done:
                    raise Stop(
                        f"{title} could not get a lock; it is not tried again, for a part of it is committed "
                        f"({self._session.half_done})",
                        "see whether it can run again as it is; the forms of tangga.safe can",
                        TABLE_LOCK_NOT_OBTAINED,
                    ) from error
                self._taken_back(ctx)
                retries.pause(f"{title} was rolled back", self.blockers())
                self._begun_anew(ctx)

    def _taken_back(self, ctx: MigrationContext) -> None:
        assert ctx._transaction is not None
        ctx._transaction.rollback()

    def _begun_anew(self, ctx: MigrationContext) -> None:
        """Begin the next try as the first one began: with the session's own settings, in a transaction."""
        assert ctx.connection is not None
        assert self._watch is not None
        # A second try waits for the same session: it is looked for at once.
        self._watch.after = 0
        set_session(ctx.connection, timeouts(self.settings))
        ctx._transaction = ctx.connection.begin()

    def _forgetful(self, original: Callable[[], None]) -> None:
        """Run a step that may have run before, and was taken back."""
        self.backfills = set()
        original()


def _run_to_its_end(step: RevisionStep, original: Callable[[], object]) -> None:
    """Call a step's function; raises Stop if it ends the program, or has not run at all: it would be noted as done."""
    script = step.revision
    title = f"step {script.revision} ({script.doc})"
    try:
        made = original()
    except SystemExit as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == script.path]
        raise Stop(
            f"{title} ends the program at {file_name(script.path)}:{lines[-1] if lines else 1} (sys.exit)",
            "let it raise an error if it cannot go on, and return if there is nothing to do; it was rolled back (to "
            "its last commit, if it makes any itself)", STEP_FAILED,
        ) from error  # fmt: skip
    if inspect.isawaitable(made) or inspect.isgenerator(made) or inspect.isasyncgen(made):
        if inspect.iscoroutine(made):
            made.close()
        raise Stop(
            f"{title}: nothing of its {'upgrade' if step.is_upgrade else 'downgrade'} has run, for that is "
            f"asynchronous or a generator ({file_name(script.path)})",
            "make it a plain function; asyncio.run() within it runs what is asynchronous", STEP_FAILED,
        )  # fmt: skip
