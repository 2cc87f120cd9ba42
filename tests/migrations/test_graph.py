"""`alembic graph`: the steps with what is applied, and the tables at any step; in the terminal and as SVG."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tangga.graph import drawing
from tests.databases import (
    alembic_process,
    eventually,
    finish,
    query,
    scratch_database,
    scratch_databases_of,
    start_alembic,
)
from tests.migrations.proving import scratch
from tests.support.library import HEAD, L1, L2, STEPS, alembic, migrate, plant
from tests.support.schema import revision
from tests.support.shapes import Node, write
from tests.support.steps import edit

SVG = "{http://www.w3.org/2000/svg}"


def _graph(database: str, *options: str, project: Path, **environment: str) -> CompletedProcess[str]:
    finished = alembic(database, "graph", *options, project=project, environment=environment)
    assert finished.returncode == 0, finished.stderr
    # No warning of a library reaches the screen.
    assert finished.stderr == ""
    return finished


def _texts(file: Path) -> list[str]:
    return [element.text or "" for element in ElementTree.parse(file).iter(f"{SVG}text")]


def test_the_terminal_shows_steps_and_tables(shelved: str, library: Path) -> None:
    with scratch_database(shelved) as database:
        migrate(database, "downgrade", L2, project=library)
        shown = _graph(database, project=library).stdout
        steps = [line.split("  ") for line in shown.splitlines()[1:5]]
        assert [line[0].strip() for line in steps] == [*"○○◉●"]
        lines = [line for line in shown.splitlines() if any(step.revision in line for step in STEPS)]
        states = ["pending", "pending", "current", "applied"]
        for line, step, state in zip(lines, reversed(STEPS), states, strict=False):
            assert step.revision in line
            assert step.message in line
            assert line.rstrip().endswith(state)
        assert f"Tables at {HEAD}" in shown
        assert "│ FK │ author_id │ integer" in shown
        assert "→ authors.id, on delete cascade" in shown
        assert "│ PK FK │ author_id │ integer │" in shown
        assert "timestamp with time zone" in shown
        # Neither the migrators' tables nor colours, for this is no terminal.
        assert "migration_" not in shown
        assert "alembic_version" not in shown
        assert "\x1b" not in shown
        # The database was only read.
        assert revision(database) == L2


def test_the_tables_are_those_of_the_step_that_was_asked_for(database: str, library: Path) -> None:
    shown = _graph(database, L2, project=library).stdout
    assert f"Tables at {L2}" in shown
    assert "pages" in shown
    assert "note" not in shown.partition("Tables at")[2]
    assert "loans" not in shown.partition("Tables at")[2]
    assert "applied" not in shown
    assert "No tables at base" in _graph(database, "base", project=library).stdout
    # Live, nothing was made.
    assert query(database, "SELECT to_regclass('books')") == [(None,)]


@pytest.mark.parametrize(("at", "code"), [(L1, 0), ("head", 3)])
def test_no_scratch_database_is_left(shelved: str, library: Path, at: str, code: int) -> None:
    # Long enough to be seen.
    [first] = (library / "migrations/versions").glob(f"{L1}*")
    edit(first, "def upgrade() -> None:\n", "def upgrade() -> None:\n    op.execute('SELECT pg_sleep(1)')\n")
    plant(library, "0000000000a1", "raise RuntimeError('no such luck')")
    drawing = start_alembic(shelved, "graph", at, project=library)
    assert eventually(lambda: scratch_databases_of(drawing) != [])
    finished = finish(drawing)
    assert (finished.returncode, "no such luck" in finished.stderr) == (code, code == 3), finished.stderr
    assert scratch_databases_of(drawing) == []


_TWO = "(id serial PRIMARY KEY, shelf text)"
IN_SCHEMAS = {
    "no other": (f"CREATE SCHEMA store; CREATE TABLE store.thing {_TWO}", ["store.thing"]),
    "the same name twice": (
        f"CREATE SCHEMA store; CREATE TABLE store.thing {_TWO}; CREATE TABLE thing {_TWO}", ["store.thing", "thing"],
    ),
    "a quoted one, and a key across them": (
        f"""CREATE SCHEMA "Toko Buku"; CREATE TABLE thing {_TWO}; """
        """CREATE TABLE "Toko Buku"."Part" (shelf text, thing int REFERENCES thing)""",
        ["Toko Buku.Part", "thing"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_SCHEMAS)
def test_tables_of_other_schemas_are_shown(database: str, tmp_path: Path, name: str) -> None:
    up, tables = IN_SCHEMAS[name]
    project = write(tmp_path / "project", Node("c1", None, up))
    shown = _graph(database, project=project).stdout.partition("Tables at")[2]
    names = {line.strip().strip("╭╮─ ") for line in shown.splitlines()}
    assert {*tables} <= names | {*shown.split("  ")}, shown
    assert shown.count("shelf") == len(tables)
    drawn = _graph(database, "--svg", project=project).stdout.split()[1]
    assert {*tables, "shelf"} <= {*_texts(project / drawn)}


def test_svg_files_are_well_formed_and_their_text_is_text(shelved: str, library: Path) -> None:
    printed = _graph(shelved, "--svg", project=library).stdout.split()
    assert printed == ["graphs/graph-steps.svg", f"graphs/graph-tables-{HEAD}.svg"]
    steps, tables = (_texts(library / name) for name in printed)
    for step in STEPS:
        assert step.revision in steps
        assert step.message in steps
    assert (steps.count("applied"), steps.count("current")) == (3, 1)
    assert {"books", "authors", "loans", "author_id", "PK FK", "timestamp with time zone"} <= set(tables)
    # White beneath, whatever the page around it is.
    for name in printed:
        [background, *_] = ElementTree.parse(library / name).iter(f"{SVG}path")
        assert "fill: #ffffff" in background.get("style", "")
    # git does not see them, and the same again is the same again.
    assert (library / "graphs/.gitignore").read_text() == "*\n"
    before = [(library / name).read_bytes() for name in printed]
    _graph(shelved, "--svg", project=library)
    assert [(library / name).read_bytes() for name in printed] == before


def test_tables_that_refer_to_each_other_in_every_way_are_read() -> None:
    """How they are drawn: tests/unit/graph/test_layout.py."""
    with scratch("unused").database() as engine, engine.begin() as connection:
        connection.exec_driver_sql("""
            CREATE TABLE a (id int PRIMARY KEY, parent int REFERENCES a);
            CREATE TABLE b (x int, y int, a int REFERENCES a ON DELETE SET NULL, PRIMARY KEY (x, y));
            CREATE TABLE c (id uuid PRIMARY KEY, x int, y int, FOREIGN KEY (x, y) REFERENCES b, a int REFERENCES a);
            ALTER TABLE a ADD COLUMN c uuid REFERENCES c;
            CREATE TABLE "mit < & $x$" (kind int4range, place point, words tsvector);
        """)
        schema = drawing.read(connection)
    assert {(each.table, each.column, each.to_table, each.to_column, each.on_delete) for each in schema.relations} == {
        ("a", "parent", "a", "id", ""),
        ("a", "c", "c", "id", ""),
        ("b", "a", "a", "id", "set null"),
        ("c", "x", "b", "x", ""),
        ("c", "y", "b", "y", ""),
        ("c", "a", "a", "id", ""),
    }
    # Types that SQLAlchemy has no name for, too.
    assert [column.type for column in schema.tables["mit < & $x$"]] == ["int4range null", "point null", "tsvector null"]


BRANCHES = [("0000000000a1", HEAD), ("0000000000b1", HEAD), ("0000000000b2", "0000000000b1"), ("0000000000c1", HEAD)]


def test_branches_and_merges_are_drawn(shelved: str, library: Path) -> None:
    """Where each step stands: tests/unit/graph/test_lanes.py."""
    for name, after in BRANCHES:
        plant(library, name, "pass", after=after)
    migrate(shelved, "merge", "0000000000a1", "0000000000b2", "-m", "both", "--rev-id", "0000000000d1", project=library)
    shown = _graph(shelved, project=library).stdout
    for name, _ in [*BRANCHES, ("0000000000d1", "")]:
        assert shown.count(f"  {name}  ") == 1
    assert "Tables at heads" in shown
    _graph(shelved, "--svg", project=library)
    assert "0000000000d1" in _texts(library / "graphs/graph-steps.svg")


def test_no_revision_of_that_name(shelved: str, library: Path) -> None:
    finished = alembic(shelved, "graph", "ffffffffffff", project=library)
    assert (finished.returncode, finished.stdout) == (13, "")
    assert "can't locate revision ffffffffffff" in finished.stderr


def test_the_help_needs_no_library_that_the_image_does_not_have(shelved: str, library: Path) -> None:
    """The image that ships has neither rich nor Matplotlib; its help page names this command all the same."""
    for name in ("rich", "matplotlib"):
        (library / f"{name}.py").write_text("raise ImportError('not in this image')")
    finished = alembic_process(shelved, "graph", "--help", project=library)
    assert (finished.returncode, "--svg" in finished.stdout) == (0, True), finished.stderr
    assert alembic_process(shelved, "log", project=library).returncode == 0
    # The harm, so that the two files above are known to be in the way.
    assert "not in this image" in alembic_process(shelved, "graph", project=library).stderr
