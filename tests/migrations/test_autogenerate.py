"""Every kind of change of a model: seen, written in a form that the linter accepts, and run up and down on rows."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from unittest import mock

import pytest
from psycopg2 import sql
from sqlalchemy import Engine, Table, create_engine

from tangga.catalogue.dump import objects
from tangga.drift import models as comparison
from tests.databases import PROJECT, query, scratch_database, url
from tests.migrations.proving import scratch
from tests.support import changes
from tests.support.changes import APART, CHANGES, LOST, RENAMED, changed
from tests.support.in_process import alembic
from tests.support.linting import lint


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose first step autogenerate writes from the models."""
    return changes.start(tmp_path_factory.mktemp("changing") / "project", PROJECT / "migrations/script.py.mako")


@pytest.fixture(scope="module")
def stocked(ground: Path) -> Iterator[str]:
    """A database with the first step, and rows."""
    with scratch_database() as database:
        _ok(alembic(database, "revision", "--autogenerate", "-m", "the ground", "--rev-id", "ground", project=ground))
        _ok(alembic(database, "upgrade", "head", project=ground))
        query(database, changes.ROWS)
        yield database


@pytest.fixture
def project(ground: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ground, tmp_path / "project"))


@pytest.fixture
def database(stocked: str) -> Iterator[str]:
    with scratch_database(stocked) as name:
        yield name


def _ok(finished: CompletedProcess[str]) -> str:
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def _written(database: str, project: Path) -> str:
    _ok(alembic(database, "revision", "--autogenerate", "-m", "changed", "--rev-id", "changed", project=project))
    return (project / "migrations/versions/changed.py").read_text()


def test_models_that_say_the_same_agree_also_in_a_schema_of_their_own(database: str, project: Path) -> None:
    said = _ok(alembic(database, "revision", "--autogenerate", "-m", "nothing", project=project))
    assert re.search(r"Models and database agree, \d+ objects compared: no file was written\.$", said.strip())
    assert len([*(project / "migrations/versions").glob("*.py")]) == 1
    assert "agree" in _ok(alembic(database, "check", project=project))
    _ok(alembic(database, "downgrade", "base", project=project))


def test_partitions_and_tables_of_others_are_left_alone_and_named(database: str, project: Path) -> None:
    """No model describes them, and a step that drops them would lose their rows."""
    query(database, "CREATE TABLE old_items (closed boolean) INHERITS (items); CREATE INDEX ON old_items (number)")
    query(
        database,
        sql.SQL("CREATE TABLE theirs (id integer); ALTER TABLE theirs OWNER TO {}").format(
            sql.Identifier(os.environ["DB_USERNAME"])
        ),
        role="superuser",
    )
    with mock.patch("tangga.drift.models.left_alone", return_value=set()):
        text = _written(database, project)
    # The harm: it would drop both.
    assert "op.drop_table('old_items'" in text
    assert "op.drop_table('theirs'" in text
    (project / "migrations/versions/changed.py").unlink()
    said = _ok(alembic(database, "revision", "--autogenerate", "-m", "nothing", project=project))
    assert "so they were not compared: table old_items, table theirs; nor privileges." in said
    assert re.search(r"In what models describe \(\d+ objects\), models and database agree: no file was written", said)
    # A table that is nobody's but ours is missed.
    query(database, "CREATE TABLE ours (id integer)")
    assert "op.drop_table('ours'" in _written(database, project)


@pytest.fixture(scope="module")
def copied(stocked: str) -> Iterator[Engine]:
    """A copy for comparisons, which leave nothing behind."""
    with scratch_database(stocked) as database:
        engine = create_engine(url(database))
        yield engine
        engine.dispose()


@pytest.mark.parametrize("name", [*CHANGES, *RENAMED])
def test_a_change_is_seen(copied: Engine, name: str) -> None:
    with copied.connect() as connection:
        models = [changed((CHANGES | RENAMED)[name])]
        found, note = comparison.compare(connection, lambda: scratch().dump(copied), models, {})
    assert found
    assert note is None


