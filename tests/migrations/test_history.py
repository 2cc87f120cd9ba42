"""`alembic log`: what was applied, when and by which version, what failed, what is pending; newest first, in pages."""

import json
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tangga.exits import STEP_FAILED
from tests.databases import query, scratch_database
from tests.support.library import FOLDER, HEAD, L1, L2, L3, NOWHERE, REVISIONS, STEPS, alembic, migrate, plant
from tests.support.steps import edit

OWNER = os.environ["DB_OWNER_USERNAME"]
NEWEST_FIRST = [(step.revision, step.message) for step in reversed(STEPS)]


def _log(database: str, *options: str, project: Path = FOLDER) -> str:
    finished = alembic(database, "log", *options, project=project)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    return finished.stdout


def _report(database: str, *options: str, project: Path = FOLDER) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(_log(database, "--json", *options, project=project))
    return report


def _states(database: str, project: Path = FOLDER) -> dict[str, str]:
    return {step["revision"]: step["state"] for step in _report(database, project=project)["revisions"]}


def test_before_the_first_step_all_are_pending(database: str) -> None:
    lines = _log(database).splitlines()
    assert "at nothing yet (base)" in lines[0]
    assert f"head {HEAD} | 4 pending: alembic upgrade head" in lines[0]
    assert [tuple(re.split(r"  +", line)) for line in lines[3:]] == [(*step, "pending") for step in NEWEST_FIRST]


def test_what_was_applied_says_when_how_long_by_which_version_and_who(database: str) -> None:
    start = datetime.now(UTC) - timedelta(seconds=1)
    for revision, version in ((L2, "1.3"), (L3, "1.4")):
        up = alembic(database, "upgrade", revision, environment={"MIGRATE_VERSION": version})
        assert up.returncode == 0, up.stderr
    lines = _log(database).splitlines()
    assert lines[0].startswith(f"database {database} on ")
    assert f" | at {L3} | head {HEAD} | 1 pending: alembic upgrade head" in lines[0]
    assert re.split(r"  +", lines[2]) == ["revision", "message", "state", "applied (UTC)", "took", "image", "by"]
    rows = [re.split(r"  +", line) for line in lines[3:]]
    assert [(row[0], row[1]) for row in rows] == NEWEST_FIRST
    assert [row[2] for row in rows] == ["pending", "current", "applied", "applied"]
    assert [row[5:] for row in rows[1:]] == [["1.4", OWNER], *[["1.3", OWNER]] * 2]
    for row in rows[1:]:
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


def test_a_step_that_breaks_the_release_before_is_noted_as_such(database: str, library: Path) -> None:
    migrate(database, "upgrade", "head", project=library)
    # As an older version has left it.
    query(database, "ALTER TABLE tangga.migration_log DROP COLUMN breaking")
    file = plant(library, "planted00001", 'op.execute("ALTER TABLE books RENAME COLUMN title TO name")')
    edit(file, "def upgrade", 'breaks_previous_release = "it reads title"\ndef upgrade')
    plant(library, "planted00002", 'op.execute("SELECT 1 / 0")', after="planted00001")
    assert alembic(database, "upgrade", "head", project=library).returncode == STEP_FAILED
    noted = query(database, "SELECT revision, outcome, breaking FROM tangga.migration_log ORDER BY id DESC LIMIT 3")
    assert noted == [("planted00002", "failed", False), ("planted00001", "done", True), (HEAD, "done", None)]


def test_the_log_of_an_older_version_takes_a_first_failure_too(database: str, library: Path) -> None:
    migrate(database, "upgrade", "head", project=library)
    query(database, "ALTER TABLE tangga.migration_log DROP COLUMN breaking")
    plant(library, "planted00001", 'op.execute("SELECT 1 / 0")')
    assert alembic(database, "upgrade", "head", project=library).returncode == STEP_FAILED
    assert query(database, "SELECT revision, breaking FROM tangga.migration_log WHERE outcome = 'failed'") == [
        ("planted00001", False)
    ]


def test_a_step_taken_back_is_pending_and_all_tells_both(database: str) -> None:
    migrate(database, "upgrade", L2)
    migrate(database, "downgrade", L1)
    migrate(database, "stamp", L3)
    assert _states(database) == {HEAD: "pending", L3: "current", L2: "applied", L1: "applied"}
    runs = _report(database, "--all")["runs"]
    assert [(run["revision"], run["direction"]) for run in runs] == [
        (L3, "stamp"),
        (L2, "down"),
        (L2, "up"),
        (L1, "up"),
    ]
    assert {run["outcome"] for run in runs} == {"done"}
    shown = _log(database)
    # Stamped past: nothing ran, so there is nothing to say of when and how long.
    assert re.search(rf"^{L2} .* applied  no record$", shown, re.M)
    assert re.search(rf"^{L3} .* stamped ", shown, re.M)
    assert "no record: applied before migration_log existed, or passed by a stamp" in shown
    lines = _log(database, "--all").splitlines()
    assert [line.split()[2] for line in lines[3:]] == ["stamp", "down", "up", "up"]


