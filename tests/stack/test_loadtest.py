"""The program behind `make loadtest`, for less than a minute, with the kill; and what it calls wrong."""

import subprocess

import pytest

from tests.databases import PATIENCE
from tests.load.loadtest import Answer, Growth, Sample, growth, verdict
from tests.stack.conftest import REPOSITORY

FLAT = Growth(40.0, 41.0, 10.0)


def test_no_acknowledged_write_is_lost_when_the_database_is_killed() -> None:
    result = subprocess.run(
        ["scripts/loadtest.sh", "--minutes", "0.6", "--rate", "30"],
        cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=2 * PATIENCE, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout
    assert "database killed" in result.stdout
    # The outage was felt: without it, nothing would be shown.
    assert "503: " in result.stdout
    assert "No acknowledged write lost" in result.stdout


@pytest.mark.parametrize(
    ("answer", "outage", "said"),
    [
        (Answer("read", 5, 0.1, 200), None, ""),
        (Answer("read", 5, 0.1, 503, retry_after=True), (4, 8), ""),
        (Answer("read", 1, 0.1, 503, retry_after=True), (4, 8), "1 times 503 to read, and no outage"),
        (Answer("read", 30, 0.1, 503, retry_after=True), (4, 8), "1 times 503 to read, and no outage"),
        (Answer("read", 5, 0.1, 503, retry_after=True), None, "1 times 503 to read, and no outage"),
        (Answer("read", 5, 0.1, 503), (4, 8), "1 times 503 without Retry-After"),
        (Answer("create", 5, 0.1, 504), (4, 8), ""),
        (Answer("create", 5, 0.1, 504), None, "1 times 504 to create, and no outage"),
        (Answer("create", 5, 0.1, 0), (4, 8), "1 times no answer to create in the outage"),
        (Answer("create", 5, 0.1, 0), None, "1 times no answer to create, and no outage"),
        (Answer("create", 5, 61, 0), None, "1 times no answer to create, and no outage"),
        (Answer("log in", 5, 0.1, 0), None, "1 times no answer to log in, and no outage"),
        (Answer("log in", 5, 61, 503, retry_after=True), None, "1 times 503 to log in, and no outage"),
        (Answer("log in", 5, 61, 0), None, ""),  # a busy machine
    ],
)
def test_the_verdict_on_answers(answer: Answer, outage: tuple[float, float] | None, said: str) -> None:
    wrong = verdict([answer], [], outage, FLAT)
    assert len(wrong) == bool(said)
    assert said in "".join(wrong)


def test_the_verdict_on_surprises_and_memory() -> None:
    assert "the books do not allow: u1: vote 3 -> 500" in verdict([], ["u1: vote 3 -> 500"], None, FLAT)[0]
    assert "grew from 40.0 to 50.0 MiB (1.00 a minute)" in verdict([], [], None, Growth(40.0, 50.0, 10.0))[0]
    # A worker that has just begun warms up, on a busy machine for longer than a short run.
    assert [bool(verdict([], [], None, Growth(40.0, end, 0.4))) for end in (50.0, 57.0)] == [False, True]


def test_growth_is_what_is_left_after_warming_up() -> None:
    flat = [Sample(60 * n, [20.0 if n < 2 else 40.0]) for n in range(10)]
    assert (growth(flat).begin, growth(flat).slope) == (40.0, 0.0)
    grown = growth([Sample(60 * n, [40.0 + n]) for n in range(10)])
    assert grown.end - grown.begin == 6
    assert grown.slope == 1.0
