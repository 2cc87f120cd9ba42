"""Where the live database stands among the files that are here."""

from sqlalchemy import Connection

from tangga import version_rows
from tangga.catalogue import model
from tangga.exits import AHEAD, BEHIND, DRIFT, Stop
from tangga.project import Project, applied
from tangga.remedies import say
from tangga.words import folder_name


def position(project: Project, connection: Connection) -> tuple[str, ...]:
    """Return the revisions that the database is at; raises Stop if they are not known here, or not noted there."""
    at = applied(connection)
    files = project.revisions()
    version_rows.refuse_surplus(project.scripts, at)
    if unknown := sorted(set(at) - {script.revision for script in files}):
        if baseline := next((file for file in files if unknown[0] in getattr(file.module, "squashed", {})), None):
            raise Stop(
                f"the database is at {unknown[0]}, which was folded into the baseline {baseline.revision}",
                f"migrate it to {baseline.revision} with a release that still has the old files, then come back",
                BEHIND,
            )
        raise Stop(
            f"the database is at {', '.join(unknown)}, which is not among the files here: they are older than it",
            "take the release that has this revision; "
            f"git log --all -- {folder_name(project.scripts.versions)} finds its file",
            AHEAD,
        )
    if not at and (tables := _tables(connection)):
        raise Stop(
            f"the database has tables ({', '.join(tables)}), but no version: no step noted that it made them",
            f"find the step whose schema it has, and note it: {say('stamp', revision='REVISION')}; then {say('check')} "
            "compares the two",
            DRIFT,
        )
    return at


def _tables(connection: Connection) -> list[str]:
    return [table.title for table in model.read(connection, constraints=False).tables.values() if table.kind != "f"]
