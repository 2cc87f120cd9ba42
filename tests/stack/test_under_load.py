"""The program behind `make under-load`, on fewer rows. docs/under-load.md has the figures for 1,000,000."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.load.traffic import NO_ANSWER, Answer
from tests.load.under_load import Phase, fell_behind, verdict
from tests.stack.conftest import REPOSITORY


def test_a_safe_form_gives_way_to_the_job_and_fails_no_request_and_a_naive_one_holds_the_queue(tmp_path: Path) -> None:
    """How long requests waited: `make under-load`. That they wait for a naive form, and not for a safe one:
    tests/migrations/test_retry.py."""
    raw, plot = tmp_path / "raw.json", tmp_path / "plot.svg"
    result = subprocess.run(
        ["scripts/under-load.sh", "100000", "--short", "--rate", "20", "--hold", "4", "--json", str(raw), "--plot", str(plot)],
        cwd=REPOSITORY, env=os.environ | {"DB_STATEMENT_TIMEOUT": "600"}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=3600, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout
    measured = json.loads(raw.read_text())
    forms: dict[str, list[str]] = {"safe": [], "naive": [], "": []}
    for phase in measured["phases"]:
        forms[phase["form"]].append(phase["operation"])
        answers = phase["answers"]
        if phase["form"] != "naive":  # requests that wait for that one fill the API, which says 503
            assert {a["status"] for a in answers} == {200, 201}, phase["operation"]
        if phase["operation"] == "nullable column":
            assert ("was rolled back; blocked by" in phase["output"]) == (phase["form"] == "safe"), phase["output"]
        assert {a["request"].split()[0] for a in answers} == {"GET", "PUT", "POST"}
        if phase["form"]:  # the requests came before, during and after the step
            assert answers[0]["due"] < phase["step_began"] < phase["step_ended"] < answers[-1]["due"]
    assert forms == {
        "safe": ["nullable column", "NOT NULL column", "index", "foreign key", "backfill"],
        "naive": ["nullable column"],
        "": ["none"],
    }
    assert "<svg" in plot.read_text()


def test_who_fell_behind_is_named() -> None:
    phase = Phase("index", "safe", 0, 1, "", [Answer("GET /posts/1", due / 50, 0.1, 200) for due in range(101)])
    assert fell_behind([phase], 60) == []
    assert fell_behind([phase], 70) == ["index, safe: 50 requests a second of 70"]


def _phase(form: str, slowest: float, status: int = 200) -> Phase:
    return Phase("index", form, 0, 1, "", [Answer("GET /posts/1", 0, slowest, status)])


@pytest.mark.parametrize(
    ("phases", "said"),
    [
        ([_phase("safe", 1.4), _phase("naive", 1.6)], ""),
        ([_phase("safe", 1.4), _phase("naive", 0.1, 504)], ""),
        ([_phase("safe", 1.6), _phase("naive", 1.6)], "index, safe: 0 requests failed, the slowest took 1.60 s"),
        ([_phase("safe", 0.1, 500), _phase("naive", 1.6)], "index, safe: 1 requests failed"),
        ([_phase("safe", 0.1, NO_ANSWER), _phase("naive", 1.6)], "index, safe: 1 requests failed"),
        ([_phase("safe", 1.4), _phase("naive", 1.4)], "no naive form harmed a request"),
    ],
)
def test_the_verdict(phases: list[Phase], said: str) -> None:
    wrong = verdict(phases, 1.5)
    assert len(wrong) == bool(said)
    assert said in "".join(wrong)
