"""What the tests of the proving commands share: a project and the scratch server as those commands see them."""

import os
from pathlib import Path
from unittest import mock

from tangga.project import Project
from tangga.scratch.server import Scratch
from tangga.verify.model import Report
from tangga.verify.walk import verify
from tests.databases import PROJECT, owner_environment, template
from tests.support.shapes import Node, write


def project_of(folder: Path = PROJECT, live: str | None = None) -> Project:
    """Return the project of a folder, with the settings of the container `proof` and this live database."""
    project = Project.from_file(folder / "alembic.ini")
    with mock.patch.dict(os.environ, owner_environment(live or template())):
        assert project.settings
        assert project.scratch
    return project


def scratch(live: str | None = None) -> Scratch:
    """Return the scratch server, with this live database beside it."""
    return Scratch(project_of(live=live))


def verified(folder: Path, *nodes: Node, rows: int = 20, start: str | None = None, to: str | None = None) -> Report:
    """Write a project of these steps into a folder, and return what `alembic verify` finds of it."""
    project = write(folder / "project", *nodes)
    with mock.patch.dict(os.environ, owner_environment(template())):
        return verify(project_of(project), rows, start, to)
