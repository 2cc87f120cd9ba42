"""Steps that end their transaction, or change their session, by themselves: nothing is lost, and nothing waits."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path

import pytest

from tangga.exits import STEP_FAILED, TABLE_LOCK_NOT_OBTAINED
from tangga.guard.session import Session
from tangga.plan import recording
from tests.databases import connect, query, run, scratch_database, url
from tests.support.library import HEAD, alembic, plant
from tests.support.planning import by_statement, plan_of
from tests.support.reported import assert_reported
from tests.support.schema import revision
from tests.support.shapes import Node, write

STEP, NEXT = "0000000000a1", "0000000000a2"
COLUMN = "op.execute('ALTER TABLE books ADD COLUMN w int')"
DRIVER = "op.get_bind().connection.driver_connection"

# What ends the step's transaction, in the middle of it.
COMMITS = {
    "get_bind().commit()": "op.get_bind().commit()",
    "after a statement": "op.execute('CREATE TABLE early ()'); op.get_bind().commit()",
    "COMMIT by SQL": "op.execute('CREATE TABLE early ()'); op.execute('COMMIT')",
    "BEGIN and COMMIT in a script": "op.execute('BEGIN; CREATE TABLE early (); COMMIT')",
    "the driver's commit": f"op.execute('CREATE TABLE early ()'); {DRIVER}.commit()",
    "COMMIT by the driver": f"op.execute('CREATE TABLE early ()'); {DRIVER}.cursor().execute('COMMIT')",
    "after an autocommit_block": """
    with op.get_context().autocommit_block():
        op.execute('CREATE INDEX CONCURRENTLY ix ON books (pages)')
    op.get_bind().commit()""",
    "before an autocommit_block": """
    op.get_bind().commit()
    op.execute('CREATE TABLE early ()')
    with op.get_context().autocommit_block():
        op.execute('CREATE INDEX CONCURRENTLY ix ON books (pages)')""",
    "an ORM session": """
    from sqlalchemy.orm import Session
    with Session(op.get_bind()) as session:
        session.execute(sa.text('CREATE TABLE early ()'))
        session.commit()""",
    "an ORM session of the engine": """
    from sqlalchemy.orm import Session
    with Session(op.get_bind().engine) as session:
        session.execute(sa.text('CREATE TABLE early ()'))
        session.commit()""",
    "engine.begin() beside": """
    with op.get_bind().engine.begin() as beside:
        beside.execute(sa.text('CREATE TABLE early ()'))""",
}


@pytest.fixture
def shelf(shelved: str) -> Iterator[str]:
    with scratch_database(shelved) as database:
        yield database


def _unguarded(monkeypatch: pytest.MonkeyPatch) -> None:
    followed: Callable[..., AbstractContextManager[None]] = lambda *_: nullcontext()  # noqa: E731
    monkeypatch.setattr(Session, "followed", followed)


def _has_column(database: str) -> bool:
    return query(database, "SELECT count(*) FROM pg_attribute WHERE attname = 'w'") == [(1,)]


@pytest.mark.parametrize("how", COMMITS)
def test_a_step_that_commits_by_itself_is_done_with_its_row(shelf: str, library: Path, how: str) -> None:
    plant(library, STEP, f"{COMMITS[how]}\n    {COLUMN}")
    plant(library, NEXT, "op.execute('CREATE TABLE next_one ()')", after=STEP)
    # Tried out, too: the plan ends, and says the same.
    made = plan_of(shelf, library)
    assert made.failed is None
    assert "ALTER TABLE books ADD COLUMN w int" in by_statement(made, STEP)
    finished = alembic(shelf, "upgrade", "head", project=library)
    assert finished.returncode == 0, finished.stderr
    assert (revision(shelf), _has_column(shelf)) == (NEXT, True)
    noted = query(shelf, "SELECT revision FROM tangga.migration_log WHERE revision >= %s ORDER BY id", STEP)
    assert [row for row in noted if row[0] in (STEP, NEXT)] == [(STEP,), (NEXT,)]


@pytest.mark.parametrize("how", ["get_bind().commit()", "after a statement"])
def test_without_the_guard_it_would_be_lost(
    shelf: str, library: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _unguarded(monkeypatch)
    plant(library, STEP, f"{COMMITS[how]}\n    {COLUMN}")
    finished = alembic(shelf, "upgrade", "head", project=library)
    assert (finished.returncode, revision(shelf), _has_column(shelf)) == (0, HEAD, False)


@pytest.mark.parametrize("how", ["COMMIT by SQL", "the driver's commit", "COMMIT by the driver"])
def test_what_follows_a_commit_is_one_transaction_with_the_row(shelf: str, library: Path, how: str) -> None:
    plant(library, STEP, f"{COMMITS[how]}\n    {COLUMN}\n    op.execute('SELECT 1/0')")
    finished = alembic(shelf, "upgrade", "head", project=library)
    assert_reported(finished, STEP_FAILED, "division by zero", "to its last commit")
    assert (revision(shelf), _has_column(shelf)) == (HEAD, False)
    assert query(shelf, "SELECT to_regclass('early') IS NOT NULL") == [(True,)]


@pytest.mark.parametrize("how", ["after a statement", "COMMIT by SQL", "the driver's commit"])
def test_a_step_that_has_committed_is_not_tried_again(shelf: str, library: Path, how: str) -> None:
    plant(library, STEP, f"{COMMITS[how]}\n    {COLUMN}")
    with closing(connect(shelf)) as other:
        run(other, "BEGIN")
        run(other, "LOCK TABLE books IN ACCESS SHARE MODE")
        finished = alembic(shelf, "upgrade", "head", project=library)
    assert_reported(finished, TABLE_LOCK_NOT_OBTAINED, "it is not tried again", "see whether it can run again")


ROLLBACKS = {
    "get_bind().rollback()": "op.get_bind().rollback()",
    "ROLLBACK by SQL": "op.execute('ROLLBACK')",
    "after an error": """
    try:
        op.execute('SELECT 1/0')
    except sa.exc.DBAPIError:
        op.get_bind().rollback()""",
    "an ORM session": """
    from sqlalchemy.orm import Session
    with Session(op.get_bind()) as session:
        session.rollback()
        session.execute(sa.text('SELECT 1'))
        session.rollback()""",
    # Behind SQLAlchemy's back, or where it does not look.
    "the driver's rollback": f"{DRIVER}.rollback()",
    "the pool's rollback": "op.get_bind().connection.rollback()",
    "ROLLBACK by the driver": f"{DRIVER}.cursor().execute('ROLLBACK')",
    "after a comment": "op.execute('-- undo\\nROLLBACK')",
    "after another statement": "op.execute('SELECT 1; ROLLBACK')",
    "in a script": "op.execute('UPDATE books SET pages = 1; ROLLBACK; BEGIN')",
}


@pytest.mark.parametrize("how", ROLLBACKS)
def test_a_step_that_takes_back_its_own_work_is_refused(shelf: str, library: Path, how: str) -> None:
    plant(library, STEP, f"{COLUMN}\n    {ROLLBACKS[how]}\n    op.execute('CREATE TABLE late ()')")
    finished = alembic(shelf, "upgrade", "head", project=library)
    assert_reported(finished, STEP_FAILED, f"step {STEP} (planted {STEP}) takes back its own work", "begin_nested()")
    assert f"planted_{STEP}.py:" in finished.stderr
    assert (revision(shelf), _has_column(shelf)) == (HEAD, False)


@pytest.mark.parametrize("how", ["the driver's rollback", "after another statement", "in a script"])
def test_nothing_is_refused_where_nothing_is_lost(shelf: str, library: Path, how: str) -> None:
    """A rollback of what was only read; and work that was committed before."""
    done = f"{COLUMN}; op.get_bind().commit(); op.execute('SELECT 1')"
    plant(library, STEP, f"{done}\n    {ROLLBACKS[how].replace('UPDATE books SET pages = 1', 'SELECT 1')}")
    finished = alembic(shelf, "upgrade", "head", project=library)
    assert finished.returncode == 0, finished.stderr
    assert (revision(shelf), _has_column(shelf)) == (STEP, True)


def test_a_step_that_goes_on_after_an_error_is_named(shelf: str, library: Path) -> None:
    caught = "try:\n        op.execute('SELECT 1/0')\n    except sa.exc.DBAPIError:\n        pass"
    plant(library, STEP, f"{COLUMN}\n    {caught}")
    finished = alembic(shelf, "upgrade", "head", project=library)
    said = f"step {STEP} (planted {STEP}) has caught an error of the database in migrations/versions/planted_{STEP}.py"
    assert_reported(finished, STEP_FAILED, said, "begin_nested()")
    assert (revision(shelf), _has_column(shelf)) == (HEAD, False)


# A step's function that would be noted as done, and has not come to its end; and what is said of it.
UNDONE = {
    "sys.exit": ("def", "__import__('sys').exit(0)", f"ends the program at migrations/versions/planted_{STEP}.py:11"),
    "SystemExit": ("def", "raise SystemExit", f"ends the program at migrations/versions/planted_{STEP}.py:11"),
    "asynchronous": ("async def", "pass", "nothing of its upgrade has run"),
    "a generator": ("def", "yield", "nothing of its upgrade has run"),
    "both": ("async def", "yield", "nothing of its upgrade has run"),
}


@pytest.mark.parametrize("how", UNDONE)
def test_a_function_that_has_not_come_to_its_end_is_not_done(shelf: str, library: Path, how: str) -> None:
    keyword, body, said = UNDONE[how]
    file = plant(library, STEP, f"{COLUMN}\n    {body}")
    file.write_text(file.read_text().replace("def upgrade", f"{keyword} upgrade"))
    plant(library, NEXT, "op.execute('CREATE TABLE next_one ()')", after=STEP)
    assert said in (plan_of(shelf, library).steps[0].error or "")
    finished = alembic(shelf, "upgrade", "head", project=library)
    assert_reported(finished, STEP_FAILED, f"step {STEP} (planted {STEP})")
    assert said in finished.stderr
    assert (revision(shelf), _has_column(shelf)) == (HEAD, False)


def test_a_savepoint_may_be_taken_back(shelf: str, library: Path) -> None:
    tried = """
    try:
        with op.get_bind().begin_nested():
            op.execute('SELECT 1/0')
    except sa.exc.DBAPIError:
        op.execute('CREATE TABLE late ()')"""
    plant(library, STEP, f"{COLUMN}\n    {tried}")
    assert alembic(shelf, "upgrade", "head", project=library).returncode == 0
    assert (revision(shelf), _has_column(shelf)) == (STEP, True)


BESIDE = {
    "engine.begin()": "op.get_bind().engine.begin()",
    "a session of the engine": "__import__('sqlalchemy.orm').orm.Session(op.get_bind().engine)",
    "an engine of its own": "sa.create_engine(op.get_bind().engine.url).begin()",
}


@pytest.mark.parametrize("how", BESIDE)
def test_a_step_that_waits_for_itself_is_told_so(shelf: str, library: Path, how: str) -> None:
    plant(
        library,
        STEP,
        f"{COLUMN}\n    with {BESIDE[how]} as beside:\n        beside.execute(sa.text('UPDATE books SET pages = 1'))",
    )
    finished = alembic(shelf, "upgrade", "head", project=library)
    said = f"step {STEP} (planted {STEP}) waits for itself at migrations/versions/planted_{STEP}.py:12"
    assert_reported(finished, STEP_FAILED, said, "run it on op.get_bind()")
    assert (revision(shelf), _has_column(shelf)) == (HEAD, False)
    assert "waits for itself" in (plan_of(shelf, library).steps[0].error or "")


@pytest.mark.parametrize("options", ["", "-c datestyle=german"])
def test_a_driver_without_sqlalchemy_waits_no_longer_than_the_step(shelf: str, library: Path, options: str) -> None:
    """Other drivers, and asynchronous ones: tests/stack/test_without_stack.py."""
    beside = "psycopg2.connect(os.environ['HERE']).cursor().execute('UPDATE books SET pages = 1')"
    plant(library, STEP, f"import os, psycopg2\n    {COLUMN}\n    {beside}")
    here = {"MIGRATE_LOCK_TIMEOUT": "0.3", "PGOPTIONS": options, "HERE": url(shelf).replace("+psycopg2", "")}
    finished = alembic(shelf, "upgrade", "head", project=library, environment=here)
    where = f"failed in upgrade at migrations/versions/planted_{STEP}.py:12: canceling statement due to lock timeout"
    assert_reported(finished, STEP_FAILED, where, "mend the step")
    assert (revision(shelf), _has_column(shelf)) == (HEAD, False)


def test_a_plan_does_not_wait_for_a_transaction_that_a_step_left_open(
    shelf: str, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "LOOK_SECONDS", 1)
    left_open = "global kept; kept = op.get_bind().engine.connect(); kept.execute(sa.text('LOCK TABLE books'))"
    plant(library, STEP, left_open)
    plant(library, NEXT, "pass", after=STEP)
    finished = alembic(shelf, "plan", project=library)
    assert_reported(finished, STEP_FAILED, "has left a transaction open that holds locks", "does not close it")


def test_a_plan_brings_a_steps_own_connection_to_the_copy_and_the_step_stays(shelf: str, library: Path) -> None:
    own = f"engine = sa.create_engine('{url(shelf)}')\n    with engine.begin() as beside:\n"
    plant(library, STEP, f"{COLUMN}\n    {own}        beside.execute(sa.text('CREATE TABLE beside ()'))")
    plant(library, NEXT, "op.execute('ALTER TABLE books DROP COLUMN w; DROP TABLE beside')", after=STEP)
    assert plan_of(shelf, library).failed is None
    assert "is connected to, although SQL is only printed" in alembic(shelf, "lint", STEP, project=library).stdout
    assert query(shelf, "SELECT to_regclass('beside')") == [(None,)]
    assert alembic(shelf, "upgrade", "head", project=library).returncode == 0


# What a step changes in its session, and what shows it there.
SETS = {
    "search_path": ("op.execute('SET search_path TO store')", "search_path"),
    "search_path, LOCAL": ("op.execute('SET LOCAL search_path TO store')", "search_path"),
    "as pg_dump does": ("op.execute(\"SELECT pg_catalog.set_config('search_path', '', false)\")", "search_path"),
    "a role": ("op.execute('SET ROLE pg_read_all_stats')", "role"),
    "a role, LOCAL": ("op.execute('SET LOCAL ROLE pg_read_all_stats')", "role"),
    "a role, in a block": ("op.execute(\"DO $$ BEGIN SET ROLE pg_read_all_stats; END $$\")", "role"),
    "a time-out": ("op.execute('SET lock_timeout = 0')", "lock_timeout"),
    "and commits": ("op.execute('SET search_path TO store'); op.get_bind().commit()", "search_path"),
}  # fmt: skip


@pytest.mark.parametrize("how", SETS)
def test_what_a_step_sets_is_put_back(shelf: str, library: Path, how: str) -> None:
    statement, name = SETS[how]
    plant(library, STEP, f"op.execute('CREATE SCHEMA store; CREATE TABLE store.thing ()')\n    {statement}")
    shown = f"CREATE TABLE public.shown AS SELECT current_setting(''{name}'') AS now".replace("''", "\\'")
    plant(library, NEXT, f"op.execute('{shown}')", after=STEP)
    made = plan_of(shelf, library)
    # It shows what the step did, and nothing of how that was put back.
    assert (made.failed, "pg_settings" in str(made.steps)) == (None, False)
    finished = alembic(shelf, "upgrade", "head", project=library)
    assert finished.returncode == 0, finished.stderr
    assert revision(shelf) == NEXT
    expected = {"search_path": '"$user", public', "role": "none", "lock_timeout": "1s"}[name]
    assert query(shelf, "SELECT now FROM shown") == [(expected,)]
    logged = query(shelf, "SELECT DISTINCT revision FROM tangga.migration_log WHERE revision IN (%s, %s)", STEP, NEXT)
    assert sorted(logged) == [(STEP,), (NEXT,)]


@pytest.mark.parametrize("how", ["search_path", "search_path, LOCAL", "as pg_dump does"])
def test_what_the_first_step_of_all_sets_is_put_back(database: str, tmp_path: Path, how: str) -> None:
    """Alembic's own table has just been made, and the step itself counts on the setting."""
    first = "CREATE TABLE thing (id int)" if how != "as pg_dump does" else "CREATE TABLE store.thing (id int)"
    project = write(
        tmp_path / "project",
        Node("i1", None, body=f"op.execute('CREATE SCHEMA store'); {SETS[how][0]}; op.execute({first!r})",
             down="DROP SCHEMA store CASCADE"),
        Node("i2", "i1", "CREATE TABLE other (id int)", "DROP TABLE other"),
    )  # fmt: skip
    finished = alembic(database, "upgrade", "head", project=project)
    assert finished.returncode == 0, finished.stderr
    made = "SELECT to_regclass('store.thing') IS NOT NULL, to_regclass('public.other') IS NOT NULL"
    assert (revision(database), query(database, made)) == ("i2", [(True, True)])
    finished = alembic(database, "downgrade", "base", project=project)
    assert finished.returncode == 0, finished.stderr
    assert (revision(database), query(database, made)) == (None, [(False, False)])


