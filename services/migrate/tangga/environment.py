"""What env.py calls: where the command is to run, and what protects it there.

with connected() as connection, guarded(connection) as options:
    context.configure(connection=connection, **options)
    with context.begin_transaction():
        context.run_migrations()
"""

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext
from alembic.script import Script
from sqlalchemy import URL, Connection, Engine

from tangga import connect
from tangga.causes import one_line
from tangga.compared import compared
from tangga.failures import explain
from tangga.guard import command, log, validation
from tangga.guard.lock import migration_lock
from tangga.guard.own import synchronous
from tangga.guard.steps import Steps, timeouts
from tangga.journal import tables, writing
from tangga.project import Project, environment, rehearsal
from tangga.revision import files
from tangga.revision.check import check_revision
from tangga.revision.types import render_item
from tangga.safe import batches
from tangga.settings import Settings, traceback_wanted

# In Connection.info: the lock is held already.
_LOCKED = "tangga locked"


@contextmanager
def reported_failures(project: Project) -> Iterator[None]:
    """End the program with a message instead of a traceback (MIGRATE_TRACEBACK=true shows both)."""
    try:
        yield
    except (Exception, SystemExit) as error:
        # A revision file may end the program, too.
        if isinstance(error, SystemExit) and not files.explained(error, lambda: project.scripts):
            raise
        if traceback_wanted():
            traceback.print_exc()
        failure = explain(error, project)
        sys.stderr.write(f"error: {failure.what}\n   do: {failure.remedy}\n")
        raise SystemExit(failure.code) from None


@contextmanager
def connected() -> Iterator[Connection | None]:
    """Yield a connection to the database of the settings; None if SQL is only printed (--sql).

    What goes wrong in the body ends the program with a message and an exit code (exits.py).
    """
    if trial := rehearsal():
        yield trial.connection
        return
    project = Project.running()
    log.to_stderr()
    with reported_failures(project):
        files.strict(*context.script._version_locations)
        command.require_writable(context.config, context.script)
        if context.is_offline_mode():
            yield None
            return
        # The bounds come with the connection: a pooler, which would forget them, refuses it.
        engine = connect.engine(project.settings.url, "migrate", session=timeouts(project.settings))
        # First: who waits for the lock holds one connection, not two.
        with _locked(engine, project), engine.connect() as connection:
            connection.info[_LOCKED] = True
            yield connection


@contextmanager
def guarded(connection: Connection | None) -> Iterator[dict[str, Any]]:
    """Protect what the body runs on the connection; yield what `context.configure` is to be told besides.

    One migrator at a time, time-outs for each step, another try when a step gave way to a lock, rows in migration_log,
    saves before a step down loses something. Nothing may have been executed on the connection: Alembic would take the
    transaction for somebody else's, and not commit.
    """
    project = Project.running()
    if trial := rehearsal():
        # Whatever env.py has connected to: the run is on ours.
        connection = trial.connection
    # Who prints the steps for the linter has no database.
    printed = Settings(URL.create("postgresql")) if connection is None else project.trial_settings
    settings = printed if trial else project.settings
    steps = Steps(settings, None if connection is None or trial else _down)
    if connection is None:
        # "named": under psycopg2's own style every % would be printed twice.
        yield {
            **_options(project, steps),
            "literal_binds": True,
            "dialect_name": "postgresql",
            "dialect_opts": {"paramstyle": "named"},
        }
    elif trial:
        with steps.followed(connection), writing.recorded(steps, connection):
            yield _options(project, steps)
    else:
        log.be_heard()
        with ExitStack() as guards:
            connection = guards.enter_context(synchronous(connection, settings))
            if _LOCKED not in connection.info:
                guards.enter_context(_locked(connection.engine, project))
            guards.enter_context(_failure_recorded(steps, connection))
            guards.enter_context(steps.watched(connection))
            guards.enter_context(steps.followed(connection))
            guards.enter_context(writing.recorded(steps, connection))
            yield _options(project, steps)
            if command.is_upgrade(context.config):
                tables.move(context.get_context())
                validation.validate_unfinished(context.get_context(), context.script)
                validation.warn_of_invalid_indexes(context.get_context())


def _locked(engine: Engine, project: Project) -> AbstractContextManager[None]:
    return migration_lock(engine, project.settings, wanted=command.changes_database(context.config))


def _options(project: Project, steps: Steps) -> dict[str, Any]:
    running = environment()
    assert running is not None
    return {
        **compared(project),
        # Each step stands or falls by itself, together with its rows in alembic_version and migration_log.
        "transaction_per_migration": True,
        "on_version_apply": [writing.record(steps), batches.forget, validation.validate_after_commit],
        "process_revision_directives": check_revision,
        "render_item": render_item,
        "steps": steps,
        "fn": steps.computed_by(running.context_opts["fn"]),
    }


def _down(ctx: MigrationContext, step: Script, run: Callable[[], None], folder: Path) -> None:
    from tangga.undo.down import down  # only now: an upgrade does not pay for it

    down(ctx, step, run, folder)


@contextmanager
def _failure_recorded(steps: Steps, connection: Connection) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        writing.record_failure(steps, connection, one_line(error))
        raise
