"""What `log` shows of steps and of runs."""

from datetime import UTC, datetime, timedelta, timezone

from tangga.journal.history import Entry, Step
from tangga.journal.view import entry_table, plain, step_table

MOMENT = datetime(2026, 11, 29, 19, 0, 1, tzinfo=timezone(timedelta(hours=7)))


def _entry(direction: str = "up", outcome: str = "done", error: str | None = None) -> Entry:
    return Entry("a1", direction, outcome, MOMENT, 0.25, "1.4", "owner", error)


def test_steps_are_told_with_when_how_long_by_which_image_and_who() -> None:
    steps = [
        Step("b1", "second", "pending", None, []),
        Step("a1", "first", "current", _entry(), []),
    ]
    assert step_table(steps) == [
        "revision  message  state    applied (UTC)        took    image  by",
        "b1        second   pending",
        "a1        first    current  2026-11-29 12:00:01  250 ms  1.4    owner",
    ]


def test_a_stamp_took_no_time_and_a_step_from_before_the_log_has_no_record() -> None:
    shown = step_table([Step("a1", "first", "current", _entry("stamp"), []), Step("00", "old", "applied", None, [])])
    assert "  stamped  1.4" in shown[1]
    assert shown[2].endswith("applied  no record")
    assert shown[-1] == "no record: applied before migration_log existed, or passed by a stamp"


def test_failures_stand_beneath_their_step_three_of_them() -> None:
    failures = [_entry(outcome="failed", error=f"no luck {number}") for number in range(5)]
    shown = step_table([Step("b1", "second", "pending", None, failures), Step("a1", "first", "current", None, [])])
    assert shown[2] == "    failed 2026-11-29 12:00:01 going up after 250 ms (image 1.4, owner): no luck 0"
    assert [line.partition(": ")[2] for line in shown[2:5]] == ["no luck 0", "no luck 1", "no luck 2"]
    assert shown[5] == "    and 2 more: alembic log --all"
    assert shown[6].startswith("a1 ")


def test_runs_are_told_one_by_one_with_their_error_beneath() -> None:
    shown = entry_table([_entry(outcome="failed", error="no luck"), _entry("down"), _entry("stamp")], {})
    assert [line.split()[2:5] for line in (shown[1], shown[3], shown[4])] == [
        ["up", "failed", "a1"], ["down", "done", "a1"], ["stamp", "done", "a1"]
    ]  # fmt: skip
    assert shown[2] == "    no luck"
    assert "(not in this image)" in shown[1]
    assert " first " in entry_table([_entry()], {"a1": "first"})[1]


def test_for_a_program_moments_are_in_utc() -> None:
    told = plain(Step("a1", "first", "current", _entry(), [_entry(outcome="failed", error="x")]))
    assert told["by"]["started_at"] == MOMENT.astimezone(UTC).isoformat()
    assert [each["error"] for each in told["failures"]] == ["x"]
