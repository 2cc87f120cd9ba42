from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import migrate, query, scratch_database
from tests.migrations.staircase import HEAD, copy_project
from tests.support.library import FOLDER, copy_library, fill

# What all tests of a run look at, and none changes.
_shared: list[str] = []


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
        _shared.append(name)
        yield name
        _shared.remove(name)


@pytest.fixture(scope="session")
def shelved() -> Iterator[str]:
    """The database of the library at head, for tests that only look."""
    with scratch_database() as name:
        migrate(name, "upgrade", "head", project=FOLDER)
        _shared.append(name)
        yield name
        _shared.remove(name)


@pytest.fixture(autouse=True)
def _forget_failures() -> Iterator[None]:
    """What failed there in one test is not in the next one's migration_log."""
    yield
    for name in _shared:
        query(name, "DELETE FROM migration_log WHERE outcome = 'failed'")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project's migrations and services, to plant steps in."""
    return copy_project(tmp_path)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A copy of the library's migrations, to plant steps in."""
    return copy_library(tmp_path / "library")


@pytest.fixture(scope="session")
def populated(shelved: str) -> Iterator[str]:
    """A database of the library at head with rows in every table, and no NULL."""
    with scratch_database(shelved) as database:
        fill(database, authors=300, books=200, loans=200)
        query(database, "UPDATE books SET note = 'a note'")
        query(database, "ANALYZE")
        yield database


@pytest.fixture
def live(populated: str) -> Iterator[str]:
    """A copy of it, to be changed."""
    with scratch_database(populated) as database:
        yield database