def test_a_database_from_before_the_log_says_so(shelved: str) -> None:
    with scratch_database(shelved) as database:
        query(database, "DROP TABLE tangga.migration_log")
        shown = _log(database)
        assert len(re.findall(r"(?:applied|current)  no record$", shown, re.M)) == len(REVISIONS)
        assert "no record: applied before migration_log existed" in shown
        assert "nothing pending" in shown
        assert _report(database, "--all")["runs"] == []


def test_what_failed_stands_beneath_its_step(shelved: str, library: Path) -> None:
    plant(library, "0000000000a1", "op.execute('SELECT no_such_column')")
    with scratch_database(shelved) as database:
        for _ in range(4):
            assert alembic(database, "upgrade", "head", project=library).returncode == 3
        lines = _log(database, project=library).splitlines()
        assert re.match(r"0000000000a1  planted 0000000000a1 +pending$", lines[3])
        failed = (
            rf"    failed \d{{4}}-\d\d-\d\d [\d:]{{8}} going up after \d+ ms \(image \w+, {OWNER}\): .*no_such_column"
        )
        assert [bool(re.match(failed, line)) for line in lines[4:7]] == [True] * 3
        assert lines[7] == "    and 1 more: alembic log --all"
        assert lines[8].startswith(HEAD)
        assert len(_report(database, project=library)["revisions"][0]["failures"]) == 4
        assert _log(database, "--all", "--per-page", "4", project=library).count("no_such_column") == 4


def test_pages_hold_every_step_once(shelved: str) -> None:
    pages = [_log(shelved, "--page", str(page), "--per-page", "2").splitlines() for page in (1, 2)]
    assert [
        re.split(r"  +", line)[0] for page, count in zip(pages, (2, 2), strict=True) for line in page[3 : 3 + count]
    ] == [*reversed(REVISIONS)]
    assert pages[0][-1] == "page 1 of 2: alembic log --per-page 2 --page 2"
    assert pages[1][-1] == "page 2 of 2"
    assert "page" not in _log(shelved)
    report = _report(shelved, "--page", "2", "--per-page", "2")
    assert (report["page"], report["pages"], len(report["revisions"])) == (2, 2, 2)


def test_the_next_page_is_named_in_the_projects_words(shelved: str, library: Path) -> None:
    below = HEAD
    for number in range(20):
        plant(library, f"{number:012}", "pass", after=below)
        below = f"{number:012}"
    assert _log(shelved, project=library).splitlines()[-1] == "page 1 of 2: tangga log --page 2"


@pytest.mark.parametrize(("page", "code"), [("3", 255), ("0", 2), ("-1", 2), ("x", 2)])
def test_a_page_that_is_not_there_is_refused(shelved: str, page: str, code: int) -> None:
    finished = alembic(shelved, "log", "--per-page", "2", f"--page={page}")
    assert finished.returncode == code
    assert "Traceback" not in finished.stderr
    if code == 255:
        assert "there is no page 3: the last one is 2" in finished.stderr


def test_steps_that_only_the_database_knows_come_first(shelved: str, library: Path) -> None:
    plant(library, "0000000000a1", "pass")
    plant(library, "0000000000a2", "pass", after="0000000000a1")
    with scratch_database(shelved) as database:
        finished = alembic(database, "upgrade", "head", project=library, environment={"MIGRATE_VERSION": "1.4"})
        assert finished.returncode == 0, finished.stderr
        lines = _log(database).splitlines()
        assert lines[1] == "This image is older than the database: it does not have 0000000000a2."
        assert re.match(r"0000000000a2  \(not in this image\) +current  .*  1\.4 ", lines[4])
        assert re.match(r"0000000000a1  \(not in this image\) +applied  .*  1\.4 ", lines[5])
        assert re.match(rf"{HEAD}  l4 notes +applied  ", lines[6])
        # Without the log, only alembic_version can tell.
        query(database, "DROP TABLE tangga.migration_log")
        lines = _log(database).splitlines()
        assert re.match(r"0000000000a2  \(not in this image\) +current  no record$", lines[4])
        assert re.match(rf"{HEAD} .* unknown$", lines[5])


def test_branches_are_all_shown(shelved: str, library: Path) -> None:
    plant(library, "0000000000a1", "pass")
    plant(library, "0000000000b1", "pass")
    plant(library, "0000000000b2", "pass", after="0000000000b1")
    with scratch_database(shelved) as database:
        migrate(database, "upgrade", "0000000000b2", project=library)
        states = _states(database, project=library)
        assert states["0000000000a1"] == "pending"
        assert (states["0000000000b1"], states["0000000000b2"], states[HEAD]) == ("applied", "current", "applied")
        assert "head 0000000000a1, 0000000000b2 | 1 pending" in _log(database, project=library)


def test_without_a_database_it_says_so() -> None:
    finished = alembic("unused", "log", environment=NOWHERE)
    assert finished.returncode == 5
    assert "error: no database at" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_alembics_own_history_is_as_it_was(shelved: str) -> None:
    finished = alembic(shelved, "history", "--rev-range", f"{L2}:")
    assert f"{L3} -> {HEAD} (head), l4 notes" in finished.stdout
