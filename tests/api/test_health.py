import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from fastapi.testclient import TestClient
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from services.api.main import VERSION
from tests.api.support import serving
from tests.databases import PROJECT, connect, migrate, query, run, scratch_database, template
from tests.migrations.staircase import copy_project

[*_, V1] = STEPS = [
    step.revision for step in ScriptDirectory.from_config(Config(str(PROJECT / "alembic.ini"))).walk_revisions()
]
HEAD, PREVIOUS = STEPS[:2]


@contextmanager
def _database_at(owner: Connection, revision: str) -> Iterator[None]:
    run(owner, "UPDATE alembic_version SET version_num = %s", revision)
    try:
        yield
    finally:
        run(owner, "UPDATE alembic_version SET version_num = %s", HEAD)


def _metrics(client: TestClient) -> dict[str, str]:
    lines = client.get("/metrics").text.splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def test_the_root_says_what_this_is(client: TestClient) -> None:
    response = client.get("/")
    assert (response.status_code, response.json()) == (200, {"name": "Tangga", "version": VERSION, "docs": "/docs"})
    assert client.get(response.json()["docs"]).status_code == 200


@pytest.mark.own_schema
def test_at_head_the_service_is_ready(client: TestClient) -> None:
    response = client.get("/readyz")
    assert (response.status_code, response.json()["status"]) == (200, "ready")
    facts = {name: value for name, value in _metrics(client).items() if "schema" in name or "revision" in name}
    assert float(facts.pop("tangga_schema_age_seconds")) > 0
    assert facts == {
        "tangga_schema_ready": "1.0",
        f'tangga_expected_revision{{revision="{HEAD}"}}': "1.0",
        f'tangga_schema_revision{{revision="{HEAD}"}}': "1.0",
    }


@pytest.mark.own_schema
@pytest.mark.parametrize(
    ("revision", "reason"), [(PREVIOUS, "behind"), (V1, "behind"), ("ffffffffffff", "ahead"), ("", "ahead")]
)
def test_at_another_revision_it_is_not_and_says_why(
    client: TestClient, owner: Connection, revision: str, reason: str
) -> None:
    with _database_at(owner, revision):
        response = client.get("/readyz")
        metrics = _metrics(client)
        assert client.get("/healthz").status_code == 200
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert (response.json()["status"], response.json()["reason"]) == ("not ready", reason)
    assert revision in response.json()["detail"]
    assert HEAD in response.json()["detail"]
    assert (metrics["tangga_database_up"], metrics["tangga_schema_ready"]) == ("1.0", "0.0")
    assert metrics[f'tangga_schema_revision{{revision="{revision}"}}'] == "1.0"
    assert client.get("/readyz").status_code == 200


@pytest.mark.own_schema
def test_a_row_too_many_is_named_and_ends_no_service(client: TestClient, owner: Connection) -> None:
    run(owner, "INSERT INTO alembic_version VALUES (%s)", V1)
    try:
        response = client.get("/readyz")
    finally:
        run(owner, "DELETE FROM alembic_version WHERE version_num = %s", V1)
    assert response.status_code == 200
    assert response.json()["detail"] == f"The database is at {HEAD}; alembic_version holds a row too many: {V1}."


@pytest.mark.own_schema
@pytest.mark.parametrize(
    ("text", "why"), [(None, "a revision id is used twice"), ("pass pass", "cannot be loaded: invalid syntax")]
)
def test_files_that_cannot_be_read_make_nothing_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: str, text: str | None, why: str
) -> None:
    """Two files with one id: read carelessly, the head would be the one that the database is at."""
    project = copy_project(tmp_path)
    [head] = (project / "migrations/versions").glob(f"*_{HEAD}_*.py")
    head.with_name("copied.py").write_text(text or head.read_text())
    monkeypatch.chdir(project)
    with serving(database) as client:
        response = client.get("/readyz")
        assert client.get("/healthz").status_code == 200
    assert (response.status_code, response.json()["reason"]) == (503, "unreadable")
    assert why in response.json()["detail"]
    assert "copied.py" in response.json()["detail"]


# What a newer image has done since this one's newest step: revision, direction, and whether it breaks older releases.
_NEWER: dict[str, tuple[list[tuple[str, str, bool | None]], bool]] = {
    "compatible": ([("n1", "up", False)], True),
    "two compatible steps": ([("n1", "up", False), ("n2", "up", False)], True),
    "breaking": ([("n1", "up", True)], False),
    "breaking, then compatible": ([("n1", "up", True), ("n2", "up", False)], False),
    "breaking, but taken back": ([("n1", "up", True), ("n1", "down", True), ("n2", "up", False)], True),
    "by a version that did not note it": ([("n1", "up", None)], False),
    "nobody ran the step": ([("n1", "stamp", False)], False),
    "not by way of this image's step": ([(HEAD, "down", False), ("n1", "up", False)], False),
    "nobody knows how": ([], False),
}


