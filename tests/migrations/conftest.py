from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import migrate, query, scratch_database
from tests.migrations.staircase import HEAD, copy_project
from tests.support.library import FOLDER, copy_library, fill
from tests.support.undoing import planted


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


@pytest.fixture(scope="session")
def shelved() -> Iterator[str]:
    """The database of the library at head, for tests that only look."""
    with scratch_database() as name:
        migrate(name, "upgrade", "head", project=FOLDER)
        yield name


@pytest.fixture(autouse=True)
def _forget_failures(request: pytest.FixtureRequest) -> Iterator[None]:
    """What failed there in one test is not in the next one's migration_log."""
    shared = [request.getfixturevalue(name) for name in ("at_head", "shelved") if name in request.fixturenames]
    yield
    for name in shared:
        query(name, "DELETE FROM tangga.migration_log WHERE outcome = 'failed'")


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


# Steps down ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the saves, for commands in this process and in others."""
    path = tmp_path / "saved"
    path.mkdir()
    monkeypatch.setenv("MIGRATE_SAVE_DIR", str(path))
    return path


@pytest.fixture(scope="session")
def stocked(shelved: str) -> Iterator[str]:
    """A library with 20 authors, 60 books and 100 loans, to make copies of."""
    with scratch_database(shelved) as database:
        fill(database)
        yield database


@pytest.fixture
def filled(stocked: str) -> Iterator[str]:
    with scratch_database(stocked) as database:
        yield database


# Above the head, a column that is NOT NULL and has no default: rows of books go back with the values of two saves.
SHELF = """op.add_column('books', sa.Column('shelf', sa.String(), server_default='', nullable=False))
    op.alter_column('books', 'shelf', server_default=None)"""


@pytest.fixture
def with_shelves(filled: str, library: Path) -> str:
    planted(filled, library, "op.drop_column('books', 'shelf')", SHELF)
    query(filled, "UPDATE books SET shelf = 'shelf ' || id")
    return filled
