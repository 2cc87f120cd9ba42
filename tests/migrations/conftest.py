from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import migrate, scratch_database
from tests.migrations.staircase import HEAD, copy_project


@pytest.fixture
def database() -> Iterator[str]:
    """A database as the first start leaves it: roles, and no table."""
    with scratch_database() as name:
        yield name


@pytest.fixture(scope="session")
def at_head() -> Iterator[str]:
    """A migrated database, for tests that only look."""
    with scratch_database() as name:
        migrate(name, "upgrade", HEAD)
        yield name


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project's migrations and services, to plant steps in."""
    return copy_project(tmp_path)
