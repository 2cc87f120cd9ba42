"""The program behind `make under-load`, on fewer rows. docs/under-load.md has the figures for 1,000,000."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.load.traffic import NO_ANSWER, Answer
from tests.load.under_load import Phase, verdict
from tests.stack.conftest import REPOSITORY

pytestmark = pytest.mark.alone


def test_safe_forms_harm_no_request_and_a_naive_one_does(tmp_path: Path) -> None:
    raw, plot = tmp_path / "raw.json", tmp_path / "plot.svg"
    result = subprocess.run(
        ["scripts/under-load.sh", "100000", "--short", "--hold", "3", "--json", str(raw), "--plot", str(plot)],
        cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout
    measured = json.loads(raw.read_text())
    bound = measured["how"]["lock_timeout, s"] + 0.5
    forms: dict[str, list[str]] = {"safe": [], "naive": [], "": []}
    for phase in measured["phases"]:
        forms[phase["form"]].append(phase["operation"])
        answers = phase["answers"]
        harmed = [a for a in answers if a["status"] not in (200, 201) or a["seconds"] > bound]
        assert bool(harmed) == (phase["form"] == "naive"), (phase["operation"], harmed)
        seconds = answers[-1]["due"] - answers[0]["due"]
        assert len(answers) / seconds >= 50, phase["operation"]
        assert {a["request"].split()[0] for a in answers} == {"GET", "PUT", "POST"}
        if phase["form"]:  # the requests came before, during and after the step
            assert answers[0]["due"] < phase["step_began"] < phase["step_ended"] < answers[-1]["due"]
    assert forms == {
        "safe": ["nullable column", "NOT NULL column", "index", "foreign key", "backfill"],
        "naive": ["nullable column"],
        "": ["none"],
    }
    assert "<svg" in plot.read_text()


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