@pytest.mark.own_schema
@pytest.mark.parametrize("name", _NEWER)
def test_ahead_by_steps_that_it_can_work_with_it_is_ready(client: TestClient, owner: Connection, name: str) -> None:
    steps, compatible = _NEWER[name]
    newest = steps[-1][0] if steps else "n1"
    [(before,)] = run(owner, "SELECT max(id) FROM tangga.migration_log")
    for step in steps:
        run(
            owner,
            "INSERT INTO tangga.migration_log"
            " (revision, direction, breaking, outcome, started_at, seconds, image_version)"
            " VALUES (%s, %s, %s, 'done', now(), 0, 'newer')",
            *step,
        )
    try:
        with _database_at(owner, newest):
            response = client.get("/readyz")
            ready = _metrics(client)["tangga_schema_ready"]
    finally:
        run(owner, "DELETE FROM tangga.migration_log WHERE id > %s", before)
    assert (response.status_code, ready) == ((200, "1.0") if compatible else (503, "0.0"))
    assert {newest, HEAD} <= set(re.findall(r"\w+", response.json()["detail"]))


@pytest.mark.own_schema
def test_a_log_that_an_older_version_made_lacks_nothing_that_is_needed() -> None:
    with scratch_database() as database, closing(connect(database)) as owner:
        migrate(database, "upgrade", "head")
        with serving(database) as client:
            run(owner, "ALTER TABLE tangga.migration_log DROP COLUMN breaking")
            assert client.get("/readyz").status_code == 200
            run(owner, "DROP TABLE tangga.migration_log")
            assert client.get("/readyz").status_code == 200


def test_a_database_that_nobody_migrated_is_behind() -> None:
    with serving(template()) as client:
        response = client.get("/readyz")
    assert (response.status_code, response.json()["reason"]) == (503, "behind")
    assert "no revision at all" in response.json()["detail"]


@pytest.mark.parametrize("name", ["Steps", "alembic_version"])
def test_alembics_table_may_have_another_name_and_schema(name: str) -> None:
    """As env.py says (version_table, version_table_schema); and it may come back."""
    with scratch_database() as database, closing(connect(database)) as owner:
        migrate(database, "upgrade", "head")
        run(owner, 'CREATE SCHEMA "Ops"')
        run(owner, 'ALTER TABLE alembic_version SET SCHEMA "Ops"')
        if name != "alembic_version":
            run(owner, f'ALTER TABLE "Ops".alembic_version RENAME TO "{name}"')
        table = sql.Identifier("Ops", name)
        with serving(database) as client:
            assert client.get("/readyz").json()["status"] == "ready"
            run(owner, sql.SQL("UPDATE {} SET version_num = %s").format(table), PREVIOUS)
            assert client.get("/readyz").json()["reason"] == "behind"
            run(owner, sql.SQL("ALTER TABLE {} SET SCHEMA public").format(table))
            run(owner, sql.SQL("UPDATE {} SET version_num = %s").format(sql.Identifier(name)), HEAD)
            assert client.get("/readyz").json()["status"] == "ready"
            # Two that are made like it: which of them it is, nobody can tell.
            if name == "Steps":
                run(owner, 'ALTER TABLE "Steps" SET SCHEMA "Ops"')
                run(owner, "CREATE TABLE other (version_num varchar(32))")
                assert client.get("/readyz").json()["reason"] == "behind"


@pytest.mark.parametrize("path", ["nothere", "pg_catalog, information_schema"])
def test_a_search_path_that_hides_the_revision_is_named(database: str, path: str) -> None:
    """A role may set it for itself, and it holds for new sessions."""
    role = sql.Identifier(os.environ["DB_USERNAME"])
    alter = sql.SQL("ALTER ROLE {role} IN DATABASE {database} ").format(role=role, database=sql.Identifier(database))
    query(database, alter + sql.SQL(f"SET search_path = {path}"), role="app")
    try:
        with serving(database) as client:
            response = client.get("/readyz")
            assert _metrics(client)["tangga_database_up"] == "1.0"
    finally:
        query(database, alter + sql.SQL("RESET search_path"), role="app")
    assert (response.status_code, response.json()["reason"]) == (503, "hidden")
    said = f"search_path of role {os.environ['DB_USERNAME']} is {path}: it hides public.alembic_version"
    assert response.json()["detail"].startswith(said)
    assert "make up" in response.json()["detail"]


@pytest.mark.parametrize(
    "environment", [{"DB_PORT": "1"}, {"DB_PASS": "wrong-9"}, {"DB_HOSTNAME": "host.invalid"}], ids=str
)
def test_without_a_database_it_is_alive_and_not_ready(database: str, environment: dict[str, str]) -> None:
    with serving(database, **environment) as client:
        response = client.get("/readyz")
        assert (response.status_code, response.json()["reason"]) == (503, "unreachable")
        assert "wrong-9" not in response.text
        assert client.get("/healthz").json() == {"status": "alive"}
        assert client.get("/").status_code == 200
        assert _metrics(client)["tangga_database_up"] == "0.0"
