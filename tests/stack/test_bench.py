"""The program behind `make bench`, as short as can be: it runs to the end, asks everybody, and finds equal answers.

Nothing is said here about how fast anybody is: docs/performance.md has the figures, from a quiet machine.
"""

import json
import os
import subprocess
from pathlib import Path

from tests.load.bench_report import BEGIN, END, ROUTES, Figure, as_text, figures, write_markdown
from tests.stack.conftest import PREFIX, REPOSITORY


def test_the_bench_measures_everybody_and_finds_equal_answers(tmp_path: Path) -> None:
    raw, plot, page = tmp_path / "raw.json", tmp_path / "plot.svg", tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    environment = os.environ | {"COMPOSE_PROJECT_NAME": f"{PREFIX}-bench"}
    command = ["scripts/bench.sh", "--quick", "--rounds", "1", "--seconds", "1", "--posts", "2000"]
    outputs = ["--json", str(raw), "--svg", str(plot), "--markdown", str(page)]
    try:
        result = subprocess.run(
            [*command, *outputs], cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=3600, check=False,
        )  # fmt: skip
    finally:
        subprocess.run(
            ["scripts/bench.sh", "--remove"], cwd=REPOSITORY, env=environment, check=True, capture_output=True
        )
    assert result.returncode == 0, result.stdout
    measured = json.loads(raw.read_text())
    assert measured["wrong"] == []
    for route in ROUTES:
        asked = {turn["app"] for turn in measured["turns"] if turn["route"] == route and turn["rate"] > 0}
        assert asked >= {"api", "baseline"}, route
    # One statement each, counted by PostgreSQL; the baseline's BEGIN and ROLLBACK show that all are counted.
    for route, each in measured["statements"].items():
        assert each["api"]["per request"] == 1, (route, each["api"])
        assert each["baseline"]["per request"] >= 4, route
        assert {"BEGIN", "ROLLBACK"} <= set(each["baseline"]["kinds"]), route
    # Who stalls where threads wait for connections that waiting requests hold, the report says: a target.
    many = {(t["app"], t["connections"]) for t in measured["turns"] if t["route"] == "GET by id, token, many"}
    assert many == {(app, count) for app in ("api", "baseline") for count in (32, 256)}
    assert "<svg" in plot.read_text()
    written = page.read_text()
    assert written.startswith(f"before\n{BEGIN}\n\nMeasured: ")
    assert written.endswith(f"{END}\nafter\n")
    assert "old" not in written
    # The same run gives the same words again.
    for each in figures(measured):
        assert each.name in as_text(measured)
    write_markdown(measured, page)
    assert page.read_text() == written


def test_a_target_is_met_or_not() -> None:
    assert Figure("rate", [2.6, 2.8, 2.9], ">= 2.7").met
    assert not Figure("rate", [2.6, 2.6, 2.9], ">= 2.7").met
    assert Figure("latency", [0.4, 0.5, 0.6], "<= 0.5").met
    assert not Figure("latency", [0.4, 0.6, 0.6], "<= 0.5").met
    assert Figure("for information", [1]).met is None
    assert Figure("rate", [2.6], ">= 2.7").cells() == ["rate", "2.60", "", ">= 2.7", "BELOW"]
