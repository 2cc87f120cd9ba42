"""What backups and restores decide, and what they do of it on the fake engine; the folder of backups itself is real."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.unit.scripts.doing import calls, do
from tests.unit.scripts.operations import PRODUCTION, REPOSITORY, says
from tests.unit.scripts.shell import call

DECISIONS = "lib/ui.sh backup/decisions.sh"
GIB = 1 << 30

# ---- Decisions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "on"),
    [(v, True) for v in ("1", "true", "yes", "on")] + [(v, False) for v in ("", "0", "false", "no", "True!")],
)
def test_a_switch(value: str, on: bool) -> None:
    call(DECISIONS, "says_yes", value, status=int(not on))


@pytest.mark.parametrize(
    ("size", "free", "fits"),
    [(0, 2 * GIB, True), (GIB, 6 * GIB, True), (GIB, 5 * GIB, False), (0, GIB, False), (5, 0, False)],
)
def test_what_fits_in_memory(size: int, free: int, fits: bool) -> None:
    """Twice, and half a GiB, in half of what is free."""
    call(DECISIONS, "fits_in_memory", str(size), str(free), status=int(not fits))


# ---- Before a migration ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "status", "backup"),
    [
        ({"BACKUP_BEFORE_MIGRATE": "true"}, 8, True),
        ({"BACKUP_BEFORE_MIGRATE": "true"}, 0, False),  # nothing is pending
        ({"BACKUP_BEFORE_MIGRATE": "true"}, 6, False),
        ({"BACKUP_BEFORE_MIGRATE": "false"}, 8, False),
        ({}, 8, False),  # in development nobody wants one
        (PRODUCTION | {"BACKUP_BEFORE_MIGRATE": ""}, 8, True),  # in production everybody does
        (PRODUCTION, 8, False),
    ],
)
def test_a_backup_before_a_migration(settings: Mapping[str, str], status: int, backup: bool, tmp_path: Path) -> None:
    outcome = do(
        "backup",
        tmp_path,
        command=("scripts/backup.sh", "--before-migrate"),
        settings=settings,
        prepare=lambda folder: says(folder, "*alembic current --check-heads", status=status),
    )
    assert outcome.code == 0, outcome.printed
    assert bool(calls(outcome, " backup dump$")) == backup


def test_a_database_that_was_never_migrated_has_nothing_to_back_up(tmp_path: Path) -> None:
    outcome = do(
        "backup",
        tmp_path,
        command=("scripts/backup.sh", "--before-migrate"),
        settings={"BACKUP_BEFORE_MIGRATE": "true"},
        prepare=lambda folder: says(folder, "*alembic current"),
    )
    assert (outcome.code, calls(outcome, " backup dump$")) == (0, [])


def test_a_database_that_does_not_say_where_it_is_is_not_migrated(tmp_path: Path) -> None:
    outcome = do(
        "backup",
        tmp_path,
        command=("scripts/backup.sh", "--before-migrate"),
        settings={"BACKUP_BEFORE_MIGRATE": "true"},
        prepare=lambda folder: says(folder, "*alembic current --check-heads", status=5),
    )
    assert outcome.code != 0
    assert "so there is no backup, and nothing was migrated" in outcome.printed


# ---- Verifying, restoring --------------------------------------------------------------------------------------------

CHECKED = "tangga-20260101T000000Z-0b0b0b0b 0b0b0b0b v1"


def test_a_small_backup_is_verified_in_memory_and_never_touches_the_live_server(tmp_path: Path) -> None:
    outcome = do("backup-verify", tmp_path, prepare=lambda folder: says(folder, "* backup check *", f"{CHECKED} 0"))
    assert outcome.code == 0, outcome.printed
    [load] = calls(outcome, " backup load ")
    assert "--project-name project-verify" in load
    assert "PGHOST=scratch" in load
    assert calls(outcome, "--project-name project-verify --profile . down --volumes$")


def test_a_large_backup_is_verified_beside_the_live_database_and_dropped(tmp_path: Path) -> None:
    size = str(1 << 50)
    outcome = do(
        "backup-verify", tmp_path, prepare=lambda folder: says(folder, "* backup check *", f"{CHECKED} {size}")
    )
    assert outcome.code == 0, outcome.printed
    assert "it does not fit in memory" in outcome.printed
    assert [each.partition(" backup ")[2] for each in calls(outcome, " backup ")] == [
        "check newest",
        "load tangga-20260101T000000Z-0b0b0b0b tangga_verify",
        "drop tangga_verify",
        "verified tangga-20260101T000000Z-0b0b0b0b",
    ]


def test_a_backup_of_an_unknown_revision_is_not_restored(tmp_path: Path) -> None:
    outcome = do("restore", tmp_path, prepare=lambda folder: says(folder, "*alembic show *", status=13))
    assert outcome.code == 1
    assert "is at revision 0b0b0b0b, which this image does not have; nothing was changed" in outcome.printed
    assert "deploy the image that made it (TAG=v1) or a newer one" in outcome.printed
    assert not calls(outcome, " backup (load|swap)")


def test_a_backup_from_before_the_first_step_needs_no_revision(tmp_path: Path) -> None:
    base = CHECKED.replace(" 0b0b0b0b ", " base ")
    outcome = do("restore", tmp_path, prepare=lambda folder: says(folder, "* backup check *", f"{base} 1000"))
    assert outcome.code == 0, outcome.printed
    assert not calls(outcome, "alembic show")
    assert outcome.log[-1]["revision"] == "base"


@pytest.mark.parametrize(("live", "code"), [(("12 MB",), 1), ((), 0)])
def test_without_a_terminal_rows_that_are_live_are_replaced_only_if_somebody_says_so(
    live: tuple[str, ...], code: int, tmp_path: Path
) -> None:
    outcome = do("restore", tmp_path, environment={}, prepare=lambda folder: says(folder, "* backup live", *live))
    assert outcome.code == code, outcome.printed
    assert bool(calls(outcome, " backup swap ")) == (code == 0)
    assert ("the live database holds 12 MB" in outcome.printed) == (code == 1)


@pytest.mark.parametrize("fails", ["* backup load *", "*alembic upgrade head", "* backup swap *"])
def test_what_was_not_restored_is_dropped_and_the_live_one_stays(fails: str, tmp_path: Path) -> None:
    outcome = do("restore", tmp_path, prepare=lambda folder: says(folder, fails, status=1))
    assert outcome.code == 1
    assert calls(outcome, " backup drop tangga_restoring$")
    assert outcome.log[-1]["outcome"] == "failed"


# ---- Down ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "losses", "code", "goes"),
    [
        (("-1",), 0, 0, True),
        (("-1",), 11, 11, False),  # nobody is there to be asked
        (("--yes", "-1"), 11, 0, True),
        (("--yes", "--ask-only", "-1"), 11, 0, False),
        (("--ask-only", "-1"), 0, 0, False),
        (("--yes", "-1"), 3, 3, False),
    ],
)
def test_steps_down_lose_nothing_unless_somebody_agrees(
    arguments: tuple[str, ...], losses: int, code: int, goes: bool, tmp_path: Path
) -> None:
    outcome = do(
        "backup",
        tmp_path,
        command=("scripts/rollback.sh", *arguments),
        prepare=lambda folder: says(folder, "*alembic losses *", "posts.nama: 3 rows", status=losses),
    )
    assert outcome.code == code, outcome.printed
    assert bool(calls(outcome, "alembic downgrade -1$")) == goes
    assert ("posts.nama: 3 rows" in outcome.printed) == (losses == 11)


# ---- The folder ------------------------------------------------------------------------------------------------------

MANIFEST = {
    "tables": {"public.posts": {"digest": "1", "rows": 12345}, 'public."rows": 9': {"rows": 3, "digest": "2"}},
    "bytes": 5,
    "verified_at": "2026-01-02T00:00:00Z",
    "created_at": "2026-01-01T00:00:00Z",
    "file": "tangga-20260101T000000Z-0b0b.dump",
}


def _folder(folder: Path) -> None:
    """One that is whole, whose manifest has another order and form; three that are not."""
    (folder / "tangga-20260101T000000Z-0b0b.json").write_text(json.dumps(MANIFEST))
    (folder / "tangga-20260101T000000Z-0b0b.dump").write_text("12345")
    (folder / "tangga-20260102T000000Z-0b0b.dump").write_text("12345")
    (folder / "tangga-20260103T000000Z-0b0b.json").write_text(json.dumps(MANIFEST))
    (folder / "tangga-20260104T000000Z-0b0b.json").write_text(json.dumps(MANIFEST)[:40])
    (folder / "tangga-20260104T000000Z-0b0b.dump").write_text("12345")
    (folder / "tangga-20260105T000000Z-0b0b.json").write_text(json.dumps(MANIFEST))
    (folder / "tangga-20260105T000000Z-0b0b.dump").write_text("1234")
    (folder / "something else.json").write_text("{}")


def _backup(
    folder: Path, *arguments: str, programs: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    path = f"{programs}:{os.environ['PATH']}" if programs else os.environ["PATH"]
    return subprocess.run(
        ["bash", REPOSITORY / "services/postgres/backup.sh", *arguments],
        env={"PATH": path, "BACKUPS": str(folder)} | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_what_is_whole_and_what_is_not(tmp_path: Path) -> None:
    _folder(tmp_path)
    listed = _backup(tmp_path, "list")
    assert (listed.returncode, listed.stderr) == (0, "")
    lines = listed.stdout.splitlines()[1:]
    states = {line.split()[-1][:15]: line for line in lines}
    assert ["damaged" in states["tangga-20260105"], "damaged" in states["tangga-20260104"]] == [True, True]
    assert "no dump" in states["tangga-20260103"]
    assert "no manifest" in states["tangga-20260102"]
    assert states["tangga-20260101"].split()[:8] == [
        "2026-01-01",
        "00:00:00",
        "5.0",
        "B",
        "12,348",
        "2026-01-02",
        "00:00:00",
        "whole",
    ]
    assert [line.split()[-1] for line in lines] == sorted((line.split()[-1] for line in lines), reverse=True)


def test_the_list_as_json_is_json(tmp_path: Path) -> None:
    _folder(tmp_path)
    listed = json.loads(_backup(tmp_path, "list", "--json").stdout)
    assert [each["state"] for each in listed] == ["damaged", "damaged", "no dump", "no manifest", "whole"]


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_backup_that_is_taken_away_while_the_list_is_made(form: tuple[str, ...], tmp_path: Path) -> None:
    """By the clock's container, say, which keeps only the newest. From each program that the list starts, once."""
    folder, programs, started = tmp_path / "backups", tmp_path / "programs", tmp_path / "started"
    programs.mkdir()
    for name in ("cat", "stat", "sed", "awk", "date", "numfmt"):
        program = programs / name
        program.write_text(
            f"#!/bin/sh\necho >>{started}\n"
            f'[ "$(wc -l <{started})" -lt "$FROM" ] || rm -f {folder}/tangga-20260101*\n'
            f'exec {shutil.which(name)} "$@"\n'
        )
        program.chmod(0o755)
    shown: list[bool] = []
    # A list starts a dozen programs: from one after the last on, nothing is taken away, and it is shown.
    while not any(shown) and len(shown) < 40:
        folder.mkdir(exist_ok=True)
        _folder(folder)
        for other in folder.glob("tangga-2026010[2-5]*"):
            other.unlink()
        started.write_text("")
        listed = _backup(folder, "list", *form, programs=programs, FROM=str(len(shown) + 1))
        assert (listed.returncode, listed.stderr) == (0, ""), f"from program {len(shown) + 1} on"
        shown.append(bool(json.loads(listed.stdout or "[]")) if form else len(listed.stdout.splitlines()) > 1)
    assert len(shown) > 3
    assert shown[-1]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("newest", "tangga-20260101T000000Z-0b0b\n"),
        ("backups/tangga-20260101T000000Z-0b0b.dump", "tangga-20260101T000000Z-0b0b\n"),
        ("tangga-20260102T000000Z-0b0b", ""),
        ("tangga-20260103T000000Z-0b0b", ""),
        ("nothing", ""),
    ],
)
def test_a_backup_by_what_a_person_calls_it(name: str, found: str, tmp_path: Path) -> None:
    _folder(tmp_path)
    answer = _backup(tmp_path, "name", name)
    assert (answer.stdout, answer.returncode) == (found, int(not found))
    assert ("error: " in answer.stderr) == (not found)
