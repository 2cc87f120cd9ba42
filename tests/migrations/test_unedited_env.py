"""An env.py that knows nothing of tangga: its steps are tried out on the scratch server, never on the live database."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from unittest import mock

import pytest
from alembic import command
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from sqlalchemy import create_engine, text

from tangga import brought, rehearsal
from tests.databases import query, scratch_database, url
from tests.migrations.proving import project_of
from tests.support import in_process

STEP = '''"""{revision}"""
import os
import sqlalchemy as sa
from alembic import op
revision, down_revision = "{revision}", {after!r}
def upgrade():
    {up}
def downgrade():
    {down}
'''
TABLES = (
    "SELECT count(*) FROM pg_class WHERE relname IN ('cars', 'alembic_version', 'versions', 'made') AND relkind = 'r'"
)
# How others get at their connection; ENGINE, or a line before it, and what they configure.
BEGINNING = """
import os
from alembic import context
from sqlalchemy import NullPool, create_engine, text
URL = os.environ["DATABASE_URL"]
engine = create_engine(URL, poolclass=NullPool)
"""
ENDING = """
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        context.run_migrations()
"""


def _plant(folder: Path, revision: str, up: str, down: str = "pass", after: str | None = None) -> None:
    file = folder / f"m/versions/{revision}_step.py"
    file.write_text(STEP.format(revision=revision, after=after, up=up, down=down))


def alembic(database: str, *arguments: str, project: Path, **environment: str) -> CompletedProcess[str]:
    """Run it with a scratch server as others have one: this stack's own gives the app rights to every new table."""
    scratch = {"SCRATCH_URL": url("postgres", "superuser")}
    return in_process.alembic(database, *arguments, project=project, environment=scratch | environment)


@pytest.fixture
def cars(tmp_path: Path) -> Path:
    """A project of Alembic's generic template, with two steps."""
    return _cars(tmp_path / "cars")


def _cars(folder: Path, template: str = "generic") -> Path:
    folder.mkdir()
    config = Config(folder / "alembic.ini", stdout=mock.MagicMock())
    command.init(config, str(folder / "m"), template=template)
    _plant(
        folder, "c1", "op.create_table('cars', sa.Column('id', sa.Integer, primary_key=True))", "op.drop_table('cars')"
    )
    _plant(folder, "c2", "op.add_column('cars', sa.Column('n', sa.Integer))", "op.drop_column('cars', 'n')", "c1")
    return folder


def _address(folder: Path, database: str) -> None:
    """Write the live database's address where the template has its own."""
    ini = folder / "alembic.ini"
    address = url(database).replace("%", "%%")
    ini.write_text(ini.read_text().replace("driver://user:pass@localhost/dbname", address))


def _untouched(database: str) -> bool:
    return query(database, TABLES) == [(0,)]


@contextmanager
def _without_guard() -> Iterator[None]:
    """As a run would be with a parameter to Alembic's own environment alone."""

    def run(self: rehearsal.Rehearsal, config: Config, scripts: object, _: object, **options: object) -> None:
        with EnvironmentContext(config, scripts, **options, rehearsal=self):  # type: ignore[arg-type]
            scripts.run_env()  # type: ignore[attr-defined]

    with mock.patch.object(rehearsal.Rehearsal, "run", run):
        yield


@pytest.mark.parametrize("addressed", [True, False], ids=["own address", "the template's address"])
def test_the_generic_template_is_brought_to_the_scratch_server(cars: Path, database: str, addressed: bool) -> None:
    if addressed:
        _address(cars, database)
    for arguments in (["verify", "--rows", "5"], ["plan"]):
        run = alembic(database, *arguments, project=cars)
        assert run.returncode == 0, run.stdout + run.stderr
        assert "cars" in run.stdout or "c2" in run.stdout
        assert _untouched(database)


def test_without_the_guard_the_steps_would_have_run_on_the_live_database(cars: Path, database: str) -> None:
    _address(cars, database)
    with _without_guard():
        alembic(database, "verify", project=cars)
    assert not _untouched(database)


