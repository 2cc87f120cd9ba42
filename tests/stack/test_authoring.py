"""What authors type, on a real stack: history, graph, a step on a database that is behind, a branch after a pull."""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator

import pytest

from tests.migrations.staircase import HEAD
from tests.stack.conftest import Stack

V1 = "444acb4ddc7b"
V5 = "b25a1c6f7e13"


@pytest.fixture
def keep_steps(stack: Stack) -> Iterator[None]:
    """Whatever the test adds to migrations/versions is gone afterwards, and the database is at head."""
    before = set(stack.steps())
    yield
    for file in set(stack.steps()) - before:
        file.unlink()
    stack.make("migrate")


def test_history_names_every_step_and_what_applied_it(stack: Stack) -> None:
    shown = stack.make("history")
    rows = re.findall(
        r"^([0-9a-f]{12})  (v\d+ .*?)  +(current|applied)  \d{4}-\d\d-\d\d .* latest  tangga_owner$", shown, re.M
    )
    assert [revision for revision, _, _ in rows][:: len(rows) - 1] == [HEAD, V1]
    assert f"at {HEAD} | head {HEAD} | nothing pending" in shown
    stack.make("rollback", "yes=1")
    assert re.search(rf"^{HEAD} .* pending$", stack.make("history", "page=1"), re.M)
    assert "1 pending: make migrate" in stack.make("history")
    stack.make("migrate")
    refused = stack.run("make", "history", "page=7")
    assert refused.returncode != 0
    assert "there is no page 7" in refused.stdout
    report = stack.compose("run", "--rm", "-T", "migrate", "alembic", "log", "--json")
    assert json.loads(report[report.index("{") :])["current"] == [HEAD]


def test_graph_draws_in_the_terminal_and_as_files_of_the_caller(stack: Stack) -> None:
    shown = stack.make("graph", f"at={V5}")
    assert f"◉  {HEAD}" in re.sub(" +", "  ", shown)
    assert f"Tables at {V5}" in shown
    assert "no_hp" not in shown.partition("Tables at")[2]
    assert "warning" not in shown.lower()
    files = [line for line in stack.make("graph", "svg=1").splitlines() if line.endswith(".svg")]
    assert files == ["graphs/graph-steps.svg", f"graphs/graph-tables-{HEAD}.svg"]
    for name, page in zip(files, ("staircase", "tables"), strict=True):
        file = stack.folder / name
        # What docs/history-and-graph.md shows is what is drawn.
        assert file.read_bytes() == (stack.folder / f"docs/{page}.svg").read_bytes()
        ElementTree.parse(file)
        assert file.stat().st_uid == stack.folder.stat().st_uid
    assert stack.compose("ps", "--quiet", "--all", "scratch") == ""


@pytest.mark.usefixtures("keep_steps")
def test_no_step_is_written_while_the_database_is_behind(stack: Stack) -> None:
    before = stack.steps()
    stack.make("rollback", "yes=1")
    refused = stack.run("make", "revision", "m=too early")
    assert refused.returncode != 0
    assert f"stand on {HEAD}" in refused.stdout
    assert "make migrate" in refused.stdout
    assert stack.steps() == before
    stack.make("migrate")
    stack.make("revision", "m=in time")
    assert len(stack.steps()) == len(before) + 1


@pytest.mark.usefixtures("keep_steps")
def test_a_local_branch_is_put_on_what_a_pull_brought(stack: Stack) -> None:
    before = set(stack.steps())
    stack.make("revision", "m=mine")
    (mine,) = set(stack.steps()) - before
    # What comes with a pull: another step on the same one.
    name = "0000000000b1"
    theirs = mine.with_name(f"20261122_2200_{name}_theirs.py")
    own = mine.name.split("_")[2]
    theirs.write_text(mine.read_text().replace(own, name).replace("mine", "theirs"))
    assert "several heads" in stack.run("make", "migrate").stdout
    # The image has the files, but what it wrote would be lost.
    lost = stack.run("docker", "compose", "run", "--rm", "-T", "migrate", "alembic", "reparent", own)
    assert lost.returncode == 255, lost.stdout
    assert "cannot write to migrations/versions" in lost.stdout
    asked = stack.run("make", "reparent").stdout
    assert own in asked
    assert name in asked
    moved = stack.make("reparent", f"r={own}")
    assert f"{own} (mine) stood on {HEAD}, and stands on {name} now" in moved
    assert mine.stat().st_uid == stack.folder.stat().st_uid
    assert f'= "{name}"' in mine.read_text()
    stack.make("migrate")
    assert stack.revision() == own
    stack.make("downgrade", f"to={HEAD}", "yes=1")
