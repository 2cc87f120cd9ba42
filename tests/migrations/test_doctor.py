"""The doctor looks at the live database and changes nothing; no password is printed."""

import json
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.databases import owner_environment, query, url
from tests.support.in_process import alembic
from tests.support.library import FOLDER, HEAD, plant
from tests.support.pages import differs

NOWHERE = "postgresql://nobody:hidden-word@127.0.0.1:1/x"


def test_a_project_in_which_everything_works(shelved: str) -> None:
    run = alembic(shelved, "doctor", project=FOLDER)
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"alembic_version: at {HEAD}, 0 pending" in run.stdout
    assert "does not:" not in run.stdout
    assert differs("docs/adopt.md", "✓  configuration", run.stdout) == ""


def test_nothing_is_changed_and_no_password_is_printed(database: str, library: Path) -> None:
    plant(library, "l50000000005", "op.execute('CREATE SCHEMA own')")
    seen = "SELECT count(*), max(oid::int8) FROM pg_class"
    before = query(database, seen)
    for arguments in (["doctor"], ["doctor", "--json"]):
        run = alembic(database, *arguments, project=library)
        assert run.returncode == 0, run.stdout + run.stderr
        for value in owner_environment(database).values():
            assert "://" not in value or value not in run.stdout + run.stderr
        assert str(make_url(url(database)).password) not in run.stdout + run.stderr
    assert query(database, seen) == before
    assert "none: no step has run" in json.loads(run.stdout)["signs"][-4]["what"]


@pytest.mark.parametrize(
    ("named", "said", "lacks"),
    [
        ("DATABASE_URL", "✗  database ", "plan (database)"),
        ("SCRATCH_URL", "✗  scratch server ", "verify (scratch server)"),
    ],
)
def test_what_is_not_there_is_said_with_what_does_not_work(
    database: str, library: Path, named: str, said: str, lacks: str
) -> None:
    (library / "pyproject.toml").write_text("")
    run = alembic(database, "doctor", project=library, environment={named: NOWHERE})
    assert run.returncode == 12
    assert said in run.stdout
    assert f"does not: {lacks}\n" in run.stdout
    assert "hidden-word" not in run.stdout + run.stderr


def test_a_database_ahead_of_the_files_is_named(shelved: str, library: Path) -> None:
    (library / f"migrations/versions/{HEAD}_notes.py").unlink()
    run = alembic(shelved, "doctor", project=library)
    assert run.returncode == 12
    assert "✗  version table" in run.stdout
    assert HEAD in run.stdout
