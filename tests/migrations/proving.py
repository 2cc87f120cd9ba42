"""What the tests of the proving commands share: a project and the scratch server as those commands see them."""

import os
from pathlib import Path
from unittest import mock

from tangga.project import Project
from tangga.scratch.server import Scratch
from tests.databases import PROJECT, owner_environment, template


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
