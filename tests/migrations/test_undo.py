"""A step down never loses data unsaid and unsaved, and restore-data puts it back."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tangga.exits import BEHIND, STEP_FAILED
from tests.databases import PROJECT, owner_environment, query, scratch_database
from tests.databases import migrate as migrate_product
from tests.migrations.staircase import V3, V4, add_posts, add_user
from tests.support.library import FOLDER, L1, L2, L3, L4, fill, migrate
from tests.support.schema import catalogue, revision, rows
from tests.support.undoing import PACKAGE, add_author, command, contents, losses, planted, there_and_back

pytestmark = pytest.mark.usefixtures("folder")


def test_a_column_comes_back_value_by_value(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(filled)
    assert losses(filled, capsys, L3) == {"dropped-columns public.books note": 30}
    there_and_back(filled)
    # The harm: up again is not back again.
    assert {row["note"] for row in rows(filled, "books")} == {None}
    capsys.readouterr()
    assert command(filled, "restore-data") == 0
    assert "books.note  dropped columns     30        30" in capsys.readouterr().out
    assert contents(filled) == before


def test_all_steps_down_and_up_lose_nothing(
    with_shelves: str, library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(with_shelves)
    where = revision(with_shelves), catalogue(with_shelves)
    assert losses(with_shelves, capsys, "base", project=library) == {
        "dropped-columns public.books shelf": 60,
        "dropped-columns public.books note": 30,
        "dropped-table public.loans ": 100,
        "dropped-table public.books title,pages,lent,added_at,author_id": 60,
        "dropped-table public.authors name,secret": 20,
    }
    # Asking changes nothing.
    assert (contents(with_shelves), (revision(with_shelves), catalogue(with_shelves))) == (before, where)
    there_and_back(with_shelves, library, to="base")
    assert contents(with_shelves) | {"alembic_version": []} == {name: [] for name in before}
    assert command(with_shelves, "restore-data", project=library) == 0
    assert contents(with_shelves) == before
    assert where == (revision(with_shelves), catalogue(with_shelves))
    # The sequences know what came back.
    assert add_author(with_shelves, "new") == 21


def test_steps_that_lose_nothing_ask_nothing_save_nothing_and_run_once(
    shelved: str, library: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = folder.parent / "ran"
    with scratch_database(shelved) as database:
        # A column without a value, a table without a row.
        fill(database, authors=1, books=5, loans=0)
        query(database, "UPDATE books SET note = NULL")
        planted(
            database,
            library,
            f"op.drop_column('books', 'p'); open({str(ran)!r}, 'a').write('x')",
            "op.execute('ALTER TABLE books ADD p text GENERATED ALWAYS AS (title) STORED')",
        )
        assert losses(database, capsys, L2, project=library) == {}
        ran.unlink()
        assert command(database, "losses", L2, project=library) == 0
        assert capsys.readouterr().out == "3 steps down: no data would be lost\n"
        ran.unlink()
        migrate(database, "downgrade", L2, project=library)
        assert ran.read_text() == "x"
    assert [*folder.iterdir()] == []


def test_the_placeholder_owner_has_another_id_after_the_next_upgrade(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    migrate_product(database, "upgrade", V3)
    add_posts(database, 4, alamat="")
    ani = add_user(database, "ani@x.id")
    migrate_product(database, "upgrade", V4)
    query(database, "UPDATE posts SET owner_id = %s WHERE id <= 3", ani)
    assert losses(database, capsys, project=PROJECT) == {
        "dropped-columns public.posts owner_id": 4,
        "deleted-rows public.users email,password,created_at": 1,
    }
    migrate_product(database, "downgrade", V3)
    migrate_product(database, "upgrade", V4)
    owners = {row["id"]: row["owner_id"] for row in rows(database, "posts")}
    placeholder = owners[4]
    assert set(owners.values()) == {placeholder}
    capsys.readouterr()
    assert command(database, "restore-data", project=PROJECT) == 0
    assert "1 refer to rows that are gone: they keep what the upgrade gave them" in capsys.readouterr().out
    owners = {row["id"]: row["owner_id"] for row in rows(database, "posts")}
    assert owners == {1: ani, 2: ani, 3: ani, 4: placeholder}


def test_the_safe_forms_can_be_tried(filled: str, library: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planted(
        filled, library,
        "from tangga import safe; safe.create_index('ix', 'books', ['pages']); safe.add_unique('u', 'books',"
        " ['title']); safe.set_not_null('books', 'note_2');"
        " safe.backfill('books', \"title = 'x' || id\", where='id < 4')",
        "op.execute('ALTER TABLE books ADD IF NOT EXISTS note_2 text')",
    )  # fmt: skip
    query(filled, "UPDATE books SET note_2 = 'x'")
    assert losses(filled, capsys, project=library) == {"changed-rows public.books title": 3}
    migrate(filled, "downgrade", "-1", project=library)
    assert [row["title"] for row in rows(filled, "books")][:4] == ["x1", "x2", "x3", "book 4"]
    migrate(filled, "upgrade", "head", project=library)
    assert command(filled, "restore-data", project=library) == 0
    assert [row["title"] for row in rows(filled, "books")][:4] == ["book 1", "book 2", "book 3", "book 4"]


def test_the_applications_triggers_do_not_see_what_comes_back(filled: str) -> None:
    query(filled, """
        CREATE FUNCTION changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.pages = -1; RETURN NEW; END $$;
        CREATE TRIGGER changed BEFORE UPDATE ON books FOR EACH ROW EXECUTE FUNCTION changed();
        ALTER TABLE books ENABLE ALWAYS TRIGGER changed
    """)  # fmt: skip
    before = contents(filled), query(filled, "SELECT tgenabled FROM pg_trigger WHERE tgname = 'changed'")
    there_and_back(filled)
    assert command(filled, "restore-data") == 0
    assert (contents(filled), query(filled, "SELECT tgenabled FROM pg_trigger WHERE tgname = 'changed'")) == before


def test_which_save_is_put_back_and_when(filled: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(filled, "restore-data") == 0
    assert "holds no save" in capsys.readouterr().out
    before = contents(filled)
    migrate(filled, "downgrade", L2)
    names = sorted(path.name for path in folder.iterdir())
    assert [name[-12:] for name in names] == [L4, L3]

    assert command(filled, "restore-data") == BEHIND
    assert "is not applied now\n   do: alembic upgrade head first" in capsys.readouterr().err
    assert command(filled, "restore-data", names[0]) == BEHIND
    migrate(filled, "upgrade", L3)
    # What can be put back is; the rest waits.
    assert command(filled, "restore-data") == 0
    assert len(rows(filled, "loans")) == 100
    migrate(filled, "upgrade", "head")
    assert command(filled, "restore-data") == 0
    assert contents(filled) == before

    query(filled, "UPDATE books SET note = 'newer'")
    capsys.readouterr()
    assert command(filled, "restore-data") == 0
    assert f"{L3} was already restored on " in capsys.readouterr().out
    assert {row["note"] for row in rows(filled, "books")} == {"newer"}
    assert command(filled, "restore-data", names[0]) == 0
    assert "note 2" in {row["note"] for row in rows(filled, "books")}
    assert command(filled, "restore-data", "nonsense") == 255


def test_the_newest_save_of_a_step_counts(filled: str) -> None:
    there_and_back(filled)
    query(filled, "UPDATE books SET note = 'second'")
    before = contents(filled)
    there_and_back(filled)
    assert command(filled, "restore-data") == 0
    assert contents(filled) == before
    assert command(filled, "restore-data") == 0
    assert contents(filled) == before


def test_rows_that_do_not_fit_are_not_put_back_by_halves(
    with_shelves: str, library: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there_and_back(with_shelves, library, to="base")
    [books] = folder.glob(f"*{L2}")
    [authors] = folder.glob(f"*{L1}")
    assert command(with_shelves, "restore-data", authors.name, project=library) == 0
    capsys.readouterr()
    # Books need a shelf now, which is in another save.
    assert command(with_shelves, "restore-data", books.name, project=library) == STEP_FAILED
    assert 'null value in column "shelf"' in capsys.readouterr().err
    assert rows(with_shelves, "books") == []
    assert command(with_shelves, "restore-data", project=library) == 0
    assert len(rows(with_shelves, "books")) == 60


def test_an_upgrade_does_not_load_any_of_this(database: str) -> None:
    code = (
        "import sys; from tangga import cli; cli.main(['upgrade', 'head']);"
        "sys.exit(any(name.startswith('tangga.undo') for name in sys.modules))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=FOLDER, env=os.environ | PACKAGE | owner_environment(database), check=False
    )
    assert finished.returncode == 0
