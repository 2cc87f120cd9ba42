"""`guarded` around a connection that somebody's own env.py has made: lock, time-outs and log are there too."""

from contextlib import closing, nullcontext
from pathlib import Path

import pytest

from tangga import environment
from tangga.exits import LOCK_NOT_OBTAINED
from tangga.guard.lock import LOCK_KEY
from tests.databases import connect, query, run
from tests.support.library import HEAD, alembic, copy_library, plant

_ENV = """
from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool
from tangga import guarded
from tangga.project import Project

engine = create_engine(Project.running().settings.url, poolclass=NullPool)
with engine.connect() as connection, guarded(connection) as options:
    context.configure(connection=connection, **options)
    with context.begin_transaction():
        context.run_migrations()
"""


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = copy_library(tmp_path)
    (folder / "migrations/env.py").write_text(_ENV)
    return folder


def test_it_waits_for_the_lock_and_has_bounds_and_a_log(database: str, library: Path) -> None:
    shown = "CREATE TABLE shown AS SELECT current_setting('lock_timeout') AS held"
    plant(library, "0000000000a1", f'op.execute("{shown}")', after=HEAD)
    with closing(connect(database)) as other:
        run(other, "SELECT pg_advisory_lock(%s)", LOCK_KEY)
        refused = alembic(database, "upgrade", "head", project=library, environment={"MIGRATE_LOCK_WAIT": "0"})
        assert refused.returncode == LOCK_NOT_OBTAINED, refused.stderr
        assert query(database, "SELECT to_regclass('alembic_version')") == [(None,)]
    done = alembic(database, "upgrade", "head", project=library)
    assert done.returncode == 0, done.stderr
    assert query(database, "SELECT held FROM shown") == [("1s",)]
    assert query(database, "SELECT count(*) FROM tangga.migration_log WHERE outcome = 'done'") == [(5,)]


def test_without_the_lock_it_would_not_wait(database: str, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_locked", lambda *_: nullcontext())
    with closing(connect(database)) as other:
        run(other, "SELECT pg_advisory_lock(%s)", LOCK_KEY)
        done = alembic(database, "upgrade", "head", project=library, environment={"MIGRATE_LOCK_WAIT": "0"})
    assert done.returncode == 0, done.stderr
