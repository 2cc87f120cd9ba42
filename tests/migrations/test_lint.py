"""`alembic lint` with a database: the safe forms run there, and it knows what is pending, edited, and invalid.

What the linter finds without one is shown in tests/unit/lint.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import alembic.config
import pytest

from tangga.exits import FINDINGS
from tangga.lint import examples
from tangga.lint.rule import Example
from tangga.lint.rules.files import GROUND
from tests.databases import alembic_process, migrate, owner_environment, query, scratch_database
from tests.migrations.staircase import HEAD, edit, plant

_EVERY = [example for _, example in examples.every()]


def _upgrade(history: Path, database: str, to: str) -> None:
    """Run the steps of a history that is not the product's."""
    own = os.environ | owner_environment(database)
    address = "postgresql+psycopg2://{DB_USERNAME}:{DB_PASS}@{DB_HOSTNAME}:{DB_PORT}/{DB_NAME}".format(**own)
    with mock.patch.dict(os.environ, DATABASE_URL=address):
        alembic.config.main(argv=["--config", str(history / "alembic.ini"), "upgrade", to])


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database on which the examples can be tried: tables with a row."""
    history = tmp_path_factory.mktemp("ground")
    examples.start(history)
    with scratch_database() as database:
        _upgrade(history, database, GROUND)
        yield database


@pytest.mark.parametrize("example", _EVERY, ids=[example.name for example in _EVERY])
def test_the_safe_form_runs(tmp_path: Path, grown: str, example: Example) -> None:
    examples.start(tmp_path)
    examples.plant_safe(tmp_path, example)
    with scratch_database(grown) as database:
        _upgrade(tmp_path, database, "head")
        assert query(database, "SELECT version_num FROM alembic_version") == [("safe",)]


def test_what_breaks_the_release_before_is_declared_and_only_a_deploy_asks(database: str, project: Path) -> None:
    migrate(database, "upgrade", "head", project=project)
    file = plant(
        project,
        "planted00001",
        'op.alter_column("posts", "nama", new_column_name="name")',
        downgrade='op.alter_column("posts", "name", new_column_name="nama")',
    )
    undeclared = alembic_process(database, "lint", "--pending", project=project)
    assert (undeclared.returncode, "renaming-column (up)" in undeclared.stdout) == (FINDINGS, True)
    edit(file, "def upgrade", 'breaks_previous_release = "it reads nama"\ndef upgrade')
    for options, code in (((), 0), (("--pending",), FINDINGS), (("--pending", "--outage"), 0)):
        linted = alembic_process(database, "lint", *options, project=project)
        assert linted.returncode == code, linted.stdout
    refused = alembic_process(database, "lint", "--pending", project=project).stdout
    assert refused.startswith("migrations/versions/planted_planted00001.py:")
    assert "breaks-previous-release" in refused
    assert "cannot work with it: it reads nama" in refused
    assert "1 revision: 1 finding" in refused
    migrate(database, "upgrade", "head", project=project)
    assert "0 revisions: 0 findings" in alembic_process(database, "lint", "--pending", project=project).stdout


def test_a_database_tells_edited_files_and_invalid_indexes(at_head: str, project: Path) -> None:
    def lint(database: str) -> tuple[int, list[tuple[str, int, str]]]:
        finished = alembic_process(database, "lint", "--database", "--json", project=project)
        found = [one for one in json.loads(finished.stdout) if one["exception"] is None]
        return finished.returncode, [(one["rule"], one["line"], one["revision"]) for one in found]

    index = 'safe.create_index("ix_posts_nama", "posts", ["nama"], unique=True)'
    plant(project, "planted00001", f"from tangga import safe; {index}", downgrade='op.execute("SELECT 1")')
    with scratch_database(at_head) as database:
        migrate(database, "upgrade", "head", project=project)
        assert lint(database) == (0, [])
        query(
            database,
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_posts_nama'::regclass",
            role="superuser",
        )
        edit(next((project / "migrations/versions").glob(f"*_{HEAD}_*.py")), "v10", "V10")
        assert lint(database) == (
            FINDINGS,
            [("edited-after-applied", 12, HEAD), ("invalid-index", 5, "planted00001")],
        )
    unreachable = alembic_process("unused", "lint", "--database", project=project, environment={"DB_PORT": "1"})
    assert unreachable.returncode == 5
    assert "no database at" in unreachable.stderr
