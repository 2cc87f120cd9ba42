"""docs/adopt.md: what each step of adopting tangga prints, on a project that has never seen it."""

from pathlib import Path
from subprocess import CompletedProcess
from unittest import mock

import pytest
from alembic import command
from alembic.config import Config

from tests.databases import query, url
from tests.support import in_process
from tests.support.pages import differs

STEPS = {
    "c1": (None, "op.create_table('cars', sa.Column('id', sa.Integer, primary_key=True))", "op.drop_table('cars')"),
    "c2": ("c1", "op.add_column('cars', sa.Column('n', sa.Integer))", "op.drop_column('cars', 'n')"),
    "c3": ("c2", "op.create_index('cars_n', 'cars', ['n'])", "op.drop_index('cars_n')"),
}
GUARDED = """
import os
import tangga
from alembic import context
from sqlalchemy import NullPool, create_engine

engine = create_engine(os.environ["DATABASE_URL"], poolclass=NullPool)
with engine.connect() as connection, tangga.guarded(connection) as options:
    context.configure(connection=connection, target_metadata=None, **options)
    with context.begin_transaction():
        context.run_migrations()
"""


def alembic(database: str, *arguments: str, project: Path, **environment: str) -> CompletedProcess[str]:
    """Run it with a scratch server as others have one: this stack's own gives the app rights to every new table."""
    scratch = {"SCRATCH_URL": url("postgres", "superuser")}
    return in_process.alembic(database, *arguments, project=project, environment=scratch | environment)


@pytest.fixture
def cars(tmp_path: Path, database: str) -> Path:
    """A project of Alembic's generic template, with three steps."""
    folder = tmp_path / "cars"
    folder.mkdir()
    command.init(Config(folder / "alembic.ini", stdout=mock.MagicMock()), str(folder / "m"))
    ini = folder / "alembic.ini"
    ini.write_text(ini.read_text().replace("driver://user:pass@localhost/dbname", url(database).replace("%", "%%")))
    for revision, (after, up, down) in STEPS.items():
        (folder / f"m/versions/{revision}_step.py").write_text(
            f'"""{revision}"""\nimport sqlalchemy as sa\nfrom alembic import op\n'
            f"revision, down_revision = {revision!r}, {after!r}\n\n\n"
            f"def upgrade():\n    {up}\n\n\ndef downgrade():\n    {down}\n"
        )
    return folder


def test_lint_accepts_what_is_there_and_speaks_of_what_is_new(cars: Path, database: str) -> None:
    run = alembic(database, "lint", project=cars)
    assert run.returncode == 12
    assert differs("docs/adopt.md", "m/versions/c3_step.py:", run.stdout) == ""
    assert alembic(database, "lint", "--baseline", "accepted", "--write-baseline", project=cars).returncode == 0
    run = alembic(database, "lint", "--baseline", "accepted", project=cars)
    assert run.returncode == 0
    assert differs("docs/adopt.md", "3 revisions: 0 findings", run.stdout) == ""


def test_the_proof(cars: Path, database: str) -> None:
    run = alembic(database, "verify", project=cars)
    assert run.returncode == 0, run.stdout + run.stderr
    assert differs("docs/adopt.md", "step  message", run.stdout) == ""


def test_the_guard(cars: Path, database: str) -> None:
    (cars / "m/env.py").write_text(GUARDED)
    assert alembic(database, "upgrade", "head", project=cars).returncode == 0
    run = alembic(database, "log", project=cars)
    assert differs("docs/adopt.md", "database ... | at c3", run.stdout) == ""


def test_a_database_that_create_all_made(cars: Path, database: str) -> None:
    (cars / "m/env.py").write_text(GUARDED)
    # As create_all leaves it: the tables, and no version.
    query(database, "CREATE TABLE cars (id serial PRIMARY KEY, n integer)")
    run = in_process.alembic(database, "upgrade", "head", project=cars)
    assert run.returncode == 9
    assert differs("docs/adopt.md", "error: the database holds tables", run.stderr) == ""
    assert in_process.alembic(database, "stamp", "head", project=cars).returncode == 0
    run = in_process.alembic(database, "drift", project=cars)
    assert run.returncode == 9
    assert differs("docs/adopt.md", "index cars.cars_n", run.stdout) == ""
    query(database, "CREATE INDEX cars_n ON cars (n)")
    assert in_process.alembic(database, "drift", project=cars).returncode == 0
