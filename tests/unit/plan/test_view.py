"""A plan as a person reads it, and its summary."""

import io
import re
from contextlib import redirect_stdout

import pytest
from rich.console import Console
from rich.text import Text

from tangga.plan import view
from tangga.plan.assertions import HOLDS, VIOLATED, Assertion
from tangga.plan.model import Plan, Size, Statement, Step, Touch, as_document, strongest_lock


def _touch(table: str, lock: str, blocks: str, *work: str, new: bool = False, taken: bool = True) -> Touch:
    return Touch(table, "table", new, lock, [lock], taken, blocks, [*work])


def _plan(*steps: Step, **changed: object) -> Plan:
    tables = {"posts": Size(200, 40_960), "votes": Size(1, 3 * 1024**3)}
    made = Plan("toko at db:5432", ["a0"], ["a1"], [*steps], [], tables, {})
    for name, value in changed.items():
        setattr(made, name, value)
    return made


def _step(*statements: Statement, **changed: object) -> Step:
    made = Step("a1", "a step", "versions/a1.py", True, None, False, [], [*statements])
    for name, value in changed.items():
        setattr(made, name, value)
    return made


def _printed(plan: Plan) -> list[str]:
    output = io.StringIO()
    with redirect_stdout(output):
        view.show(plan)
    return output.getvalue().splitlines()


def test_a_line_for_each_table_of_a_statement() -> None:
    statement = Statement(
        "CREATE INDEX ix -- of names\n  ON posts (nama)",
        "step",
        [
            _touch("posts", "SHARE", "writes", "scan"),
            _touch("votes", "ACCESS SHARE", "nothing", taken=False),
            _touch("baru", "ACCESS EXCLUSIVE", "reads, writes", new=True),
        ],
    )
    lines = _printed(_plan(_step(statement)))
    assert lines[0] == "From a0 to a1, tried out on a copy of database toko at db:5432"
    assert "a1  a step  (can be undone; loses nothing)" in lines
    page = "\n".join(line.rstrip() for line in lines)
    assert re.search(
        r"^CREATE INDEX ix ON posts \(nama\) +posts +SHARE +writes +scans all rows +200 +40 kB$", page, re.M
    )
    assert re.search(r"^ +votes +ACCESS SHARE \(still\) +nothing +1 +3 GB$", page, re.M)
    assert re.search(r"^ +baru +new table$", page, re.M)


def test_what_is_lost_and_what_fails_is_said() -> None:
    broken = _step(
        reversible=False, irreversible="[it] is gone", destructive=True, losses=["table votes"], error="step a1 failed"
    )
    lines = _printed(_plan(broken, not_tried=["a2"], without_rows={"votes": "no row fits"}))
    assert "a1  a step  (cannot be undone: [it] is gone; destroys table votes)" in lines
    assert "  fails: step a1 failed" in lines
    assert "a2  not tried, for the step before it failed" in lines
    assert "Tried without rows in votes: no row fits" in lines
    assert lines[-1] == (
        "2 steps, no lock on a table that is there now, 0 findings, destructive: a1, irreversible: a1, a1 fails"
    )


@pytest.mark.parametrize(
    ("assertion", "line"),
    [
        (
            Assertion("unique", "posts", "uq", ["nama", "umur"], VIOLATED, 1200, "a"),
            "no duplicates in posts (nama, umur) under uq: does not hold: 1,200 keys occur more than once, such as a",
        ),
        (Assertion("not null", "posts", "nama", ["nama"], HOLDS, 0), "no NULL in posts (nama): holds"),
        (
            Assertion("foreign key", "posts", "fk", ["umur"], "open", 2, None, "the run changes rows"),
            "no orphans in posts (umur) under fk: does not hold yet: 2 rows have no parent (the run changes rows)",
        ),
        (
            Assertion("check", "posts", "ck", ["umur"], "unanswered", None, None, "timeout"),
            "all rows of posts (umur) meet ck: no answer in time (timeout)",
        ),
        (
            Assertion("check", "posts", "ck", ["umur"], detail="a column of it is new"),
            "all rows of posts (umur) meet ck: could not be asked (a column of it is new)",
        ),
    ],
)
def test_the_answer_of_the_rows(assertion: Assertion, line: str) -> None:
    made = _plan(_step(assertions=[assertion]))
    assert f"  data: {line}" in _printed(made)
    assert _printed(made)[-1].endswith(f"1 question to the data: 1 {assertion.outcome}")


def test_findings_and_exceptions() -> None:
    finding = {
        "revision": "a1", "file": "migrations/versions/a1.py", "line": 7, "direction": "down", "rule": "ban-x",
        "why": "it waits", "remedy": "wait less", "exception": None,
    }  # fmt: skip
    lines = _printed(_plan(_step(findings=[finding, finding | {"direction": "up", "exception": "at night"}])))
    assert "  lint: ban-x a1.py:7 (downgrade): it waits; do: wait less" in lines
    assert "  lint: ban-x a1.py:7: excepted: at night" in lines
    assert lines[-1] == "1 step, no lock on a table that is there now, 1 finding, 1 exception"


def test_the_strongest_lock_is_on_the_largest_of_the_live_tables() -> None:
    made = _plan(
        _step(
            Statement("a", "step", [_touch("posts", "SHARE", "writes"), _touch("votes", "SHARE", "writes")]),
            Statement("b", "step", [_touch("baru", "ACCESS EXCLUSIVE", "reads, writes", new=True)]),
        )
    )
    assert strongest_lock(made) == ("SHARE", "votes")
    assert as_document(made)["summary"]["strongest_lock"] == {"mode": "SHARE", "table": "votes"}
    assert _printed(made)[-1].startswith("1 step, strongest lock SHARE on votes (1 row, 3 GB), ")


def test_nothing_to_do() -> None:
    assert _printed(_plan()) == ["Nothing to do: database toko at db:5432 is at a0."]


@pytest.mark.parametrize("width", [120, 160])
def test_a_wide_table_is_what_rich_would_print(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words that wrap, one that must be cut, letters that take two places, numbers of different lengths."""
    lines = [
        [Text(f"CREATE INDEX ix_{n} ON books (title) " * (n % 4)), Text(f"books_{n}"), Text("SHARE" * (n % 3)),
         Text("writes", "yellow"), Text("scans all rows"), Text(f"{10**n:,}"), Text("96 kB")]
        for n in range(7)
    ] + [[Text(sql), *(Text() for _ in range(6))] for sql in ("x" * 300, "SELECT '" + "本" * 70 + "'", "")]  # fmt: skip
    printed = []
    for least in (view._LEAST, 10_000):
        monkeypatch.setattr(view, "_LEAST", least)
        console = Console(file=io.StringIO(), width=width, highlight=False)
        view._show_statements(console, lines)
        printed.append(console.file.getvalue())  # type: ignore[attr-defined]
    assert printed[0] == printed[1]
    assert "本" in printed[0]
