"""The page of the stack: what somebody should look at, the most urgent first; and how it is shown."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.migrate.status import command, page
from services.migrate.status.facts import Database, Sessions, Status, service
from services.migrate.status.tables import database_line, size
from tangga.journal.history import Step

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
API = {"Name": "t-api-1", "Service": "api", "State": "running", "Health": "healthy", "Image": "t-api:v1"}
MIGRATE = {"Name": "t-migrate-1", "Service": "migrate", "State": "exited", "ExitCode": 0, "Image": "t-api:v1"}
BACKUP = {
    "created_at": "2026-11-29T03:00:00+00:00", "verified_at": "2026-11-29T04:00:00+00:00", "bytes": 5000,
    "revision": "abc", "tables": {"posts": {"rows": 1200}},
}  # fmt: skip
DEPLOY = {
    "started_at": "2026-11-28T10:00:00+00:00", "action": "deploy", "from": "v0", "to": "v1", "outcome": "ok",
    "seconds": 12.5, "who": "ani",
}  # fmt: skip
SERVER = Database("17.7 (Debian)", 100, 7, 9 << 20, timedelta(hours=3))
STEP = Step("abc", "v1 create <posts>", "current", None, [])


def _status(**changes: Any) -> Status:
    facts = {"project": "t", "tag": "v1", "services": [API, MIGRATE], "backups": [BACKUP], "operations": [DEPLOY]}
    facts |= {name: changes.pop(name) for name in [*changes] if name in facts}
    well = Status(facts, NOW, [STEP], ("abc",), SERVER, [Sessions("tangga-api", "app", 5, 1, 0.1)], None, None)
    return well._replace(**changes)


def test_all_is_well() -> None:
    assert _status().troubles() == []


@pytest.mark.parametrize(
    ("changes", "trouble"),
    [
        ({"services": [API | {"Health": "unhealthy"}]}, "t-api-1: running (unhealthy)"),
        ({"services": [API | {"State": "exited", "ExitCode": 0}]}, "t-api-1: exited (0)"),
        ({"services": [MIGRATE | {"ExitCode": 3}]}, "t-migrate-1: exited (3)"),
        ({"services": [API | {"State": "restarting", "Health": ""}]}, "t-api-1: restarting"),
        ({"database": None, "unreachable": "refused"}, "the database does not answer: refused"),
        ({"broken": "a row too many: take it out"}, "a row too many: take it out"),
        ({"steps": [STEP._replace(state="pending")]}, "1 step is pending: make migrate"),
        ({"steps": [STEP._replace(state="pending")] * 2}, "2 steps are pending: make migrate"),
        ({"steps": [STEP._replace(message="(not in this image)")]}, "the database is ahead of this image"),
        ({"database": SERVER._replace(sessions=81)}, "81 of 100 connections are in use"),
        (
            {"sessions": [Sessions("report", "owner", 1, 0, 61)]},
            "report (owner) has had a transaction open for 1 min 1 s",
        ),
        ({"backups": []}, "there is no backup: make backup"),
        (
            {"backups": [BACKUP | {"created_at": "2026-11-26T03:00:00+00:00"}]},
            "the newest backup is 3 days old: make backup",
        ),
        ({"backups": [BACKUP | {"verified_at": None}]}, "no backup has been verified: make backup-verify"),
        ({"operations": [DEPLOY | {"outcome": "failed", "reason": "no room"}]}, "the last deploy failed: no room"),
    ],
)
def test_what_is_not_well_is_said(changes: dict[str, Any], trouble: str) -> None:
    status = _status(**changes)
    assert status.troubles() == [trouble]
    lines = command._lines(status)
    assert lines[0].endswith("| 1 to look at")
    assert lines[1] == f"  ! {trouble}"


def test_of_operations_only_the_last_counts() -> None:
    assert _status(operations=[DEPLOY | {"outcome": "failed"}, DEPLOY]).troubles() == []


def test_a_one_shot_that_has_ended_is_as_it_should_be() -> None:
    assert service(MIGRATE) == ("t-migrate-1", "exited (0)", True)


def test_the_newest_steps_are_shown_and_how_many_more_there_are() -> None:
    lines = command._lines(_status(steps=[STEP._replace(revision=f"r{number}") for number in range(7)]))
    assert [f"r{number}" in "\n".join(lines) for number in range(7)] == [True] * 5 + [False] * 2
    assert "  and 2 more: make history" in lines


def test_the_server_is_told_in_a_line() -> None:
    assert database_line(_status()) == "PostgreSQL 17.7, 9.0 MiB, up 3 h 0 min, 7 of 100 connections in use"
    assert database_line(_status(database=None, unreachable="refused")) == "does not answer: refused"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (10 << 10, "10 KiB"), (3 << 30, "3.0 GiB"), (2 << 40, "2.0 TiB")],
)
def test_bytes_have_the_unit_that_suits_them(number: int, text: str) -> None:
    assert size(number) == text


def test_the_page_escapes_every_value_and_has_every_part() -> None:
    written = page.page(_status(operations=[DEPLOY | {"reason": "<b>"}]))
    assert "v1 create &lt;posts&gt;" in written
    assert "<posts>" not in written
    assert "&lt;b&gt;" in written
    for part in ("t-api-1", "PostgreSQL 17.7", "tangga-api", "1,200", "deploy", "All is well."):
        assert part in written


def test_a_page_of_a_stack_without_anything_is_made_too() -> None:
    written = page.page(_status(database=None, unreachable="refused", services=[], backups=[], operations=[]))
    assert '<p class="dim">unknown</p>' in written
    assert written.count('<p class="dim">none</p>') == 2


def test_the_status_for_a_program_says_the_same() -> None:
    plain = command._plain(_status(steps=[STEP._replace(state="pending")]))
    assert (plain["pending"], plain["troubles"]) == (["abc"], ["1 step is pending: make migrate"])
    assert plain["database"]["up"] == 3 * 3600
