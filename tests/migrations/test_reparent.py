"""`alembic reparent`: a local branch on the other head; one line of one file changes, or nothing.

How the file changes: tests/unit/reparent/test_rewriting.py.
"""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.databases import (
    connect,
    eventually,
    finish,
    query,
    run,
    scratch_database,
    start_alembic,
)
from tests.support.library import HEAD, L2, NOWHERE, alembic, migrate, plant
from tests.support.schema import revision
from tests.support.steps import edit

MINE, MINE_TOO, THEIRS = "0000000000a1", "0000000000a2", "0000000000b1"


@pytest.fixture
def there(shelved: str) -> Iterator[str]:
    with scratch_database(shelved) as name:
        yield name


@pytest.fixture
def pulled(library: Path) -> Path:
    """My two steps, and one that came with a pull: two heads."""
    plant(library, MINE, "op.create_table('mine', sa.Column('id', sa.Integer()))", downgrade="op.drop_table('mine')")
    plant(library, MINE_TOO, "pass", after=MINE)
    plant(library, THEIRS, "pass")
    # What a pull brings is newer, however coarse the file system's clock.
    for mine in (MINE, MINE_TOO):
        earlier = _file(library, mine).stat().st_mtime - 10
        os.utime(_file(library, mine), (earlier, earlier))
    return library


def _file(library: Path, name: str) -> Path:
    return library / f"migrations/versions/planted_{name}.py"


def _content(library: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (library / "migrations/versions").glob("*.py")}


def _refused(finished: CompletedProcess[str], code: int, *words: str) -> None:
    assert finished.returncode == code, finished.stdout + finished.stderr
    assert "Traceback" not in finished.stderr
    for word in words:
        assert word in finished.stderr


def test_the_branch_that_has_not_run_is_put_on_the_other_head(there: str, pulled: Path) -> None:
    migrate(there, "upgrade", THEIRS, project=pulled)
    # The harm: nobody can go up.
    assert "several heads" in alembic(there, "upgrade", "head", project=pulled).stderr
    before = _content(pulled)
    (pulled / "migrations/HEAD").write_text(f"{MINE_TOO}\n{THEIRS}\n")
    finished = alembic(there, "reparent", project=pulled)
    assert finished.returncode == 0, finished.stderr
    assert f"{MINE} (planted {MINE}) stood on {HEAD}, and stands on {THEIRS} now" in finished.stdout
    assert f"one head: {MINE_TOO}" in finished.stdout
    assert (pulled / "migrations/HEAD").read_text() == f"{MINE_TOO}\n"
    name = _file(pulled, MINE).name
    after = _content(pulled)
    changed = before[name].replace(b"down_revision = '" + HEAD.encode(), b"down_revision = '" + THEIRS.encode())
    assert after == before | {name: changed}
    assert alembic(there, "upgrade", "head", project=pulled).returncode == 0
    assert revision(there) == MINE_TOO
    migrate(there, "downgrade", HEAD, project=pulled)
    # Once more: there is nothing to do, and nothing is done.
    finished = alembic(there, "reparent", project=pulled)
    assert (finished.returncode, _content(pulled)) == (0, after)
    assert f"one head, {MINE_TOO}: nothing to do" in finished.stdout


@pytest.mark.parametrize("name", [MINE, MINE_TOO, MINE[-4:], "head"])
def test_where_neither_branch_has_run_the_author_says_which(there: str, pulled: Path, name: str) -> None:
    before = _content(pulled)
    finished = alembic(there, "reparent", name, project=pulled)
    if name == "head":
        _refused(finished, 7, f"{MINE_TOO} (planted {MINE_TOO})", f"{THEIRS} (planted {THEIRS})", "tangga reparent ")
        assert _content(pulled) == before
    elif name == MINE[-4:]:  # the end of a revision is no name for it
        _refused(finished, 13, "can't locate revision")
    else:
        assert finished.returncode == 0, finished.stderr
        assert alembic(there, "heads", project=pulled).stdout == f"{MINE_TOO} (head)\n"


def test_what_may_be_somebody_elses_is_not_moved_unasked(there: str, pulled: Path) -> None:
    """Mine has run, for I tried it; what came with the pull has not. It is newer in this folder."""
    migrate(there, "upgrade", MINE_TOO, project=pulled)
    before = _content(pulled)
    finished = alembic(there, "reparent", project=pulled)
    _refused(finished, 7, f"{THEIRS} (planted {THEIRS}) has not run here, but its files are newer", "tangga reparent ")
    assert _content(pulled) == before


def test_what_has_run_is_not_moved(there: str, pulled: Path) -> None:
    migrate(there, "upgrade", MINE, project=pulled)
    before = _content(pulled)
    finished = alembic(there, "reparent", MINE_TOO, project=pulled)
    _refused(finished, 255, f"already applied in this database: {MINE} (planted {MINE})", f"alembic downgrade {HEAD}")
    assert _content(pulled) == before
    # The remedy works.
    migrate(there, "downgrade", HEAD, project=pulled)
    assert alembic(there, "reparent", MINE_TOO, project=pulled).returncode == 0