ENDS_ITSELF = """op.create_index("ix_id", "cars", ["id"])
    op.get_bind().commit()
    with op.get_context().autocommit_block():
        op.create_index("ix_n", "cars", ["n"], postgresql_concurrently=True)"""


def test_a_step_that_ends_its_transaction_itself_is_noted_and_not_run_again(cars: Path, database: str) -> None:
    """Where env.py commits at its end, as theirs do that have such steps, Alembic's row stays."""
    _address(cars, database)
    _plant(cars, "c3", ENDS_ITSELF, "op.drop_index('ix_n'); op.drop_index('ix_id')", "c2")
    _plant(cars, "c4", "op.add_column('cars', sa.Column('m', sa.Integer))", "op.drop_column('cars', 'm')", "c3")
    run = alembic(database, "plan", project=cars)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("CREATE INDEX ix_id") == 1
    assert "\n4 steps, " in run.stdout
    assert _untouched(database)


# env.py makes a schema of its own before it configures.
OWN = "    connection.execute(text('CREATE SCHEMA IF NOT EXISTS own'))\n"
ELSEWHERE = "version_table_schema='own', version_table='versions', include_object=lambda *_: True, "
KINDS = {
    "settings of its own": ENDING,
    "a transaction of its own": ENDING.replace(".connect()", ".begin()").replace(
        "with context.begin_transaction()", "if 1"
    ),
    "its version table in a schema": ENDING.replace(
        "    context.configure(", f"{OWN}    connection.commit()\n    context.configure({ELSEWHERE}"
    ),
    "its search_path": ENDING.replace(
        "    context.configure(",
        f"{OWN}    connection.execute(text('SET search_path TO own, public'))\n    context.configure(",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_env_py_does_its_steps_run_there(cars: Path, database: str, kind: str) -> None:
    (cars / "m/env.py").write_text(BEGINNING + KINDS[kind])
    run = alembic(database, "verify", "--rows", "5", project=cars)
    assert run.returncode == 0, run.stdout + run.stderr
    assert _untouched(database)
    assert query(database, "SELECT count(*) FROM pg_namespace WHERE nspname = 'own'") == [(0,)]


def test_statements_are_not_printed_because_env_py_would(
    cars: Path, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A level is put back; the root's too, which SQLAlchemy's loggers may go by."""
    loud = {"sqlalchemy.engine": logging.INFO, "root": logging.INFO}
    (cars / "m/env.py").write_text(
        f"{BEGINNING}import logging\nfor name, level in {loud}.items():\n"
        f"    logging.getLogger(name).setLevel(level)\n{ENDING}"
    )
    before = {name: logging.getLogger(name).level for name in loud}
    with mock.patch.object(rehearsal, "_OF_STATEMENTS", ()):
        alembic(database, "verify", "--rows", "5", project=cars)
    assert {name: logging.getLogger(name).level for name in loud} == loud
    assert "SELECT" in caplog.text
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)
    caplog.clear()
    alembic(database, "verify", "--rows", "5", project=cars)
    assert {name: logging.getLogger(name).level for name in loud} == before
    assert "SELECT" not in caplog.text


BY_ENGINE = "e = sa.create_engine(os.environ['DATABASE_URL']); c = e.connect();"
BY_ENGINE += " c.execute(sa.text('CREATE TABLE made (id int)')); c.commit(); c.close(); e.dispose()"


def test_an_engine_of_the_application_is_brought_there_too(cars: Path, database: str) -> None:
    _address(cars, database)
    _plant(cars, "c3", BY_ENGINE, "op.drop_table('made')", "c2")
    run = alembic(database, "verify", "--rows", "5", project=cars)
    assert run.returncode == 0, run.stdout + run.stderr
    assert _untouched(database)
    with _without_guard():
        alembic(database, "verify", project=cars)
    assert query(database, MADE) == [(1,)]


MADE = "SELECT count(*) FROM pg_class WHERE relname = 'made'"
RAW = "import psycopg2; c = psycopg2.connect(os.environ['DATABASE_URL'].replace('+psycopg2', ''));"
RAW += " c.cursor().execute('CREATE TABLE made (id int)'); c.commit(); c.close()"


def test_a_step_that_connects_by_the_driver_is_refused(cars: Path, database: str) -> None:
    _address(cars, database)
    _plant(cars, "c3", RAW, "pass", "c2")
    run = alembic(database, "verify", "--rows", "5", project=cars)
    assert run.returncode != 0
    assert f"{database} at " in run.stdout + run.stderr
    assert "cannot be brought there" in run.stdout + run.stderr
    assert _untouched(database)
    with _without_guard():
        alembic(database, "verify", project=cars)
    assert query(database, MADE) == [(1,)]


CREATOR = "import psycopg2\nengine = create_engine('postgresql+psycopg2://', poolclass=NullPool,"
CREATOR += " creator=lambda: psycopg2.connect(URL.replace('+psycopg2', '')))"


def test_a_connection_that_cannot_be_brought_is_refused(cars: Path, database: str) -> None:
    (cars / "m/env.py").write_text(f"{BEGINNING}{CREATOR}\n{ENDING}")
    run = alembic(database, "verify", "--rows", "5", project=cars)
    assert run.returncode != 0
    assert f"{database} at " in run.stdout + run.stderr
    assert _untouched(database)


def test_what_a_pool_has_kept_is_not_where_the_next_run_is(
    cars: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An application's engine keeps connections: to the live database, then to one scratch database after another."""
    kept = create_engine(url(database))
    kept.connect().close()
    monkeypatch.setitem(sys.modules, "kept", SimpleNamespace(ENGINE=kept))
    (cars / "m/env.py").write_text(f"{BEGINNING}import kept\nengine = kept.ENGINE\n{ENDING}")
    with mock.patch.object(brought, "POSTGRESQL", ("no driver's",)):
        assert "cannot be brought there" in alembic(database, "verify", "--rows", "5", project=cars).stderr
    for arguments in (["verify", "--rows", "5"], ["plan"]):
        run = alembic(database, *arguments, project=cars)
        assert run.returncode == 0, run.stdout + run.stderr
        assert _untouched(database)
    with kept.connect() as connection:
        assert connection.scalar(text("SELECT current_database()")) == database
    kept.dispose()


def test_an_env_py_of_several_databases_is_refused(tmp_path: Path, database: str) -> None:
    cars = _cars(tmp_path / "cars", "multidb")
    for step in cars.glob("m/versions/*.py"):
        step.write_text(step.read_text().replace("grade():", "grade(engine_name):"))
    ini = cars / "alembic.ini"
    with scratch_database() as other:
        text = ini.read_text()
        for name, each in (("", database), ("2", other)):
            text = text.replace(f"driver://user:pass@localhost/dbname{name}\n", f"{url(each)}\n", 1)
        ini.write_text(text)
        run = alembic(database, "verify", "--rows", "5", project=cars)
        assert run.returncode != 0
        assert "env.py migrates several databases" in run.stdout + run.stderr
        assert _untouched(database)
        assert _untouched(other)


def test_sql_is_printed_without_any_connection(cars: Path, database: str) -> None:
    project = project_of(cars, database)
    assert "CREATE TABLE cars" in project.sql("base", "c1")
    (cars / "m/env.py").write_text(BEGINNING + ENDING)
    run = alembic(database, "verify", "--rows", "5", project=cars)
    assert "is connected to, although SQL is only printed" in run.stdout + run.stderr


def test_verify_needs_no_live_database(cars: Path, database: str) -> None:
    run = alembic(database, "verify", "--rows", "5", project=cars, DATABASE_URL="")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "c2" in run.stdout
    refused = alembic(database, "plan", project=cars, DATABASE_URL="")
    assert "no database is named" in refused.stderr
