"""`alembic graph`: the steps with what is applied, and the tables at any step; in the terminal and as SVG."""

import re
import xml.etree.ElementTree as ElementTree
from itertools import combinations
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from alembic.script import Script, ScriptDirectory

from tangga.graph import drawing, svg
from tangga.graph.lanes import lanes
from tests.databases import (
    alembic_process,
    eventually,
    finish,
    migrate,
    query,
    scratch_database,
    scratch_databases_of,
    start_alembic,
)
from tests.migrations.proving import scratch
from tests.migrations.staircase import HEAD, STEPS, V1, V3, V5, edit, plant, revision

SVG = "{http://www.w3.org/2000/svg}"


def _graph(database: str, *options: str, project: Path, **environment: str) -> CompletedProcess[str]:
    finished = alembic_process(database, "graph", *options, project=project, environment=environment)
    assert finished.returncode == 0, finished.stderr
    # No warning of a library reaches the screen.
    assert finished.stderr == ""
    return finished


def _texts(file: Path) -> list[str]:
    return [element.text or "" for element in ElementTree.parse(file).iter(f"{SVG}text")]


def test_the_terminal_shows_steps_and_tables(at_head: str, project: Path) -> None:
    with scratch_database(at_head) as database:
        migrate(database, "downgrade", V5)
        shown = _graph(database, project=project).stdout
        steps = [line.split("  ") for line in shown.splitlines()[1:11]]
        assert [line[0].strip() for line in steps] == [*"○○○○○◉●●●●"]
        lines = [line for line in shown.splitlines() if any(step.revision in line for step in STEPS)]
        states = [*["pending"] * 5, "current", *["applied"] * 4]
        for line, step, state in zip(lines, reversed(STEPS), states, strict=False):
            assert step.revision in line
            assert step.message in line
            assert line.rstrip().endswith(state)
        assert f"Tables at {HEAD}" in shown
        assert "│ FK │ owner_id   │ integer" in shown
        assert "→ users.id, on delete cascade" in shown
        assert "│ PK FK │ user_id │ integer │" in shown
        assert "timestamp with time zone" in shown
        # Neither the migrators' tables nor colours, for this is no terminal.
        assert "migration_" not in shown
        assert "alembic_version" not in shown
        assert "\x1b" not in shown
        # The database was only read.
        assert revision(database) == V5


def test_the_tables_are_those_of_the_step_that_was_asked_for(database: str, project: Path) -> None:
    shown = _graph(database, V3, project=project).stdout
    assert f"Tables at {V3}" in shown
    assert "alamat" in shown
    assert "owner_id" not in shown
    assert "votes" not in shown.partition("Tables at")[2]
    assert "applied" not in shown
    assert "No tables at base" in _graph(database, "base", project=project).stdout
    # Live, nothing was made.
    assert query(database, "SELECT to_regclass('posts')") == [(None,)]


@pytest.mark.parametrize(("at", "code"), [(V1, 0), ("head", 3)])
def test_no_scratch_database_is_left(at_head: str, project: Path, at: str, code: int) -> None:
    # Long enough to be seen.
    [first] = (project / "migrations/versions").glob(f"*{V1}*")
    edit(first, "def upgrade() -> None:\n", "def upgrade() -> None:\n    op.execute('SELECT pg_sleep(1)')\n")
    plant(project, "0000000000a1", "raise RuntimeError('no such luck')")
    drawing = start_alembic(at_head, "graph", at, project=project)
    assert eventually(lambda: scratch_databases_of(drawing) != [])
    finished = finish(drawing)
    assert (finished.returncode, "no such luck" in finished.stderr) == (code, code == 3), finished.stderr
    assert scratch_databases_of(drawing) == []


def test_svg_files_are_well_formed_and_their_text_is_text(at_head: str, project: Path) -> None:
    printed = _graph(at_head, "--svg", project=project).stdout.split()
    assert printed == ["graphs/graph-steps.svg", f"graphs/graph-tables-{HEAD}.svg"]
    steps, tables = (_texts(project / name) for name in printed)
    for step in STEPS:
        assert step.revision in steps
        assert step.message in steps
    assert (steps.count("applied"), steps.count("current")) == (9, 1)
    assert {"posts", "users", "votes", "owner_id", "PK FK", "timestamp with time zone"} <= set(tables)
    # White beneath, whatever the page around it is.
    for name in printed:
        [background, *_] = ElementTree.parse(project / name).iter(f"{SVG}path")
        assert "fill: #ffffff" in background.get("style", "")
    # git does not see them, and the same again is the same again.
    assert (project / "graphs/.gitignore").read_text() == "*\n"
    before = [(project / name).read_bytes() for name in printed]
    _graph(at_head, "--svg", project=project)
    assert [(project / name).read_bytes() for name in printed] == before


