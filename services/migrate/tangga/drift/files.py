"""Files of steps that are not what the database noted when the steps ran: the checksums in migration_log say so."""

from alembic.script import Script
from sqlalchemy import Connection, text

from tangga import connect
from tangga.catalogue import ours
from tangga.drift.position import position
from tangga.exits import UNKNOWN_REVISION, Stop
from tangga.journal.tables import place
from tangga.journal.writing import checksum
from tangga.project import Project
from tangga.remedies import say

_LOGGED = """
    SELECT DISTINCT ON (revision) revision, checksum FROM {log}
    WHERE outcome = 'done' AND checksum IS NOT NULL ORDER BY revision, id DESC
"""
_ACCEPT = """
    INSERT INTO {log} (revision, direction, outcome, started_at, seconds, checksum, image_version)
    VALUES (:revision, 'accept', 'done', clock_timestamp(), 0, :checksum, :version)
"""


def changed(project: Project, connection: Connection, at: tuple[str, ...]) -> list[Script]:
    """Return the steps whose files are not what the database noted when they ran or were accepted."""
    log = place(connection)
    if log is None:
        return []
    logged = {row.revision: row.checksum for row in connection.execute(text(_LOGGED.format(log=log)))}
    found = []
    for step in _steps(project, at)[::-1]:
        # A baseline (squash) stands for files that are gone, and names the checksum that its revision's file had.
        known = {checksum(step.path), getattr(step.module, "squashed", {}).get(step.revision)}
        if step.revision in logged and logged[step.revision] not in known:
            found.append(step)
    return found


def accept(project: Project, revision: str) -> None:
    """Note in migration_log that the step's file is right as it is; raises Stop if the step is not applied."""
    with connect.engine(project.settings.url, "drift").begin() as connection:
        steps = {step.revision: step for step in _steps(project, position(project, connection))}
        if revision not in steps:
            raise Stop(
                f"{revision} is not a step that the database has", f"{say('history')} lists them", UNKNOWN_REVISION
            )
        values = {
            "revision": revision,
            "checksum": checksum(steps[revision].path),
            "version": project.settings.version,
        }
        connection.execute(text(_ACCEPT.format(log=place(connection) or ours.log())), values)


def _steps(project: Project, at: tuple[str, ...]) -> list[Script]:
    return [*project.scripts.iterate_revisions(at, "base")] if at else []
