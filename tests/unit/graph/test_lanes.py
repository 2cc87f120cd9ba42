"""Where the steps of a history stand in a drawing: lanes for branches, in a terminal and as SVG."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from alembic.script import Script, ScriptDirectory

from tangga.graph import svg, terminal
from tangga.graph.lanes import lanes
from tangga.graph.states import states

# A fork of three, two of which are merged again.
BRANCHES: dict[str, str | tuple[str, ...] | None] = {
    "root": None,
    "a1": "root",
    "b1": "root",
    "b2": "b1",
    "c1": "root",
    "d1": ("a1", "b2"),
}


@pytest.fixture
def scripts(tmp_path: Path) -> ScriptDirectory:
    (tmp_path / "versions").mkdir()
    for name, below in BRANCHES.items():
        file = tmp_path / f"versions/{name}.py"
        file.write_text(f'"""step {name}"""\nrevision = {name!r}\ndown_revision = {below!r}\n')
    return ScriptDirectory(tmp_path)


def _downs(script: Script) -> tuple[str, ...]:
    down = script.down_revision
    return () if down is None else (down,) if isinstance(down, str) else tuple(down)


def test_every_step_is_joined_with_each_that_it_stands_on(scripts: ScriptDirectory) -> None:
    steps = [*scripts.walk_revisions()]
    places, edges = lanes(steps)
    assert [place.script for place in places] == steps
    rows = {place.script.revision: row for row, place in enumerate(places)}
    wanted = sorted((rows[each.revision], rows[down]) for each in steps for down in _downs(each))
    assert sorted((edge.start[0], edge.end[0]) for edge in edges) == wanted
    # No line runs through a step: its lane is free between its ends.
    for edge in edges:
        between = places[edge.start[0] + 1 : edge.end[0]]
        assert all(edge.lane in place.passing and place.lane != edge.lane for place in between)


def test_the_terminal_shows_each_step_once(scripts: ScriptDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show_steps(scripts, states(scripts, ["b2"]))
    shown = capsys.readouterr().out
    for name in BRANCHES:
        assert shown.count(f"  {name}  ") == 1
    found = {line.split()[-4]: line.split()[-1] for line in shown.splitlines()[1:]}
    assert found == {
        "root": "applied", "b1": "applied", "b2": "current", "a1": "pending", "c1": "pending", "d1": "pending"
    }  # fmt: skip
    # No terminal, no colour.
    assert "\x1b" not in shown


def test_the_svg_shows_each_step_once(scripts: ScriptDirectory) -> None:
    drawn = ElementTree.fromstring(svg.steps(scripts, states(scripts, ["b2"])))
    texts = [element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert [texts.count(name) for name in BRANCHES] == [1] * len(BRANCHES)
    assert (texts.count("applied"), texts.count("current"), texts.count("pending")) == (2, 1, 3)


def test_a_history_without_steps_can_be_drawn(tmp_path: Path) -> None:
    (tmp_path / "versions").mkdir()
    assert lanes([]) == ([], [])
    assert b"<svg" in svg.steps(ScriptDirectory(tmp_path), {})
