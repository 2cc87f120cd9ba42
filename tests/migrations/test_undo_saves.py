"""What steps down lose is saved before it is lost, whoever writes meanwhile and whatever ends the migrator."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tangga.exits import STEP_FAILED, WOULD_LOSE_DATA
from tests.databases import (
    eventually,
    finish,
    owner_environment,
    query,
    start_alembic,
)
from tests.support.library import FOLDER, HEAD, L2, L3, L4, alembic, copy_library, migrate, plant
from tests.support.schema import catalogue, revision, rows
from tests.support.steps import edit
from tests.support.undoing import PACKAGE, STEP, add_author, command, contents, losses, planted, there_and_back

pytestmark = pytest.mark.usefixtures("folder")


PROGRAM = f"{sys.executable} -c 'from tangga.cli import main; main()'"


def test_what_somebody_writes_between_the_trial_and_the_save_is_saved_too(
    filled: str, library: Path, folder: Path
) -> None:
    tried = folder.parent / "tried"
    plant(library, STEP, "op.execute('ALTER TABLE books ADD IF NOT EXISTS x text')", downgrade=f"""
    op.drop_column('books', 'x')
    op.execute("DELETE FROM authors WHERE name LIKE 'late%'")
    if not __import__('os').path.exists({str(tried)!r}):
        open({str(tried)!r}, 'w').close()
        end = time.monotonic() + 60
        waiting = sa.text("SELECT count(*) FROM pg_locks WHERE relation = 'books'::regclass AND NOT granted")
        while op.get_bind().scalar(waiting) == 0 and time.monotonic() < end:
            time.sleep(0.05)""")  # fmt: skip
    migrate(filled, "upgrade", "head", project=library)
    query(filled, "UPDATE books SET x = 'early' WHERE id = 1")

    def write() -> None:
        # Goes in at once: the trial found no such row, and holds no lock against it.
        add_author(filled, "late")
        # Waits for the trial's end, and is there before the save.
        query(filled, "UPDATE books SET x = 'late' WHERE id = 2")

    going_down = start_alembic(filled, "downgrade", "-1", project=library)
    assert eventually(tried.exists)
    writer = threading.Thread(target=write)
    writer.start()
    finished = finish(going_down)
    writer.join()
    assert finished.returncode == 0, finished.stderr
    assert rows(filled, "authors")[-1]["name"] != "late"
    migrate(filled, "upgrade", "head", project=library)
    assert command(filled, "restore-data", project=library) == 0
    assert [row["x"] for row in rows(filled, "books")][:3] == ["early", "late", None]
    assert "late" in {row["name"] for row in rows(filled, "authors")}


def test_a_step_that_commits_on_its_way_is_saved_before(
    filled: str, library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(
        library,
        STEP,
        "op.execute('CREATE INDEX IF NOT EXISTS ix_books_note ON books (note)')",
        downgrade="from tangga import safe; safe.drop_index('ix_books_note'); "
        "op.execute('DELETE FROM loans WHERE author_id = 1')",
    )
    migrate(filled, "upgrade", "head", project=library)
    before = contents(filled)
    loans = sum(row["author_id"] == 1 for row in rows(filled, "loans"))
    assert losses(filled, capsys, project=library) == {"deleted-rows public.loans ": loans}
    assert query(filled, "SELECT to_regclass('ix_books_note')") == [("ix_books_note",)]
    migrate(filled, "downgrade", "-1", project=library)
    assert query(filled, "SELECT to_regclass('ix_books_note')") == [(None,)]
    assert len(rows(filled, "loans")) == 100 - loans
    migrate(filled, "upgrade", "head", project=library)
    assert command(filled, "restore-data", project=library) == 0
    assert contents(filled) == before


def test_a_step_that_cannot_be_tried_counts_as_a_loss_and_everything_is_saved(
    filled: str, library: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted(
        filled,
        library,
        "with op.get_context().autocommit_block():\n        op.execute('REINDEX SCHEMA public')\n"
        "    op.execute('DELETE FROM loans')",
    )
    before = contents(filled)
    capsys.readouterr()
    assert command(filled, "losses", L3, project=library) == WOULD_LOSE_DATA
    printed = capsys.readouterr().out
    assert "what cannot be foreseen: " in printed
    assert "REINDEX SCHEMA cannot run inside a transaction block" in printed
    assert "the step above it cannot be foreseen" in printed
    assert contents(filled) == before
    there_and_back(filled, library)
    assert rows(filled, "loans") == []
    [manifest] = folder.glob("*/manifest.json")
    assert {item["table"]: item["rows"] for item in json.loads(manifest.read_text())["items"]} == {
        "public.books": 60, "public.authors": 20, "public.loans": 100,
    }  # fmt: skip
    assert command(filled, "restore-data", project=library) == 0
    assert contents(filled) == before


@pytest.mark.parametrize("trouble", ["missing", "read-only", "full"])
def test_without_room_for_the_save_the_step_does_not_happen(filled: str, folder: Path, trouble: str) -> None:
    query(
        filled,
        "UPDATE books SET note = (SELECT string_agg(md5(n::text || books.id), '') FROM generate_series(1, 100) n)",
    )
    before = contents(filled), catalogue(filled)
    place = {"missing": folder / "missing/altogether", "read-only": Path("/proc"), "full": folder}[trouble]
    # bash: no file may be larger than 16 KiB, which is how a full disk looks from inside.
    finished = subprocess.run(
        ["bash", "-c", f"{'ulimit -f 16;' if trouble == 'full' else ''} exec {PROGRAM} downgrade {L3}"],
        cwd=FOLDER, env=os.environ | PACKAGE | owner_environment(filled) | {"MIGRATE_SAVE_DIR": str(place)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.returncode == STEP_FAILED, finished.stderr
    what, remedy = finished.stderr.splitlines()[-2:]
    assert what.startswith(f"error: step {L4} (l4 notes) would lose data, and saving it in {place} failed: ")
    assert what.endswith("; the step was not run")
    assert "MIGRATE_SAVE_DIR" in remedy
    assert (contents(filled), catalogue(filled)) == before
    assert revision(filled) == HEAD
    assert [*folder.iterdir()] == []


def test_the_folder_of_the_first_save_is_made_for_its_owner_alone(
    filled: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIGRATE_SAVE_DIR", str(folder / "saved"))
    before = contents(filled)
    there_and_back(filled)
    assert (folder / "saved").stat().st_mode & 0o777 == 0o700
    assert command(filled, "restore-data") == 0
    assert contents(filled) == before


def test_a_save_that_was_cut_off_never_looks_whole(
    filled: str, library: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library = copy_library(library, with_tangga=True)
    last = "        with self._reported():\n            manifest"
    edit(library / "tangga/undo/saving.py", last, f"        __import__('time').sleep(60)\n{last}")
    going_down = start_alembic(filled, "downgrade", "-1", project=library)
    assert eventually(lambda: any(folder.glob(".*.partial/*.gz")))
    going_down.kill()
    assert finish(going_down).returncode == -9
    assert [path.name[0] for path in folder.iterdir()] == ["."]
    assert revision(filled) == HEAD
    assert command(filled, "restore-data", "--list") == 0
    assert "holds no save" in capsys.readouterr().out
    # The next one clears it away.
    query(filled, "UPDATE books SET note = '08'")
    migrate(filled, "downgrade", "-1")
    [path] = folder.iterdir()
    assert path.name.endswith(f"Z_{HEAD}")


def test_a_save_of_a_step_that_was_not_finished_is_not_put_back(
    filled: str, library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The commit itself fails, when the save is whole: as if the migrator were killed just before it.
    planted(
        filled, library,
        "op.drop_column('books', 'note');"
        " op.execute('CREATE TABLE d (n integer UNIQUE DEFERRABLE INITIALLY DEFERRED)');"
        " op.execute('INSERT INTO d VALUES (1), (1)')",
    )  # fmt: skip
    assert alembic(filled, "downgrade", "-1", project=library).returncode != 0
    assert revision(filled) == STEP
    query(filled, "UPDATE books SET note = 'newer'")
    capsys.readouterr()
    assert command(filled, "restore-data", "--list", project=library) == 0
    assert "(the step down was not finished)" in capsys.readouterr().out
    assert command(filled, "restore-data", project=library) == 0
    assert "nothing to put back" in capsys.readouterr().out
    assert {row["note"] for row in rows(filled, "books")} == {"newer"}


@pytest.mark.parametrize("damage", ["changed", "cut", "gone", "manifest"])
def test_a_damaged_save_is_refused_whole(
    filled: str, folder: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    there_and_back(filled, to=L2)
    [file] = folder.glob(f"*{L4}/*.gz")
    content = file.read_bytes()
    if damage == "changed":
        file.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])
    elif damage == "cut":
        file.write_bytes(content[:-20])
    elif damage == "gone":
        file.unlink()
    else:
        (file.parent / "manifest.json").write_text('{"revision": ')
    before = contents(filled)
    capsys.readouterr()
    assert command(filled, "restore-data") == STEP_FAILED
    assert file.parent.name in capsys.readouterr().err
    assert contents(filled) == before
