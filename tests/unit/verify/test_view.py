"""The report of `verify` as a person and as a program reads it."""

import json

from tangga.verify.model import Finding, Findings, Report, Timing
from tangga.verify.view import document, page

TIMINGS = [Timing("a0", "first", 0.0123, 0.5), Timing("a1", "a longer one", 12.0, None)]
FAULTS = [Finding("a1", "migrations/versions/a1.py", "down fails: no"), Finding("", "", "models: a: b")]


def test_a_report_without_faults() -> None:
    lines = page(Report(TIMINGS, [], ["a1 is irreversible"], False, 12.34, 0.456), 20).splitlines()
    assert lines == [
        "step  message             up     down",
        "a0    first          0.012 s  0.500 s",
        "a1    a longer one  12.000 s  not run",
        "note: a1 is irreversible",
        "2 steps with 20 rows a table in 12.3 s, 0.46 s a step beyond the steps themselves",
        "verified: up, down and up again, printed SQL, models",
    ]
    unseen = page(Report(TIMINGS, [], [], True, 1, 1), 20)
    assert unseen.endswith("verified: up, down and up again, printed SQL\n")


def test_a_report_with_faults() -> None:
    report = Report(TIMINGS, FAULTS, [], False, 1, 1)
    assert page(report, 20).splitlines()[3:5] == [
        "fault: a1 (migrations/versions/a1.py): down fails: no",
        "fault: models: a: b",
    ]
    assert "verified" not in page(report, 20)
    read = json.loads(document(report))
    assert read["timings"][1] == {"revision": "a1", "message": "a longer one", "up": 12.0, "down": None}
    assert read["findings"][0] == {"revision": "a1", "file": "migrations/versions/a1.py", "text": "down fails: no"}


def test_no_table_for_no_steps() -> None:
    assert page(Report([], [], [], False, 0, 0), 20).startswith("step  message  up  down\n0 steps with 20 rows")


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
    assert (found.faults[0].file, found.notes) == ("migrations/versions/a1.py", ["once"])
