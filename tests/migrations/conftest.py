from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import migrate, query, scratch_database
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


@pytest.fixture(autouse=True)
def _forget_failures(at_head: str) -> Iterator[None]:
    """What failed there in one test is not in the next one's migration_log."""
    yield
    query(at_head, "DELETE FROM migration_log WHERE outcome = 'failed'")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project's migrations and services, to plant steps in."""
    return copy_project(tmp_path)
