"""What only a database can say: which files were changed after they were applied, and which indexes are invalid."""

from alembic.script import Script
from sqlalchemy import text

from tangga import connect
from tangga.catalogue.ours import OF_THE_APPLICATION
from tangga.drift.files import changed
from tangga.lint.finding import Finding, about_file
from tangga.lint.rules.files import EDITED
from tangga.lint.rules.indexes import INVALID_INDEX
from tangga.project import Project, applied
from tangga.revision.loading import text_of

# An index that is being built right now is invalid too, and rightly so.
_INVALID = text(f"""
    SELECT relname, indexrelid::regclass::text AS name, indrelid::regclass::text AS table
    FROM pg_index JOIN pg_class AS c ON c.oid = indexrelid JOIN pg_namespace AS n ON n.oid = relnamespace
    WHERE NOT indisvalid AND {OF_THE_APPLICATION}
      AND indexrelid NOT IN (SELECT index_relid FROM pg_stat_progress_create_index WHERE index_relid IS NOT NULL)
      AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = indexrelid)
    ORDER BY 2
""")  # noqa: S608 - a condition of ours.py


def pending(project: Project) -> list[Script]:
    """Return the steps that the database has not; raises OperationalError if it cannot be reached."""
    with connect.engine(project.settings.url, "lint").connect() as connection:
        return project.pending(applied(connection))


def findings(project: Project) -> list[Finding]:
    """Ask the live database, read-only; raises OperationalError if it cannot be reached."""
    with connect.engine(project.settings.url, "lint").connect() as connection:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        edited = changed(project, connection, applied(connection))
        invalid = connection.execute(_INVALID).all()
    found = [about_file(project, script, EDITED.problem()) for script in edited]
    for index in invalid:
        problem = INVALID_INDEX.problem(index=index.name, table=index.table)
        found.append(about_file(project, _maker(project.revisions(), index.relname), problem))
    return found


def _maker(steps: list[Script], name: str) -> Script:
    """Return the newest step whose file names the index; if there is none, the newest of all."""
    named = [script for script in steps if name in text_of(script.path)]
    return (named or steps)[-1]
