"""What only a database can say: which files were changed after they were applied, and which indexes are invalid."""

from pathlib import Path

from alembic.script import Script
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from services.api.settings import MigrateSettings
from tangga.drift.command import changed
from tangga.lint import Finding
from tangga.lint.checks import finding_about_file
from tangga.runs import Runs, applied

# An index that is being built right now is invalid too, and rightly so.
_INVALID = text("""
    SELECT indexrelid::regclass::text AS name, indrelid::regclass::text AS table FROM pg_index
    WHERE NOT indisvalid AND indexrelid NOT IN (SELECT index_relid FROM pg_stat_progress_create_index)
      AND indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace)
      AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = indexrelid)
    ORDER BY 1
""")


def pending(runs: Runs, settings: MigrateSettings) -> list[Script]:
    """Return the steps that the database has not; raises OperationalError if it cannot be reached."""
    engine = create_engine(settings.url, poolclass=NullPool, connect_args={"connect_timeout": 5})
    with engine.connect() as connection:
        return runs.pending(applied(connection))


def findings(runs: Runs, settings: MigrateSettings) -> list[Finding]:
    """Ask the live database, read-only; raises OperationalError if it cannot be reached."""
    engine = create_engine(settings.url, poolclass=NullPool, connect_args={"connect_timeout": 5})
    with engine.connect() as connection:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        edited = changed(runs, connection, applied(connection))
        invalid = connection.execute(_INVALID).all()
    found = [
        finding_about_file(runs, script, "edited-after-applied", "the file is not what this database was migrated with")
        for script in edited
    ]
    for index in invalid:
        script = _maker(runs.revisions(), index.name)
        why = f"{index.name} on {index.table} is invalid, its build was cut off: it serves no query, yet slows writes"
        found.append(finding_about_file(runs, script, "invalid-index", why))
    return found


def _maker(steps: list[Script], name: str) -> Script:
    """Return the newest step whose file names the index; if there is none, the newest of all."""
    named = [script for script in steps if name.strip('"') in Path(script.path).read_text()]
    return (named or steps)[-1]
