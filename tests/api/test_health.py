from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from fastapi.testclient import TestClient
from psycopg2.extensions import connection as Connection

from services.api.main import VERSION
from tests.api.support import serving
from tests.databases import PROJECT, run, template

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


def test_a_database_that_nobody_migrated_is_behind() -> None:
    with serving(template()) as client:
        response = client.get("/readyz")
    assert (response.status_code, response.json()["reason"]) == (503, "behind")
    assert "no revision at all" in response.json()["detail"]


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
