"""The live database compared with its steps, and the models with the schema."""

from typing import NamedTuple

from tangga import connect
from tangga.catalogue.dump import differences, facts, objects
from tangga.drift import models
from tangga.drift.files import changed
from tangga.drift.position import position
from tangga.project import Project
from tangga.scratch.server import Scratch
from tangga.words import file_name


class Comparison(NamedTuple):
    """How many objects were compared, the differences in words, and what could not be compared."""

    objects: int
    differences: list[str]
    notes: list[str]


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
    with scratch.database() as engine, engine.connect() as connection:
        for revision in at:
            project.upgrade(connection, revision)
            connection.rollback()
        steps = objects(scratch.dump(engine)) | facts(connection)
        if set(at) == set(project.scripts.get_heads()):
            compared, note = models.compare(connection, lambda: scratch.dump(engine), project.metadata)
            others += [f"models: {line}" for line in compared]
            notes += [note] if note else []
        else:
            notes.append("the database is not at head, so the models were not compared")
    return Comparison(len(steps.keys() | found.keys()), differences(steps, found) + others, notes)
