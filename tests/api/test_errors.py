import logging
from contextlib import closing

import psycopg2
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from services.api.db.statement import Statement
from services.api.errors import CONSTRAINT_PROBLEMS
from tangga.catalogue import ours
from tests.api.support import POST, Person, assert_problem, database_of, serving
from tests.databases import connect, eventually, query, run

DATABASE_ROUTES = [
    ("GET", "/posts", None),
    ("GET", "/posts/1", None),
    ("GET", "/users/1", None),
    ("POST", "/users", {"email": "ani@example.com", "password": "correct horse"}),
    ("POST", "/posts", POST),
    ("PUT", "/posts/1", POST),
    ("DELETE", "/posts/1", None),
    ("POST", "/vote", {"post_id": 1, "dir": 1}),
]


def _app(client: TestClient) -> FastAPI:
    assert isinstance(client.app, FastAPI)
    return client.app


@pytest.mark.parametrize("path", ["/nothing", "/posts/1/2", "/users/1/x", "/.env", "/%2e%2e/etc/passwd", "/%00"])
def test_an_unknown_path_is_a_problem(client: TestClient, path: str) -> None:
    assert_problem(client.get(path), 404)


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", "/posts"), ("PATCH", "/posts/1"), ("GET", "/login"), ("GET", "/vote"), ("PUT", "/")]
)
def test_a_method_that_a_path_does_not_have_is_a_problem(client: TestClient, method: str, path: str) -> None:
    assert_problem(client.request(method, path), 405)


def test_a_validation_error_names_the_field_and_leaves_its_value_out(client: TestClient, ani: Person) -> None:
    response = client.post("/posts", json=POST | {"umur": "secret-9"}, headers=ani.headers)
    assert_problem(response, 422)
    assert [error["loc"] for error in response.json()["errors"]] == [["body", "umur"]]
    assert "secret-9" not in response.text


def test_a_bug_is_500_without_its_cause_and_is_logged(database: str, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("secret-9")

    with serving(database) as client, caplog.at_level(logging.ERROR, "tangga.api"):
        _app(client).add_api_route("/fail", fail)
        response = client.get("/fail")
    assert_problem(response, 500)
    assert "secret-9" not in response.text
    assert [record.getMessage() for record in caplog.records] == ["unhandled_error"]
    assert "secret-9" in caplog.text


def test_a_constraint_that_nobody_foresaw_is_500_and_what_the_client_sent_is_not_logged(
    client: TestClient, database: str, ani: Person, caplog: pytest.LogCaptureFixture
) -> None:
    assert client.post("/posts", json=POST | {"umur": 999}, headers=ani.headers).status_code == 201
    query(database, "ALTER TABLE posts ADD CONSTRAINT ck_unforeseen CHECK (umur < 900) NOT VALID")
    try:
        response = client.post("/posts", json=POST | {"umur": 999, "nama": "secret-9"}, headers=ani.headers)
    finally:
        query(database, "ALTER TABLE posts DROP CONSTRAINT ck_unforeseen")
    assert_problem(response, 500)
    assert "ck_unforeseen" in caplog.text


@pytest.mark.own_schema
def test_every_constraint_that_becomes_an_answer_exists(database: str) -> None:
    existing = {
        name for [name] in query(database, "SELECT conname FROM pg_constraint WHERE contype IN ('u', 'p', 'f')")
    }
    assert set(CONSTRAINT_PROBLEMS) <= existing
    migrators = {f"pk_{table}" for table in ours.TABLES}
    # These keys are database-made, or written with ON CONFLICT: a client never meets them.
    unseen = {"pk_posts", "pk_users", "pk_login_attempts", "pk_idempotency_keys", "alembic_version_pkc"} | migrators
    assert existing - set(CONSTRAINT_PROBLEMS) <= unseen | {name for name in existing if name.startswith("pg_")}


@pytest.mark.parametrize("environment", [{"DB_PORT": "1"}, {"DB_PASS": "wrong"}, {"DB_NAME": "nowhere"}], ids=str)
def test_without_a_database_every_route_that_needs_it_is_503(
    database: str, environment: dict[str, str], ani: Person
) -> None:
    environment = {**environment}
    with serving(environment.pop("DB_NAME", database), **environment) as client:
        for method, path, body in DATABASE_ROUTES:
            assert_problem(client.request(method, path, json=body, headers=ani.headers), 503)
        assert_problem(client.post("/login", data={"username": "a", "password": "b"}), 503)


def test_connections_that_died_are_replaced_before_a_request_notices(client: TestClient, database: str) -> None:
    assert client.get("/posts").status_code == 200
    ended = query(
        database,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE %s AND datname = %s",
        "tangga-api %",
        database,
        role="superuser",
    )
    assert ended
    assert client.get("/posts").status_code == 200


def test_a_pool_that_is_used_up_is_503(database: str) -> None:
    with serving(database, DB_POOL_SIZE="1", DB_STATEMENT_TIMEOUT="1") as client:
        assert client.get("/posts").status_code == 200
        assert client.portal
        with client.portal.wrap_async_context_manager(database_of(client).transaction()):
            assert_problem(client.get("/posts"), 503)
        assert client.get("/posts").status_code == 200


def test_a_query_that_takes_too_long_is_504(database: str) -> None:
    with serving(database, DB_STATEMENT_TIMEOUT="1") as client:
        db = database_of(client)

        async def sleep(seconds: float) -> None:
            await db.rows(Statement("SELECT pg_sleep(:seconds)"), seconds=seconds)

        _app(client).add_api_route("/sleep", sleep)
        assert client.get("/sleep?seconds=0.01").status_code == 200
        # Without the bound it would be 200, in the end.
        assert_problem(client.get("/sleep?seconds=300"), 504)
        asleep = "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND wait_event = 'PgSleep'"
        assert eventually(lambda: query(database, asleep, database, role="superuser") == [])


@pytest.mark.parametrize(("method", "path"), [("GET", "/posts"), ("POST", "/posts")])
def test_a_table_that_somebody_else_locks_is_504(database: str, ani: Person, method: str, path: str) -> None:
    with serving(database, DB_STATEMENT_TIMEOUT="1") as client, closing(connect(database)) as other:
        run(other, "BEGIN; LOCK TABLE posts IN ACCESS EXCLUSIVE MODE")
        assert_problem(client.request(method, path, json=POST, headers=ani.headers), 504)
        run(other, "ROLLBACK")
        assert client.request(method, path, json=POST, headers=ani.headers).is_success


def test_no_other_origin_is_let_in(client: TestClient) -> None:
    foreign = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST", "Cookie": "a=b"}
    for response in (client.get("/posts", headers=foreign), client.options("/posts", headers=foreign)):
        assert not [name for name in response.headers if name.startswith("access-control-")]
    assert_problem(client.options("/posts", headers=foreign), 405)


def test_connections_end_with_the_app(database: str) -> None:
    def connections() -> set[int]:
        statement = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE %s AND datname = %s"
        return {pid for [pid] in query(database, statement, "tangga-api %", database)}

    before = connections()
    with serving(database) as client:
        client.get("/posts")
        [made] = connections() - before
    assert eventually(lambda: made not in connections())


def test_the_database_itself_refuses_an_owner_who_is_not_there(database: str, ani: Person) -> None:
    statement = "INSERT INTO posts (nama, umur, alamat, owner_id) VALUES ('Ani', 1, '', %s)"
    query(database, statement, ani.id, role="app")
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        query(database, statement, ani.id + 1, role="app")