def test_tables_that_refer_to_each_other_in_every_way_are_drawn(tmp_path: Path) -> None:
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
    file = tmp_path / "tables.svg"
    file.write_bytes(svg.tables(schema))
    assert {"a", "b", "c", "mit < & $x$", "int4range null"} <= set(_texts(file))
    # A box for each table, none over another. An arrow for each pair of columns: a line and its head.
    boxes = [
        [float(number) for number in re.findall(r"[\d.]+", path.get("d", ""))]
        for path in ElementTree.parse(file).iter(f"{SVG}path")
        if "fill: #ffffff; stroke: #555555" in path.get("style", "")
    ]
    edges = [(min(box[::2]), max(box[::2]), min(box[1::2]), max(box[1::2])) for box in boxes]
    assert len(edges) == 4
    for one, other in combinations(edges, 2):
        assert one[1] < other[0] or other[1] < one[0] or one[3] < other[2] or other[3] < one[2]
    arrows = [path for path in ElementTree.parse(file).iter(f"{SVG}path") if "C " in path.get("d", "")]
    assert len(arrows) == 6


BRANCHES = [("0000000000a1", HEAD), ("0000000000b1", HEAD), ("0000000000b2", "0000000000b1"), ("0000000000c1", HEAD)]


def test_branches_and_merges_are_drawn_as_lanes(at_head: str, project: Path) -> None:
    for name, after in BRANCHES:
        plant(project, name, "pass", after=after)
    migrate(at_head, "merge", "0000000000a1", "0000000000b2", "-m", "both", "--rev-id", "0000000000d1", project=project)
    places, edges = lanes(scripts := [*ScriptDirectory(project / "migrations").walk_revisions()])
    assert [place.script for place in places] == scripts
    rows = {place.script.revision: row for row, place in enumerate(places)}
    # Every step is joined with each that it stands on, and nothing else is.
    wanted = sorted((rows[each.revision], rows[down]) for each in scripts for down in _downs(each))
    assert sorted((edge.start[0], edge.end[0]) for edge in edges) == wanted
    # No line runs through a step: its lane is free between its ends.
    for edge in edges:
        between = places[edge.start[0] + 1 : edge.end[0]]
        assert all(edge.lane in place.passing and place.lane != edge.lane for place in between)
    finished = _graph(at_head, project=project).stdout
    for name, _ in [*BRANCHES, ("0000000000d1", "")]:
        assert finished.count(f"  {name}  ") == 1
    assert "Tables at heads" in finished
    _graph(at_head, "--svg", project=project)
    assert "0000000000d1" in _texts(project / "graphs/graph-steps.svg")


def _downs(script: Script) -> tuple[str, ...]:
    down = script.down_revision
    return () if down is None else (down,) if isinstance(down, str) else tuple(down)


def test_no_revision_of_that_name(at_head: str, project: Path) -> None:
    finished = alembic_process(at_head, "graph", "ffffffffffff", project=project)
    assert (finished.returncode, finished.stdout) == (13, "")
    assert "can't locate revision ffffffffffff" in finished.stderr


def test_the_help_needs_no_library_that_the_image_does_not_have(at_head: str, project: Path) -> None:
    """The image that ships has neither rich nor Matplotlib; its help page names this command all the same."""
    for name in ("rich", "matplotlib"):
        (project / f"{name}.py").write_text("raise ImportError('not in this image')")
    finished = alembic_process(at_head, "graph", "--help", project=project)
    assert (finished.returncode, "--svg" in finished.stdout) == (0, True), finished.stderr
    assert alembic_process(at_head, "log", project=project).returncode == 0
    # The harm, so that the two files above are known to be in the way.
    assert "not in this image" in alembic_process(at_head, "graph", project=project).stderr