@pytest.mark.parametrize("statement", ["SET SESSION AUTHORIZATION {owner}", "SET LOCAL SESSION AUTHORIZATION {owner}"])
def test_another_user_of_the_session_is_put_back(shelf: str, library: Path, statement: str) -> None:
    [(owner,)] = query(shelf, "SELECT current_user")
    query(shelf, f"CREATE SCHEMA store AUTHORIZATION {owner}")
    plant(library, STEP, f"op.execute('{statement.format(owner=owner)}')")
    plant(library, NEXT, "op.execute('CREATE TABLE shown AS SELECT session_user AS now')", after=STEP)
    superuser = {"DATABASE_URL": url(shelf, "superuser")}
    finished = alembic(shelf, "upgrade", "head", project=library, environment=superuser)
    assert finished.returncode == 0, finished.stderr
    assert query(shelf, "SELECT now FROM shown", role="superuser") != [(owner,)]


@pytest.mark.parametrize("how", ["search_path", "as pg_dump does", "a role"])
def test_without_the_guard_the_version_would_not_be_found(
    shelf: str, library: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _unguarded(monkeypatch)
    plant(library, STEP, f"op.execute('CREATE SCHEMA store')\n    {SETS[how][0]}")
    finished = alembic(shelf, "upgrade", "head", project=library)
    assert finished.returncode != 0
    assert revision(shelf) == HEAD
