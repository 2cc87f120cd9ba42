"""The live database compared with its steps, and the models with the schema."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from sqlalchemy import Connection, MetaData

from tangga import connect
from tangga.catalogue import model
from tangga.catalogue.dump import facts, objects
from tangga.catalogue.ours import UNNAMED
from tangga.drift import models
from tangga.drift.files import changed
from tangga.drift.position import position
from tangga.project import Project
from tangga.scratch.again import differences
from tangga.scratch.server import Scratch
from tangga.version_rows import stored_heads
from tangga.words import file_name

NO_MODELS: Final = "the models were not compared: [tool.tangga] metadata does not say where they are"


class Comparison(NamedTuple):
    """How many objects were compared, and the differences in words.

    `notes` say what nobody asked to be compared, `unproven` what could not be.
    """

    objects: int
    differences: list[str]
    notes: list[str]
    unproven: list[str]


def compare(project: Project) -> Comparison:
    """Build what the live database should be on a scratch database, and compare; nothing is changed.

    Raises Stop if the database stands at no revision that is known here, or the throwaway server fails.
    """
    scratch = Scratch(project)
    with connect.engine(project.settings.url, "drift").connect() as connection:
        at = position(project, connection)
        files = changed(project, connection, at)
        found = objects(scratch.dump_live()) | facts(connection)
    others = [f"file of {step.revision} ({step.doc}): changed after it ran: {file_name(step.path)}" for step in files]
    notes: list[str] = []
    unproven: list[str] = []
    with scratch.database() as engine, engine.connect() as connection:
        for revision in at:
            project.upgrade(connection, revision)
            connection.rollback()
        steps = objects(scratch.dump(engine)) | facts(connection)
        if not project.metadata:
            notes.append(NO_MODELS)
        elif set(at) == stored_heads(project.scripts):
            compared, note = models.compare(connection, lambda: scratch.dump(engine), project.metadata, project.told)
            others += [f"models: {' '.join(line.split())}" for line in compared]
            unproven += [note] if note else []
            notes += without_models(connection, project.metadata)
        else:
            unproven.append("the database is not at head, so the models were not compared")
        differing = differences(steps, found, lambda: objects(scratch.loaded(engine)), lambda: _live_again(scratch))
    return Comparison(len(steps.keys() | found.keys()), differing + others, notes, unproven)


def _live_again(scratch: Scratch) -> dict[str, str]:
    with scratch.copy_of_live() as copy:
        return objects(scratch.dump(copy))


def without_models(connection: Connection, metadata: Iterable[MetaData]) -> list[str]:
    """Return, in words, which schemas have tables that no model can be compared with."""
    named = {table.schema or UNNAMED for each in metadata for table in each.tables.values()}
    there = {table.schema for table in model.read(connection, constraints=False).tables.values()}
    return [
        f"no model names the schema {name}, so its tables were not compared with models"
        for name in sorted(there - named)
    ]
