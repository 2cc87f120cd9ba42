"""The report of `verify` as a person and as a program reads it."""

import json
from typing import Any

from tangga.verify.model import Finding, Findings, Report, Timing
from tangga.verify.view import document, page

TIMINGS = [Timing("a0", "first", 0.0123, 0.5), Timing("a1", "a longer one", 12.0, None)]
FAULTS = [Finding("a1", "migrations/versions/a1.py", "down fails: no"), Finding("", "", "models: a: b")]


def _report(**said: Any) -> Report:
    known: dict[str, Any] = {
        "timings": TIMINGS, "findings": [], "notes": [], "unproven": [], "steps": 2, "not_printable": [],
        "models": True, "seconds": 1.0, "overhead": 1.0,
    }  # fmt: skip
    return Report(**known | said)


def test_a_report_without_faults() -> None:
    lines = page(_report(notes=["a1 is irreversible"], seconds=12.34, overhead=0.456), 20).splitlines()
    assert lines == [
        "step  message             up     down",
        "a0    first          0.012 s  0.500 s",
        "a1    a longer one  12.000 s  not run",
        "note: a1 is irreversible",
        "2 steps with 20 rows a table in 12.3 s, 0.46 s a step beyond the steps themselves",
        "verified: up, down and up again (1 of 2 steps), printed SQL, models",
    ]
    whole = page(_report(timings=TIMINGS[:1], steps=1), 20)
    assert whole.endswith("\nverified: up, down and up again, printed SQL, models\n")


def test_the_last_line_says_of_how_much_it_speaks() -> None:
    found = page(_report(steps=5, not_printable=["a0"], models=False), 20)
    last = "verified: up (2 of 5 steps), down and up again (1 of 5 steps), printed SQL (1 of 5 steps)\n"
    assert found.endswith(f"\n{last}")


def test_what_was_not_looked_at_is_not_verified() -> None:
    lines = page(_report(unproven=["table a had no rows before a1: no", "a1 refused the rows of b"]), 20).splitlines()
    assert lines[3:5] == ["not proven: table a had no rows before a1: no", "not proven: a1 refused the rows of b"]
    assert lines[-1] == "not verified: 2 lines above say what was not looked at"
    assert page(_report(unproven=["x"]), 20).endswith("\nnot verified: 1 line above says what was not looked at\n")
    assert json.loads(document(_report(unproven=["x"])))["unproven"] == ["x"]


def test_a_report_with_faults() -> None:
    report = _report(findings=FAULTS)
    assert page(report, 20).splitlines()[3:5] == [
        "fault: a1 (migrations/versions/a1.py): down fails: no",
        "fault: models: a: b",
    ]
    assert "verified" not in page(report, 20)
    read = json.loads(document(report))
    assert read["timings"][1] == {"revision": "a1", "message": "a longer one", "up": 12.0, "down": None}
    assert read["findings"][0] == {"revision": "a1", "file": "migrations/versions/a1.py", "text": "down fails: no"}


def test_no_table_for_no_steps() -> None:
    assert page(_report(timings=[], steps=0), 20).startswith("step  message  up  down\n0 steps with 20 rows")


def test_what_an_earlier_look_found_is_not_said_again() -> None:
    class Step:
        revision = "a1"
        path = "/somewhere/migrations/versions/a1.py"

    found = Findings()
    found.values(Step(), "up", ["posts.nama: 3 rows changed"])  # type: ignore[arg-type]
    found.values(Step(), "up and down", ["posts.nama: 3 rows changed", "votes: 1 row gone"])  # type: ignore[arg-type]
    found.note("once")
    found.note("once")
    assert [fault.text for fault in found.faults] == [
        "after up, values that were there before: posts.nama: 3 rows changed",
        "after up and down, values that were there before: votes: 1 row gone",
    ]
    assert (found.faults[0].file, found.report([], 0, 0, 0).notes) == ("migrations/versions/a1.py", ["once"])
