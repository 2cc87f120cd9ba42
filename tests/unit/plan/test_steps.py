"""Whether a step can be undone, and what it destroys: read from its file and from two catalogues."""

from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory

from tangga.plan.model import Statement, Step, Touch
from tangga.plan.steps import losses, step_of, why_irreversible
from tangga.project import Project
from tests.support.catalogue import schema, table

FILE = '''"""a step"""
revision = "0000000000a1"
down_revision = None
{attribute}
def upgrade():
    {upgrade}
def downgrade():
    """A docstring does nothing."""
    {downgrade}
'''


def _step(folder: Path, upgrade: str = "op.x()", downgrade: str = "op.y()", attribute: str = "") -> Any:
    (folder / "versions").mkdir()
    (folder / "env.py").touch()
    (folder / "versions/a1.py").write_text(FILE.format(upgrade=upgrade, downgrade=downgrade, attribute=attribute))
    return ScriptDirectory(str(folder)).get_revision("0000000000a1")


@pytest.mark.parametrize(
    ("upgrade", "downgrade", "attribute", "why"),
    [
        ("op.x()", "op.y()", "", None),
        ("op.x()", "pass", "", "downgrade does nothing"),
        ("pass", "pass", "", None),
        ("op.x()", "raise RuntimeError", "", "downgrade raises"),
        ("op.x()", "raise RuntimeError", "irreversible = 'the old ones are not kept'", "the old ones are not kept"),
    ],
)
def test_what_cannot_be_undone_is_said(
    tmp_path: Path, upgrade: str, downgrade: str, attribute: str, why: str | None
) -> None:
    assert why_irreversible(_step(tmp_path, upgrade, downgrade, attribute)) == why


def test_tables_and_columns_of_the_live_database_are_named_when_they_go() -> None:
    live = schema(table(1, "posts", "id", "nama", "umur"), table(2, "users", "id"), table(3, "Toko.barang", "id"))
    # Made by an earlier step of the run: nobody loses it.
    before = schema(*live.tables.values(), table(4, "baru", "id"))
    # A column and a table are renamed, a column and two tables are dropped.
    after = schema(table(1, "artikel", "id", "judul"))
    assert losses(before, after, live) == ["table Toko.barang", "table users", "column posts.umur"]
    assert losses(before, before, live) == []


def _touch(name: str, *work: str, new: bool = False) -> Touch:
    return Touch(name, "table", new, "ROW EXCLUSIVE", ["ROW EXCLUSIVE"], True, "nothing", [*work])


def test_rows_that_are_changed_are_lost_whatever_the_statement_is_called(tmp_path: Path) -> None:
    statements = [
        Statement("DO $$ BEGIN DELETE FROM votes; END $$", "step", [_touch("votes", "scan", "change")]),
        Statement("-- all\nUPDATE posts SET nama = 1", "step", [_touch("posts", "change"), _touch("users")]),
        Statement("UPDATE posts SET umur = 1", "step", [_touch("posts", "change")]),
        Statement("TRUNCATE votes", "step", [_touch("votes", "truncate")]),
        Statement("DELETE FROM baru", "step", [_touch("baru", "change", new=True)]),
        Statement("INSERT INTO users", "step", [_touch("users", "insert")]),
    ]

    def of(statements: list[Statement], gone: list[str]) -> Step:
        return step_of(project, script, statements, gone)

    script = _step(tmp_path, downgrade="pass")
    (tmp_path / "alembic.ini").touch()
    project = Project.from_file(tmp_path / "alembic.ini")
    made = of(statements, ["table users"])
    assert made.losses == ["table users", "rows of votes (DO)", "rows of posts (UPDATE)", "rows of votes (TRUNCATE)"]
    assert (made.destructive, made.reversible, made.irreversible) == (True, False, "downgrade does nothing")
    assert (made.revision, made.message, made.file) == ("0000000000a1", "a step", "versions/a1.py")
    assert not of(statements[-2:], []).destructive
