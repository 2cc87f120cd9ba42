"""`alembic log`: what was applied, when and by which version, what failed, what is pending; newest first, in pages."""

import json
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tangga.exits import STEP_FAILED
from tests.databases import alembic_process, migrate, query, scratch_database
from tests.migrations.staircase import HEAD, REVISIONS, STEPS, V1, V2, V3, V4, V5, V9, edit, plant

OWNER = os.environ["DB_OWNER_USERNAME"]
NEWEST_FIRST = [(step.revision, step.message) for step in reversed(STEPS)]


def _log(database: str, *options: str, **kwargs: Any) -> str:
    finished = alembic_process(database, "log", *options, **kwargs)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    return finished.stdout


def _report(database: str, *options: str, **kwargs: Any) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(_log(database, "--json", *options, **kwargs))
    return report


def _states(database: str, **kwargs: Any) -> dict[str, str]:
    return {step["revision"]: step["state"] for step in _report(database, **kwargs)["revisions"]}


def test_before_the_first_step_all_are_pending(database: str) -> None:
    lines = _log(database).splitlines()
    assert "at nothing yet (base)" in lines[0]
    assert f"head {HEAD} | 10 pending: make migrate" in lines[0]
    assert [tuple(re.split(r"  +", line)) for line in lines[3:]] == [(*step, "pending") for step in NEWEST_FIRST]


def test_what_was_applied_says_when_how_long_by_which_version_and_who(database: str) -> None:
    start = datetime.now(UTC) - timedelta(seconds=1)
    assert alembic_process(database, "upgrade", V4, environment={"TAG": "1.3"}).returncode == 0
    assert alembic_process(database, "upgrade", V5, environment={"TAG": "1.4"}).returncode == 0
    lines = _log(database).splitlines()
    assert lines[0].startswith(f"database {database} on ")
    assert f" | at {V5} | head {HEAD} | 5 pending: make migrate" in lines[0]
    assert re.split(r"  +", lines[2]) == ["revision", "message", "state", "applied (UTC)", "took", "image", "by"]
    rows = [re.split(r"  +", line) for line in lines[3:]]
    assert [(row[0], row[1]) for row in rows] == NEWEST_FIRST
    assert [row[2] for row in rows] == [*["pending"] * 5, "current", *["applied"] * 4]
    assert [row[5:] for row in rows[5:]] == [["1.4", OWNER], *[["1.3", OWNER]] * 4]
    for row in rows[5:]:
        assert (
            start
            <= datetime.fromisoformat(f"{row[3]}+00:00") + timedelta(seconds=1)
            <= datetime.now(UTC) + timedelta(seconds=2)
        )
        assert re.fullmatch(r"\d+ ms|\d+\.\d s", row[4])
    # Aligned: each column begins at the same place in all lines.
    for header in ("message", "state", "applied (UTC)", "took", "image", "by"):
        place = lines[2].index(header)
        assert all(line[place - 1 : place] in (" ", "") for line in lines[3:])


def test_a_step_that_breaks_the_release_before_is_noted_as_such(database: str, project: Path) -> None:
    migrate(database, "upgrade", "head", project=project)
    # As an older version has left it.
    query(database, "ALTER TABLE migration_log DROP COLUMN breaking")
    file = plant(project, "planted00001", 'op.execute("ALTER TABLE posts RENAME COLUMN nama TO name")')
    edit(file, "def upgrade", 'breaks_previous_release = "it reads nama"\ndef upgrade')
    plant(project, "planted00002", 'op.execute("SELECT 1 / 0")', after="planted00001")
    assert alembic_process(database, "upgrade", "head", project=project).returncode == STEP_FAILED
    noted = query(database, "SELECT revision, outcome, breaking FROM migration_log ORDER BY id DESC LIMIT 3")
    assert noted == [("planted00002", "failed", False), ("planted00001", "done", True), (HEAD, "done", None)]


def test_the_log_of_an_older_version_takes_a_first_failure_too(database: str, project: Path) -> None:
    migrate(database, "upgrade", "head", project=project)
    query(database, "ALTER TABLE migration_log DROP COLUMN breaking")
    plant(project, "planted00001", 'op.execute("SELECT 1 / 0")')
    assert alembic_process(database, "upgrade", "head", project=project).returncode == STEP_FAILED
    assert query(database, "SELECT revision, breaking FROM migration_log WHERE outcome = 'failed'") == [
        ("planted00001", False)
    ]


def test_a_step_taken_back_is_pending_and_all_tells_both(database: str) -> None:
    migrate(database, "upgrade", V2)
    migrate(database, "downgrade", V1)
    migrate(database, "stamp", V3)
    assert _states(database) == dict.fromkeys(REVISIONS[3:], "pending") | {V3: "current", V2: "applied", V1: "applied"}
    runs = _report(database, "--all")["runs"]
    assert [(run["revision"], run["direction"]) for run in runs] == [
        (V3, "stamp"),
        (V2, "down"),
        (V2, "up"),
        (V1, "up"),
    ]
    assert {run["outcome"] for run in runs} == {"done"}
    shown = _log(database)
    # Stamped past: nothing ran, so there is nothing to say of when and how long.
    assert re.search(rf"^{V2} .* applied  no record$", shown, re.M)
    assert re.search(rf"^{V3} .* stamped ", shown, re.M)
    assert "no record: applied before migration_log existed, or passed by a stamp" in shown
    lines = _log(database, "--all").splitlines()
    assert [line.split()[2] for line in lines[3:]] == ["stamp", "down", "up", "up"]


