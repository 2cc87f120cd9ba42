"""Compare the live database with its steps, and the models with the schema; nothing is changed.

The steps up to the live database's revision are run on a scratch database, and the two schemas are compared as pg_dump
prints them, so that what Alembic's `check` cannot see is seen too: triggers, functions, views, grants, the bodies of
constraints, the conditions of indexes. A file that was changed after it was applied is found by the checksum in
migration_log.
"""

import json
import sys
import time
from argparse import ArgumentParser

from alembic.script import Script
from sqlalchemy import Connection, text

from tangga import connect
from tangga import version_rows as rows_of_version
from tangga.catalogue import dump as schema
from tangga.catalogue.ours import OURS
from tangga.drift import models as comparison
from tangga.exits import AHEAD, BEHIND, DRIFT, UNKNOWN_REVISION, Stop
from tangga.journal import writing as journal
from tangga.project import Project, applied
from tangga.remedies import say
from tangga.scratch.server import Scratch
from tangga.words import file_name, folder_name

HELP = "compare the live database with its steps and the models with the schema; find files changed after they ran"

_TABLES = text("""
    SELECT relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relname <> ALL (:ours) ORDER BY 1
""")
_LOGGED = text("""
    SELECT DISTINCT ON (revision) revision, checksum FROM migration_log
    WHERE outcome = 'done' AND checksum IS NOT NULL ORDER BY revision, id DESC
""")
_ACCEPT = text("""
    INSERT INTO migration_log (revision, direction, outcome, started_at, seconds, checksum, image_version)
    VALUES (:revision, 'accept', 'done', clock_timestamp(), 0, :checksum, :version)
""")


def arguments(parser: ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.add_argument(
        "--accept", metavar="REVISION", help="note that the file of this step may differ from what was applied"
    )


def run(project: Project) -> None:
    """Print one line per difference; raises Stop (DRIFT) if there is any."""
    assert project.config.cmd_opts is not None
    if project.config.cmd_opts.accept:
        accept(project, project.config.cmd_opts.accept)
        return
    start = time.monotonic()
    compared, found, notes = compare(project)
    seconds = round(time.monotonic() - start, 1)
    if project.config.cmd_opts.json:
        sys.stdout.write(json.dumps({"objects": compared, "seconds": seconds, "drift": found, "notes": notes}) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in [*found, *(f"note: {note}" for note in notes)]))
    if found:
        raise Stop(
            f"drift: {len(found)} {'difference' if len(found) == 1 else 'differences'} between files and database",
            f"put the database right, or write a step that says the same{say('more-on-proof')}; for a changed file: "
            "alembic drift --accept REVISION",
            DRIFT,
        )
    if not project.config.cmd_opts.json:
        # What was not compared may differ.
        what = "no drift between steps and database" if notes else "no drift"
        sys.stdout.write(f"{what}: {compared} objects compared in {seconds} s\n")


def compare(project: Project) -> tuple[int, list[str], list[str]]:
    """Return how many objects were compared, the differences in words, and what could not be compared."""
    scratch = Scratch(project)
    with connect.engine(project.settings.url, "drift").connect() as connection:
        at = position(project, connection)
        files = changed(project, connection, at)
        found = schema.objects(scratch.dump_live()) | schema.facts(connection)
    others, notes = (
        [f"file of {step.revision} ({step.doc}): changed after it ran: {file_name(step.path)}" for step in files],
        [],
    )
    with scratch.database() as engine, engine.connect() as connection:
        for revision in at:
            project.upgrade(connection, revision)
            connection.rollback()
        steps = schema.objects(scratch.dump(engine)) | schema.facts(connection)
        if set(at) == set(project.scripts.get_heads()):
            compared, note = comparison.compare(connection, lambda: scratch.dump(engine), project.metadata)
            others += [f"models: {line}" for line in compared]
            notes += [note] if note else []
        else:
            notes.append("the database is not at head, so the models were not compared")
    return len(steps.keys() | found.keys()), schema.differences(steps, found) + others, notes


def position(project: Project, connection: Connection) -> tuple[str, ...]:
    """Return the revisions that the database is at; raises Stop if they are not known here, or not noted there."""
    at = applied(connection)
    files = project.revisions()
    rows_of_version.refuse_surplus(project.scripts, at)
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
    if not at and (tables := connection.scalars(_TABLES, {"ours": [*OURS]}).all()):
        raise Stop(
            f"the database has tables ({', '.join(tables)}), but no version: no step noted that it made them",
            f"find the step whose schema it has, and note it: {say('stamp', revision='REVISION')}; then {say('check')} "
            "compares the two",
            DRIFT,
        )
    return at


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
            "checksum": journal.checksum(steps[revision].path),
            "version": project.settings.version,
        }
        connection.execute(_ACCEPT, values)
    sys.stdout.write(f"accepted: {revision} as its file is now\n")


def _steps(project: Project, at: tuple[str, ...]) -> list[Script]:
    return [*project.scripts.iterate_revisions(at, "base")] if at else []


def changed(project: Project, connection: Connection, at: tuple[str, ...]) -> list[Script]:
    """Return the steps whose files are not what the database noted when they ran or were accepted."""
    if connection.scalar(text("SELECT to_regclass('migration_log')")) is None:
        return []
    logged = {row.revision: row.checksum for row in connection.execute(_LOGGED)}
    found = []
    for step in _steps(project, at)[::-1]:
        # A baseline (squash.py) stands for files that are gone, and names the checksum that its revision's file had.
        known = {journal.checksum(step.path), getattr(step.module, "squashed", {}).get(step.revision)}
        if step.revision in logged and logged[step.revision] not in known:
            found.append(step)
    return found
