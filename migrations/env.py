"""Alembic's environment: settings + models + lock + time-outs. What protects a migration stands here, so that plain
`alembic upgrade head` has it too."""

from typing import Any

from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from services.api.db import models
from services.api.settings import MigrateSettings
from services.migrate import authoring, bookkeeping, constraints, log
from services.migrate.failures import reported_failures
from services.migrate.lock import migration_lock

COMMON: dict[str, Any] = {
    "target_metadata": models.Base.metadata,
    "compare_type": True,
    "compare_server_default": True,
    # Each step stands or falls by itself, together with its row in alembic_version.
    "transaction_per_migration": True,
    "on_version_apply": [bookkeeping.close_version_table, constraints.validate_after_commit],
    "process_revision_directives": authoring.skip_empty_autogenerate,
}


def timeouts(settings: MigrateSettings) -> dict[str, str]:
    """Return PostgreSQL's settings for the session that migrates (as text, with units)."""
    return {
        # A step that queues behind a long transaction makes everybody else queue behind it: better to give up early.
        "lock_timeout": f"{int(settings.migrate_lock_timeout * 1000)}ms",
        "statement_timeout": f"{int(settings.migrate_statement_timeout * 1000)}ms",
        # Without this, the server would finish the statement of a migrator that was killed, and hold its locks.
        "client_connection_check_interval": "1s",
    }


def run_offline(settings: MigrateSettings) -> None:
    """Print the SQL instead of running it (--sql), time-outs included."""
    # "named": under psycopg2's own style every % would be printed twice.
    context.configure(dialect_name="postgresql", literal_binds=True, dialect_opts={"paramstyle": "named"}, **COMMON)
    for name, value in timeouts(settings).items():
        context.execute(f"SET {name} = '{value}'")
    with context.begin_transaction():
        context.run_migrations()


def run_online(settings: MigrateSettings) -> None:
    """Run the command on the database; first the lock, on a session of its own: time-outs would cancel the wait."""
    connect_args = {"application_name": "tangga-migrate", "connect_timeout": 5}
    with migration_lock(settings, connect_args, wanted=authoring.changes_database(context.config)):
        options = " ".join(f"-c {name}={value}" for name, value in timeouts(settings).items())
        engine = create_engine(settings.url, poolclass=NullPool, connect_args={**connect_args, "options": options})
        # Nothing may be executed here before `configure`: Alembic would take the transaction for ours, and not commit.
        with engine.connect() as connection:
            context.configure(connection=connection, **COMMON)
            with context.begin_transaction():
                context.run_migrations()
            if authoring.is_upgrade(context.config):
                constraints.validate_unfinished(context.get_context(), context.script)


settings = MigrateSettings.load()
log.to_stderr()
with reported_failures(settings):
    authoring.require_writable(context.config, context.script)
    if context.is_offline_mode():
        run_offline(settings)
    else:
        run_online(settings)