def test_a_database_from_before_the_log_says_so(at_head: str) -> None:
    with scratch_database(at_head) as database:
        query(database, "DROP TABLE migration_log")
        shown = _log(database)
        assert len(re.findall(r"(?:applied|current)  no record$", shown, re.M)) == len(REVISIONS)
        assert "no record: applied before migration_log existed" in shown
        assert "nothing pending" in shown
        assert _report(database, "--all")["runs"] == []


def test_what_failed_stands_beneath_its_step(at_head: str, project: Path) -> None:
    plant(project, "0000000000a1", "op.execute('SELECT no_such_column')")
    with scratch_database(at_head) as database:
        for _ in range(4):
            assert alembic_process(database, "upgrade", "head", project=project).returncode == 3
        lines = _log(database, project=project).splitlines()
        assert re.match(r"0000000000a1  planted 0000000000a1 +pending$", lines[3])
        failed = (
            rf"    failed \d{{4}}-\d\d-\d\d [\d:]{{8}} going up after \d+ ms \(image \w+, {OWNER}\): .*no_such_column"
        )
        assert [bool(re.match(failed, line)) for line in lines[4:7]] == [True] * 3
        assert lines[7] == "    and 1 more: alembic log --all"
        assert lines[8].startswith(HEAD)
        assert len(_report(database, project=project)["revisions"][0]["failures"]) == 4
        assert _log(database, "--all", "--per-page", "4", project=project).count("no_such_column") == 4


def test_pages_hold_every_step_once(at_head: str) -> None:
    pages = [_log(at_head, "--page", str(page), "--per-page", "5").splitlines() for page in (1, 2)]
    assert [
        re.split(r"  +", line)[0] for page, count in zip(pages, (5, 5), strict=True) for line in page[3 : 3 + count]
    ] == [*reversed(REVISIONS)]
    assert pages[0][-1] == "page 1 of 2: alembic log --per-page 5 --page 2"
    assert pages[1][-1] == "page 2 of 2"
    assert "page" not in _log(at_head)
    report = _report(at_head, "--page", "2", "--per-page", "5")
    assert (report["page"], report["pages"], len(report["revisions"])) == (2, 2, 5)


def test_the_next_page_is_named_as_a_make_target(at_head: str, project: Path) -> None:
    below = HEAD
    for number in range(20):
        plant(project, f"{number:012}", "pass", after=below)
        below = f"{number:012}"
    assert _log(at_head, project=project).splitlines()[-1] == "page 1 of 2: make history page=2"


@pytest.mark.parametrize(("page", "code"), [("3", 255), ("0", 2), ("-1", 2), ("x", 2)])
def test_a_page_that_is_not_there_is_refused(at_head: str, page: str, code: int) -> None:
    finished = alembic_process(at_head, "log", "--per-page", "5", f"--page={page}")
    assert finished.returncode == code
    assert "Traceback" not in finished.stderr
    if code == 255:
        assert "there is no page 3: the last one is 2" in finished.stderr


def test_steps_that_only_the_database_knows_come_first(at_head: str, project: Path) -> None:
    plant(project, "0000000000a1", "pass")
    plant(project, "0000000000a2", "pass", after="0000000000a1")
    with scratch_database(at_head) as database:
        finished = alembic_process(database, "upgrade", "head", project=project, environment={"TAG": "1.4"})
        assert finished.returncode == 0, finished.stderr
        lines = _log(database).splitlines()
        assert lines[1] == "This image is older than the database: it does not have 0000000000a2."
        assert re.match(r"0000000000a2  \(not in this image\) +current  .*  1\.4 ", lines[4])
        assert re.match(r"0000000000a1  \(not in this image\) +applied  .*  1\.4 ", lines[5])
        assert re.match(rf"{HEAD}  v10 index untuk pencarian nama +applied  ", lines[6])
        # Without the log, only alembic_version can tell.
        query(database, "DROP TABLE migration_log")
        lines = _log(database).splitlines()
        assert re.match(r"0000000000a2  \(not in this image\) +current  no record$", lines[4])
        assert re.match(rf"{HEAD} .* unknown$", lines[5])


def test_branches_are_all_shown(at_head: str, project: Path) -> None:
    plant(project, "0000000000a1", "pass")
    plant(project, "0000000000b1", "pass")
    plant(project, "0000000000b2", "pass", after="0000000000b1")
    with scratch_database(at_head) as database:
        migrate(database, "upgrade", "0000000000b2", project=project)
        states = _states(database, project=project)
        assert states["0000000000a1"] == "pending"
        assert (states["0000000000b1"], states["0000000000b2"], states[HEAD]) == ("applied", "current", "applied")
        assert "head 0000000000a1, 0000000000b2 | 1 pending" in _log(database, project=project)


def test_without_a_database_it_says_so() -> None:
    finished = alembic_process("unused", "log", environment={"DB_PORT": "1"})
    assert finished.returncode == 5
    assert "error: no database at" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_alembics_own_history_is_as_it_was(at_head: str) -> None:
    finished = alembic_process(at_head, "history", "--rev-range", f"{V5}:")
    assert f"{V9} -> {HEAD} (head), v10 index untuk pencarian nama" in finished.stdout
