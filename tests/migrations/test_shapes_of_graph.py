"""Several bases, and heads that others depend on: a database at all of them is ready, and nothing is pending."""

import contextlib
from pathlib import Path

import pytest

from services.api.health import schema
from tangga import version_rows
from tangga.precheck import heads_of_files
from tests.databases import query
from tests.support.library import HEAD, L2, alembic, plant
from tests.support.steps import edit

BASE, ABOVE = "0000000000b1", "0000000000b2"
TABLE = "op.execute('CREATE TABLE shelves (id int PRIMARY KEY)')"
DROP = "op.drop_table('shelves')"
# What the second base's step depends on, what stands above it, and the rows of a database at all heads.
SHAPES = {
    "a head that another depends on": (HEAD, None, {BASE}),
    "and a step above it": (HEAD, BASE, {ABOVE}),
    "a step below a head": (L2, None, {BASE, HEAD}),
    "no dependency": (None, BASE, {ABOVE, HEAD}),
}


def _planted(library: Path, shape: str) -> set[str]:
    depends_on, below, rows = SHAPES[shape]
    file = plant(library, BASE, TABLE, after=None, downgrade=DROP)
    if depends_on:
        edit(file, "depends_on = None", f"depends_on = {depends_on!r}")
    if below:
        plant(library, ABOVE, "op.execute('ALTER TABLE shelves ADD COLUMN n int')", after=below,
              downgrade="op.drop_column('shelves', 'n')")  # fmt: skip
    (library / "migrations/HEAD").unlink(missing_ok=True)
    return rows


@pytest.mark.parametrize("shape", SHAPES)
def test_a_database_at_all_heads_is_ready_and_nothing_is_pending(database: str, library: Path, shape: str) -> None:
    rows = _planted(library, shape)
    assert alembic(database, "upgrade", "heads", project=library).returncode == 0
    assert {row for (row,) in query(database, "SELECT version_num FROM alembic_version")} == rows
    with contextlib.chdir(library):
        assert schema.ExpectedSchema().heads == rows
    log = alembic(database, "log", project=library)
    assert "nothing pending" in log.stdout, log.stdout
    assert "Nothing to do" in alembic(database, "plan", "heads", project=library).stdout
    assert alembic(database, "upgrade", "heads", project=library).returncode == 0
    drift = alembic(database, "drift", project=library)
    # The models, which do not have the table, were compared: that is done at the heads only.
    assert drift.stdout.splitlines() == ["models: table shelves: in the schema, not in the models"], drift.stdout
    down = alembic(database, "downgrade", "base", project=library)
    assert (down.returncode, query(database, "SELECT count(*) FROM alembic_version")) == (0, [(0,)]), down.stderr


def test_by_the_files_alone_the_heads_would_be_two(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _planted(library, "a head that another depends on")
    # The short way, which knows nothing of dependencies, leaves it to Alembic.
    assert heads_of_files(str(library / "migrations/versions")) == []
    monkeypatch.setattr(version_rows, "stored_heads", lambda scripts: frozenset(scripts.get_heads()))
    with contextlib.chdir(library):
        assert schema.ExpectedSchema().heads == {HEAD, BASE}
