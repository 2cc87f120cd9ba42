"""Alembic's environment: settings + models + lock + guarded steps. What protects a migration stands here, so that plain
`alembic upgrade head` has it too."""

from typing import Any

from alembic import context
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import NullPool

from services.api.db import models
from services.api.settings import MigrateSettings
from tangga.guard import command as authoring
from tangga.safe import backfill
from tangga.drift import options as compared
from tangga.guard import validation as constraints
from tangga.revision import files
from tangga.journal import writing as journal
from tangga.guard import log
from tangga.causes import one_line
from tangga.failures import reported_failures
from tangga.guard.lock import migration_lock
from tangga.guard.steps import Steps, timeouts


def options(steps: Steps) -> dict[str, Any]:
    """Return what Alembic is configured with, online and offline."""
    return {
        "target_metadata": models.Base.metadata,
        **compared.options(models.Base.metadata),
        # Each step stands or falls by itself, together with its rows in alembic_version and migration_log.
        "transaction_per_migration": True,
        "on_version_apply": [journal.record(steps), backfill.forget, constraints.validate_after_commit],
        "process_revision_directives": authoring.check_revision,
    }


def run_offline(settings: MigrateSettings) -> None:
    """Print the SQL instead of running it (--sql), time-outs included."""
    steps = Steps(settings)
    # "named": under psycopg2's own style every % would be printed twice.
    dialect: dict[str, Any] = {"dialect_name": "postgresql", "dialect_opts": {"paramstyle": "named"}}
    steps.run(None, literal_binds=True, **dialect, **options(steps))


def run_on(connection: Connection, settings: MigrateSettings) -> None:
    """Run the command on somebody's scratch database: nobody else is there to be protected."""
    steps = Steps(settings)
    with journal.recorded(steps, connection):
        steps.run(connection, **options(steps))


def run_online(settings: MigrateSettings) -> None:
    """Run the command on the database; first the lock, on a session of its own: time-outs would cancel the wait."""
    connect_args = {"application_name": "tangga-migrate", "connect_timeout": 5}
    session = " ".join(f"-c {name}={value}" for name, value in timeouts(settings).items())
    engine = create_engine(settings.url, poolclass=NullPool, connect_args={**connect_args, "options": session})
    steps = Steps(settings)
    with migration_lock(settings, connect_args, wanted=authoring.changes_database(context.config)):
        try:
            steps.retried(lambda: run_left(steps, engine))
        except Exception as error:
            journal.record_failure(steps, one_line(error))
            raise


def run_left(steps: Steps, engine: Engine) -> None:
    """Run the steps that are left, then finish what an earlier upgrade, killed, has not."""
    with engine.connect() as connection, steps.watched(connection), journal.recorded(steps, connection):
        steps.run(connection, **options(steps))
        if authoring.is_upgrade(context.config):
            constraints.validate_unfinished(context.get_context(), context.script)
            constraints.warn_of_invalid_indexes(context.get_context())


settings = MigrateSettings.load()
if "runs" in context.config.attributes:  # a program with a connection of its own: services/migrate/tangga/runs.py
    run_offline(settings) if context.is_offline_mode() else run_on(context.config.attributes["runs"], settings)
else:
    log.to_stderr()
    with reported_failures(settings):
        files.strict(*context.script._version_locations)
        authoring.require_writable(context.config, context.script)
        if context.is_offline_mode():
            run_offline(settings)
        else:
            run_online(settings)
