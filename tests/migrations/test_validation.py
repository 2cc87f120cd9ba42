"""The foreign key of the product's v4 is validated after its step: writers go on, and a kill is made up for."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import psycopg2
import pytest

from tests.databases import (
    alembic_process,
    connect,
    eventually,
    finish,
    migrate,
    query,
    run,
    start_alembic,
)
from tests.migrations.staircase import HEAD, V3, V4
from tests.support.gate import PATIENT, backends, gate, waiting_at_gate
from tests.support.schema import revision
from tests.support.steps import edit


def _can_write(database: str) -> bool:
    """Tell whether the app can write a post now, or waits for the migrator, which stands at the gate."""
    insert = "INSERT INTO posts (nama, umur, alamat, owner_id) SELECT 'x', 1, '', min(id) FROM users"
    waits = "SELECT 1 FROM pg_locks WHERE pid = %s AND NOT granted"
    with closing(connect(database, "app")) as app, ThreadPoolExecutor(1) as beside:
        write = beside.submit(run, app, insert)
        pid = app.info.backend_pid
        assert eventually(lambda: write.done() or query(database, waits, pid, role="superuser") != [])
        if write.done():
            write.result()
            return True
        query(database, "SELECT pg_terminate_backend(%s)", pid, role="superuser")
        with suppress(psycopg2.Error):
            write.result()
        return False


@pytest.mark.parametrize("after_commit", [True, False])
def test_writers_are_not_blocked_while_the_foreign_key_is_validated(
    database: str, project: Path, after_commit: bool
) -> None:
    if not after_commit:
        [step] = (project / "migrations/versions").glob(f"*{V4}*")
        edit(step, "validate_after_commit =", "_unused =")
        validate = 'op.execute("ALTER TABLE posts VALIDATE CONSTRAINT post_users_fk")'
        edit(step, "postgresql_not_valid=True\n    )\n", f"postgresql_not_valid=True\n    )\n    {validate}\n")
    migrate(database, "upgrade", V3, project=project)
    query(database, "INSERT INTO posts (nama, umur, alamat) VALUES ('Ani', 1, '')")
    with gate(database, "ALTER TABLE", "VALIDATE CONSTRAINT"):
        migrator = start_alembic(database, "upgrade", V4, project=project, environment=PATIENT)
        assert eventually(lambda: waiting_at_gate(database) > 0)
        assert _can_write(database) is after_commit
    assert finish(migrator).returncode == 0
    assert query(database, "SELECT convalidated FROM pg_constraint WHERE conname = 'post_users_fk'") == [(True,)]


def test_a_migrator_killed_before_the_validation_leaves_v4_and_the_next_one_finishes(database: str) -> None:
    validated = "SELECT convalidated FROM pg_constraint WHERE conname = 'post_users_fk'"
    with gate(database, "ALTER TABLE", "VALIDATE CONSTRAINT"):
        migrator = start_alembic(database, "upgrade", "head", environment=PATIENT)
        assert eventually(lambda: waiting_at_gate(database) > 0)
        migrator.kill()
        migrator.wait()
        assert eventually(lambda: backends(database) == 0)
        assert (revision(database), query(database, validated)) == (V4, [(False,)])
    assert alembic_process(database, "current").returncode == 0
    assert query(database, validated) == [(False,)]
    finished = alembic_process(database, "upgrade", "head")
    assert finished.returncode == 0, finished.stderr
    assert "validating posts.post_users_fk" in finished.stderr
    assert (revision(database), query(database, validated)) == (HEAD, [(True,)])
