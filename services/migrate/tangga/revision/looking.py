"""What the models make beside what the steps make, on the scratch server: for autogenerate and `check`."""

import contextlib
import io
from typing import NamedTuple

from tangga.causes import one_line
from tangga.compared import NOT_BY_ALEMBIC
from tangga.drift import models
from tangga.drift.within import Difference
from tangga.exits import Stop
from tangga.project import Project
from tangga.scratch.server import Scratch


class Looked(NamedTuple):
    """What differs, how many objects were compared, what no model describes; or why nothing was compared."""

    found: list[Difference]
    objects: int
    undescribed: list[str]
    why_not: str | None = None


def look(project: Project) -> Looked:
    """Run all steps on the scratch server, make the models' tables beside them, and compare."""
    try:
        scratch = _scratch(project)
        with scratch.database() as engine, engine.connect() as connection:
            project.upgrade(connection, "heads")
            connection.rollback()
            if not project.metadata:
                return Looked([], 0, [], "nobody says where the models are")
            try:
                seen = models.look(connection, lambda: scratch.dump(engine), project.metadata, project.told)
            except Exception as error:  # models and types of the authors' own run here
                return Looked([], 0, [], models.cannot_be_made(error))
    except Stop as stopped:
        return Looked([], 0, [], stopped.what)
    except Exception as error:  # a step that fails on an empty database
        return Looked([], 0, [], f"the steps do not run on the scratch server ({one_line(error)})")
    return Looked(seen.found, seen.objects, seen.undescribed)


def not_compared(why_not: str) -> str:
    """Say what was not compared, and why."""
    return f"Not compared: {NOT_BY_ALEMBIC}; {why_not}."


def _scratch(project: Project) -> Scratch:
    """Return the scratch server; a project's own function may end the program where there is none."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return Scratch(project)
    except SystemExit as ended:
        lines = said.getvalue().splitlines() or ["its settings are not those of a server"]
        raise Stop(f"there is no scratch server here: {lines[0].removeprefix('error: ')}", "", 0) from ended