@pytest.mark.parametrize("names", [[name for name in CHANGES if name not in APART], APART], ids=["most", "the others"])
def test_changes_are_written_in_forms_that_the_linter_accepts_and_go_up_and_down_on_rows(
    database: str, project: Path, names: list[str]
) -> None:
    these = [CHANGES[name] for name in names]
    lost = {LOST[name] for name in names if name in LOST}
    before = _everything(database, lost)
    with changes.current(changed(*these)):
        assert alembic(database, "check", project=project).returncode != 0
        text = _written(database, project)
        assert [each.written for each in these if each.written not in _plain(text)] == []
        assert "Not written" not in text
        found = {f"{one.direction}: {one.rule}" for one in lint(project, "changed") if one.exception is None}
        assert found == set().union(*(each.findings for each in these))
        _ok(alembic(database, "upgrade", "head", project=project))
        left = [line for line in alembic(database, "drift", project=project).stdout.splitlines() if "models" in line]
        if "column added, NOT NULL" in names:
            # The release that runs needs the default until it is gone: that is a later step.
            assert left == ["models: column items.kind: default: none in the models, ''::text in the schema"]
        else:
            assert left == []
            assert "agree" in _ok(alembic(database, "check", project=project))
        _ok(alembic(database, "downgrade", "-1", project=project))
        assert _everything(database, lost) == before
        _ok(alembic(database, "upgrade", "head", project=project))


# How a table is kept: Alembic does not compare it, and nothing of it is written but that it differs.
KEPT: dict[str, Callable[[Table], None]] = {
    "UNLOGGED": lambda table: table.__dict__.update(_prefixes=["UNLOGGED"]),
    "WITH": lambda table: table.dialect_options["postgresql"].update({"with": {"fillfactor": 50}}),
    "PARTITION BY": lambda table: table.dialect_options["postgresql"].update(partition_by="HASH (id)"),
    "INHERITS": lambda table: table.dialect_options["postgresql"].update(inherits="people"),
}


@pytest.mark.parametrize("how", KEPT)
def test_how_a_table_is_kept_is_no_agreement(database: str, project: Path, how: str) -> None:
    models = changed(CHANGES["sequence"]._replace(done=lambda _: None))
    KEPT[how](models.tables["items"])
    with changes.current(models):
        text = _written(database, project)
        assert "# Not written: table items: " in text
        _ok(alembic(database, "upgrade", "head", project=project))


def test_what_cannot_be_written_is_said_in_a_file_that_can_be_loaded(database: str, project: Path) -> None:
    (project / "migrations/versions/bills.py").write_text(
        "from alembic import op\nrevision, down_revision = 'bills', 'ground'\n\n\ndef upgrade() -> None:\n"
        "    op.execute('CREATE SEQUENCE bills INCREMENT 5')\n\n\ndef downgrade() -> None:\n"
        "    op.execute('DROP SEQUENCE bills')\n"
    )
    _ok(alembic(database, "upgrade", "head", project=project))
    with changes.current(changed(CHANGES["sequence"])):
        text = _written(database, project)
        assert text.count("# Not written: sequence bills: CREATE SEQUENCE ") == 2
        _ok(alembic(database, "upgrade", "head", project=project))
        assert alembic(database, "check", project=project).returncode == 9


@pytest.mark.parametrize("name", RENAMED)
def test_a_suspected_rename_is_asked_about(database: str, project: Path, name: str) -> None:
    with changes.current(changed(RENAMED[name])):
        text = _written(database, project)
        assert RENAMED[name].written in text
        assert "is it the old one under a new name?" in text
        finished = alembic(database, "upgrade", "head", project=project)
        assert finished.returncode == 3
        assert "renamed, or another?" in finished.stderr


def _plain(text: str) -> str:
    return text.replace("\\'", "'")


def _everything(database: str, lost: set[str]) -> tuple[dict[str, str], list[str]]:
    """Return the schema as pg_dump prints it, and all rows but for what is lost."""
    rows = [
        str(row)
        for table in {"people", "items", "boxes", '"Shop".stock'} - lost
        for row in query(database, f"SELECT to_jsonb(t) - %s::text[] FROM {table} AS t ORDER BY id", [*lost])
    ]
    return objects(scratch().dump(create_engine(url(database)))), rows
