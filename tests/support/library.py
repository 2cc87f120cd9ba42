"""The history tests/histories/library: a project that is nobody's product, to try tangga on.

It has what most tests need: rows that refer to rows, a column that may be NULL, a table without rows of its own.
"""

import shutil
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from subprocess import CompletedProcess

from tests import databases
from tests.databases import PROJECT, connect, run
from tests.support import in_process, steps
from tests.support.steps import Step

FOLDER = PROJECT / "tests/histories/library"
STEPS = [
    Step("l10000000001", "l1 authors"),
    Step("l20000000002", "l2 books"),
    Step("l30000000003", "l3 loans"),
    Step("l40000000004", "l4 notes"),
]
L1, L2, L3, L4 = REVISIONS = [step.revision for step in STEPS]
HEAD = L4
# For the environment: no server is there.
NOWHERE = {"DATABASE_URL": "postgresql://nobody@localhost:1/nowhere"}


def copy_library(folder: Path, *, with_tangga: bool = False) -> Path:
    """Copy the history to a folder in which a test may plant steps; with the package, if the test changes that."""
    shutil.copytree(FOLDER, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    if with_tangga:
        shutil.copytree(PROJECT / "services/migrate/tangga", folder / "tangga")
    return folder


def plant(library: Path, revision: str, upgrade: str, *, after: str | None = HEAD, downgrade: str = "pass") -> Path:
    """Write a step with this body (one line) after the head, or after another step."""
    return steps.plant(library, revision, upgrade, after=after, downgrade=downgrade)


def migrate(database: str, *arguments: str, project: Path = FOLDER) -> None:
    """Run Alembic's command line on a database of the library; a failure is the test's."""
    databases.migrate(database, *arguments, project=project)


def alembic(
    database: str, *arguments: str, project: Path = FOLDER, environment: Mapping[str, str] | None = None
) -> CompletedProcess[str]:
    """Run `alembic ...` on a database of the library, as in_process.py does."""
    return in_process.alembic(database, *arguments, project=project, environment=environment)


def fill(database: str, authors: int = 20, books: int = 60, loans: int = 100) -> None:
    """Insert rows into a library at head; every second book has a note."""
    with closing(connect(database)) as connection:
        run(
            connection,
            "INSERT INTO authors (name, secret) SELECT 'author ' || n, 'x' FROM generate_series(1, %s) n",
            authors,
        )
        run(
            connection,
            "INSERT INTO books (title, pages, author_id, note) SELECT 'book ' || n, n, 1 + n %% %s,"
            " CASE WHEN n %% 2 = 0 THEN 'note ' || n END FROM generate_series(1, %s) n",
            authors,
            books,
        )
        run(
            connection,
            "INSERT INTO loans SELECT 1 + n %% %s, 1 + n %% %s FROM generate_series(1, %s) n",
            authors,
            books - 1,
            loans,
        )
