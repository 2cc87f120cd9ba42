"""FORCE ROW LEVEL SECURITY put on by a step: what a step down loses is seen, saved and put back all the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tangga.undo import catching, putting_back
from tests.databases import query
from tests.support.library import HEAD, alembic, migrate, plant
from tests.support.schema import revision

FORCE, ABOVE = "0000000000a1", "0000000000a2"
POLICY = "CREATE POLICY own ON books USING (title = current_setting($$app.who$$, true))"
FORCED = f"""op.execute('ALTER TABLE books ENABLE ROW LEVEL SECURITY')
    op.execute('ALTER TABLE books FORCE ROW LEVEL SECURITY')
    op.execute('{POLICY}')"""
TAKEN_OFF = """op.execute('DROP POLICY own ON books')
    op.execute('ALTER TABLE books NO FORCE ROW LEVEL SECURITY')
    op.execute('ALTER TABLE books DISABLE ROW LEVEL SECURITY')"""
IS_FORCED = "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE relname = 'books'"
# What stands above the step with the policy: its way up, and its way down, which loses something.
SHAPES = {
    "a column": (
        "op.execute('ALTER TABLE books ADD COLUMN shelf text DEFAULT $$a shelf$$')",
        "op.execute('ALTER TABLE books DROP COLUMN shelf')",
        "books.shelf",
    ),
    "changed rows": (
        "pass",
        "op.execute('ALTER TABLE books NO FORCE ROW LEVEL SECURITY; UPDATE books SET note = $$gone$$;"
        " ALTER TABLE books FORCE ROW LEVEL SECURITY')",
        "books.note",
    ),
    "a table": (
        "op.execute('CREATE TABLE shelves AS SELECT id FROM authors;"
        " ALTER TABLE shelves ENABLE ROW LEVEL SECURITY; ALTER TABLE shelves FORCE ROW LEVEL SECURITY')",
        "op.drop_table('shelves')",
        "shelves",
    ),
    "outside of a transaction": (
        "op.execute('ALTER TABLE books ADD COLUMN shelf text DEFAULT $$a shelf$$')",
        "op.execute('ALTER TABLE books DROP COLUMN shelf'); op.execute('COMMIT')",
        "books",
    ),
}


@pytest.fixture
def forced(filled: str, library: Path, folder: Path) -> str:
    assert folder.exists()
    plant(library, FORCE, FORCED, after=HEAD, downgrade=TAKEN_OFF)
    return filled


def _above(library: Path, shape: str) -> str:
    up, down, what = SHAPES[shape]
    plant(library, ABOVE, up, after=FORCE, downgrade=down)
    return what


@pytest.mark.parametrize("shape", SHAPES)
def test_what_goes_is_said_saved_and_put_back(forced: str, library: Path, shape: str) -> None:
    what = _above(library, shape)
    migrate(forced, "upgrade", "head", project=library)
    before = query(forced, "SELECT to_jsonb(books) FROM books ORDER BY id", role="superuser")
    losses = alembic(forced, "losses", project=library)
    assert losses.returncode == 11, losses.stderr
    if shape != "outside of a transaction":
        assert what in losses.stdout
    down = alembic(forced, "downgrade", "-1", project=library)
    assert down.returncode == 0, down.stderr
    assert f"saved {what}" in down.stderr
    # The policy holds as before.
    assert (query(forced, IS_FORCED), revision(forced)) == ([(True, True)], FORCE)
    migrate(forced, "upgrade", "head", project=library)
    restored = alembic(forced, "restore-data", project=library)
    assert restored.returncode == 0, restored.stderr
    assert query(forced, "SELECT to_jsonb(books) FROM books ORDER BY id", role="superuser") == before
    assert query(forced, IS_FORCED) == [(True, True)]


def test_everything_can_be_taken_back(forced: str, library: Path) -> None:
    _above(library, "a column")
    migrate(forced, "upgrade", "head", project=library)
    down = alembic(forced, "downgrade", "base", project=library)
    assert (down.returncode, revision(forced)) == (0, None), down.stderr


def test_without_it_nothing_can_be_taken_back(forced: str, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def nothing(*_: object) -> Iterator[None]:
        yield

    for module in (catching, putting_back):
        monkeypatch.setattr(module, "unforced", nothing)
    _above(library, "a column")
    migrate(forced, "upgrade", "head", project=library)
    for command in ("losses", "downgrade -1", "downgrade base"):
        finished = alembic(forced, *command.split(), project=library)
        assert "query would be affected by row-level security policy" in finished.stderr
        assert (finished.returncode, revision(forced)) == (3, ABOVE)