def test_where_both_branches_have_run_both_cannot_be_moved(there: str, pulled: Path) -> None:
    migrate(there, "upgrade", "heads", project=pulled)
    _refused(alembic(there, "reparent", project=pulled), 255, "already applied")
    _refused(alembic(there, "reparent", THEIRS, project=pulled), 255, f"already applied in this database: {THEIRS}")


def test_a_step_below_both_heads_names_no_branch(there: str, pulled: Path) -> None:
    _refused(alembic(there, "reparent", L2, project=pulled), 255, f"{L2} is below all heads", MINE_TOO, THEIRS)


def test_a_branch_with_a_merge_in_it_is_not_moved(there: str, pulled: Path) -> None:
    migrate(there, "merge", MINE_TOO, THEIRS, "-m", "both", "--rev-id", "0000000000c1", project=pulled)
    plant(pulled, "0000000000d1", "pass")
    before = _content(pulled)
    _refused(alembic(there, "reparent", "0000000000c1", project=pulled), 255, "is a merge of two branches")
    assert _content(pulled) == before


def test_of_three_heads_the_one_that_has_run_is_stood_on(there: str, pulled: Path) -> None:
    plant(pulled, "0000000000d1", "pass")
    _refused(alembic(there, "reparent", MINE, project=pulled), 7, "0000000000d1", "--onto")
    migrate(there, "upgrade", THEIRS, project=pulled)
    finished = alembic(there, "reparent", MINE, project=pulled)
    assert f"stands on {THEIRS} now" in finished.stdout, finished.stderr
    assert "still 2 heads" in finished.stdout
    finished = alembic(there, "reparent", "0000000000d1", "--onto", MINE_TOO, project=pulled)
    assert "one head: 0000000000d1" in finished.stdout, finished.stderr
    assert alembic(there, "upgrade", "head", project=pulled).returncode == 0


def test_a_file_of_the_template_is_changed_in_two_lines(there: str, library: Path) -> None:
    migrate(there, "revision", "-m", "v7 tambah kota", "--rev-id", MINE, project=library)
    plant(library, THEIRS, "pass")
    [file] = (library / "migrations/versions").glob(f"{MINE}_*.py")
    before = file.read_text().splitlines()
    assert alembic(there, "reparent", MINE, project=library).returncode == 0
    changed = [(old, new) for old, new in zip(before, file.read_text().splitlines(), strict=True) if old != new]
    assert changed == [
        (f"Revises: {HEAD}", f"Revises: {THEIRS}"),
        (
            f"down_revision: str | Sequence[str] | None = '{HEAD}'",
            f"down_revision: str | Sequence[str] | None = '{THEIRS}'",
        ),
    ]


def test_a_revision_that_is_not_plain_text_is_left_to_the_author(there: str, pulled: Path) -> None:
    edit(_file(pulled, MINE), f"down_revision = {HEAD!r}", f"down_revision = {HEAD[:6]!r} + {HEAD[6:]!r}")
    before = _content(pulled)
    _refused(alembic(there, "reparent", MINE, project=pulled), 255, "by hand", "planted_")
    assert _content(pulled) == before


def test_a_file_that_another_program_changes_meanwhile_is_not_overwritten(there: str, pulled: Path) -> None:
    file = _file(pulled, MINE)
    with closing(connect(there)) as other:
        run(other, "BEGIN")
        run(other, "LOCK TABLE alembic_version")
        process = start_alembic(there, "reparent", MINE, project=pulled)
        # The files are read, the database does not answer yet.
        waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'alembic_version'::regclass"
        assert eventually(lambda: bool(query(there, waiting)))
        edit(file, f"down_revision = {HEAD!r}", f"down_revision = {L2!r}")
        run(other, "ROLLBACK")
        _refused(finish(process), 255, "changed this moment")
    assert f"down_revision = {L2!r}" in file.read_text()


def test_what_would_make_a_circle_is_not_done(there: str, pulled: Path) -> None:
    edit(_file(pulled, THEIRS), "depends_on = None", f"depends_on = {MINE!r}")
    before = _content(pulled)
    finished = alembic(there, "reparent", MINE, project=pulled)
    _refused(finished, 255, f"{THEIRS} depends on {MINE}", "alembic merge heads")
    assert _content(pulled) == before


def test_what_does_not_lead_to_one_head_is_put_back(there: str, pulled: Path) -> None:
    before = _content(pulled)
    with closing(connect(there)) as other:
        run(other, "BEGIN")
        run(other, "LOCK TABLE alembic_version")
        process = start_alembic(there, "reparent", MINE, project=pulled)
        waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'alembic_version'::regclass"
        assert eventually(lambda: bool(query(there, waiting)))
        late = plant(pulled, "0000000000d1", "pass")
        run(other, "ROLLBACK")
        _refused(
            finish(process), 255, f"{MINE} cannot stand on {THEIRS}: there are 2 heads then", "nothing was changed"
        )
    assert _content(pulled) == before | {late.name: late.read_bytes()}


def test_without_a_database_nothing_is_changed(pulled: Path) -> None:
    before = _content(pulled)
    _refused(alembic("unused", "reparent", project=pulled, environment=NOWHERE), 5, "no database at")
    assert _content(pulled) == before
