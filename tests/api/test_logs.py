import http.client
import json
import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from fastapi.testclient import TestClient
from psycopg2.extensions import connection as Connection

from services.api.observe import logs
from tests.api.server import gunicorn
from tests.api.support import PASSWORD, POST, Person, printed, serving, waiting_for_locks
from tests.databases import connect, eventually, run

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def client(database: str) -> Iterator[TestClient]:
    with serving(database, LOG_FORMAT="json") as client:
        yield client


def _lines(capfd: pytest.CaptureFixture[str], event: str = "request") -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in printed(capfd).splitlines()]
    return [line for line in lines if line["event"] == event]


@pytest.fixture
def log(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> pytest.CaptureFixture[str]:
    """Log as gunicorn does (services/api/gunicorn.conf.py), and not as the migrations that ran in this process."""
    ours = logging.getLogger("tangga")
    for logger in (logging.root, ours):
        monkeypatch.setattr(logger, "handlers", [])
        monkeypatch.setattr(logger, "level", logger.level)
    monkeypatch.setattr(ours, "propagate", True)
    logs.set_up("json", "info")
    _lines(capfd)
    return capfd


@contextmanager
def _broken(owner: Connection) -> Iterator[None]:
    """The table of posts has other columns than the code believes: a bug."""
    run(owner, "ALTER TABLE posts RENAME nama TO name")
    try:
        yield
    finally:
        run(owner, "ALTER TABLE posts RENAME name TO nama")


def test_a_request_is_one_line(
    client: TestClient, ani: Person, post_id: int, capfd: pytest.CaptureFixture[str]
) -> None:
    client.get(f"/posts/{post_id}")
    _lines(capfd)
    headers = {"X-Request-ID": "from-the-proxy-1", "traceparent": f"00-{TRACE}-{SPAN}-01"} | ani.headers
    response = client.put(f"/posts/{post_id}?a=b", json=POST, headers=headers)
    assert response.headers["X-Request-ID"] == "from-the-proxy-1"
    [line] = _lines(capfd)
    assert line.pop("time")[-1] == "Z"
    assert line.pop("duration_ms") >= line.pop("database_ms") > 0
    assert len(line.pop("span_id")) == 16
    assert line.pop("pid")
    assert line == {
        "level": "info",
        "event": "request",
        "request_id": "from-the-proxy-1",
        "trace_id": TRACE,
        "parent_id": SPAN,
        "method": "PUT",
        "route": "/posts/{post_id}",
        "status": 200,
        "statements": 1,
        "user_id": ani.id,
        "client": "testclient",
        "bytes": len(response.content),
    }


def test_ids_are_made_where_none_come(client: TestClient, capfd: pytest.CaptureFixture[str]) -> None:
    response = client.get("/")
    [line] = _lines(capfd)
    assert line["request_id"] == line["trace_id"] == response.headers["X-Request-ID"]
    assert (line["parent_id"], line["user_id"], line["statements"], line["database_ms"]) == (None, None, 0, 0)


@pytest.mark.parametrize("path", ["/nope", "/posts/1/secret", "/%0a%7b%22event%22:1%7d", "/..%2f", "/POSTS"])
def test_an_unknown_path_is_not_repeated(path: str, client: TestClient, capfd: pytest.CaptureFixture[str]) -> None:
    assert client.get(path).status_code == 404
    [line] = _lines(capfd)
    assert (line["route"], line["status"]) == ("unmatched", 404)
    assert path not in json.dumps(line)


def test_an_unknown_method_is_not_repeated(client: TestClient, capfd: pytest.CaptureFixture[str]) -> None:
    assert client.request("BREW", "/posts").status_code == 405
    [line] = _lines(capfd)
    assert (line["method"], line["route"]) == ("OTHER", "/posts")


def test_secrets_bodies_and_queries_stay_out(client: TestClient, log: pytest.CaptureFixture[str]) -> None:
    user = {"email": "ani@example.com", "password": PASSWORD}
    assert client.post("/users", json=user).status_code == 201
    form = {"username": "ani@example.com", "password": PASSWORD}
    token = client.post("/login?hidden=1", data=form).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}", "Cookie": "hidden=1", "User-Agent": "hidden"}
    assert client.post("/posts", json=POST | {"nama": "hidden"}, headers=headers).status_code == 201
    assert client.get("/posts?search=hidden&limit=1").status_code == 200
    assert client.post("/login", data=form | {"password": "hidden password"}).status_code == 401
    out = printed(log)
    assert out.count('"event":"request"') == 5
    for secret in (PASSWORD, token, "hidden", "ani@example.com"):
        assert secret not in out


def test_probes_are_logged_only_when_they_fail(
    database: str, client: TestClient, capfd: pytest.CaptureFixture[str]
) -> None:
    assert {client.get(path).status_code for path in ("/healthz", "/readyz")} == {200}
    assert _lines(capfd) == []
    with serving(database, LOG_FORMAT="json", LOG_LEVEL="debug") as curious:
        curious.get("/healthz")
    assert [(line["route"], line["level"]) for line in _lines(capfd)] == [("/healthz", "debug")]
    with serving(database, LOG_FORMAT="json", DB_PORT="1") as alone:
        alone.get("/readyz")
    assert [(line["status"], line["level"]) for line in _lines(capfd)] == [(503, "warning")]


def test_a_higher_level_leaves_requests_out(database: str, capfd: pytest.CaptureFixture[str]) -> None:
    with serving(database, LOG_FORMAT="json", LOG_LEVEL="warning") as quiet:
        assert quiet.get("/posts").status_code == 200
    assert printed(capfd) == ""


def test_people_get_text(database: str, capfd: pytest.CaptureFixture[str]) -> None:
    with serving(database, LOG_FORMAT="text") as client:
        client.get("/posts")
    assert " GET /posts 200 " in printed(capfd)


@pytest.mark.parametrize("path", ["/readyz", "/posts"])
def test_an_unreachable_database_has_its_event(path: str, database: str, log: pytest.CaptureFixture[str]) -> None:
    with serving(database, LOG_FORMAT="json", DB_PORT="1") as alone:
        assert alone.get(path).status_code == 503
    [line] = _lines(log, "database_unreachable")
    assert line["level"] == "warning"
    assert "Connection refused" in line["reason"]


def test_a_bug_is_logged_once_with_its_request(
    client: TestClient, owner: Connection, log: pytest.CaptureFixture[str]
) -> None:
    with _broken(owner):
        response = client.get("/posts?search=hidden", headers={"X-Request-ID": "r-1"})
    assert (response.status_code, response.headers["X-Request-ID"]) == (500, "r-1")
    out = printed(log)
    [bug, request] = [json.loads(line) for line in out.splitlines()]
    assert (bug["event"], bug["level"], bug["request_id"]) == ("unhandled_error", "error", "r-1")
    assert "UndefinedColumn" in bug["traceback"]
    assert (request["event"], request["level"], request["status"]) == ("request", "error", 500)
    assert "hidden" not in out


def test_a_refused_row_is_not_logged(client: TestClient, owner: Connection, log: pytest.CaptureFixture[str]) -> None:
    """PostgreSQL repeats the whole row in a check's message, the hash of the password included."""
    run(owner, "ALTER TABLE users ADD CONSTRAINT never CHECK (false) NOT VALID")
    try:
        with pytest.raises(psycopg2.IntegrityError, match="some-hash"):
            run(owner, "INSERT INTO users (email, password) VALUES ('ani@example.com', 'some-hash')")
        assert client.post("/users", json={"email": "ani@example.com", "password": PASSWORD}).status_code == 500
    finally:
        run(owner, "ALTER TABLE users DROP CONSTRAINT never")
    out = printed(log)
    assert 'violates check constraint \\"never\\"' in out
    for secret in (PASSWORD, "argon2", "ani@example.com"):
        assert secret not in out


def test_gunicorn_speaks_the_same_language(database: str, owner: Connection, tmp_path: Path) -> None:
    with gunicorn(database, tmp_path / "log", workers=1) as server:
        [startup] = server.lines("startup")
        assert (startup["workers"], startup["db_pool_size"], startup["api_replicas"]) == (1, 5, 1)
        assert any("Booting worker" in line["message"] for line in server.lines("gunicorn"))
        with _broken(owner):
            assert server.get("/posts").status_code == 500
        assert server.get("/posts?search=hidden").status_code == 200
    # One line with the traceback, though the server would log what reaches it, too; one line a request.
    assert server.log.read_text().count("Traceback") == 0
    assert server.log.read_text().count('"traceback"') == 1
    assert [line["status"] for line in server.lines("request")] == [500, 200]
    assert "hidden" not in server.log.read_text()


def test_a_client_that_leaves_is_499(database: str, tmp_path: Path) -> None:
    with (
        gunicorn(database, tmp_path / "log", workers=1, DB_STATEMENT_TIMEOUT="600") as server,
        closing(connect(database, "owner")) as blocker,
    ):
        run(blocker, "BEGIN")
        run(blocker, "LOCK TABLE posts")
        waiting = http.client.HTTPConnection(server.url.removeprefix("http://"))
        waiting.request("GET", "/posts")
        assert eventually(lambda: waiting_for_locks(database) == 1)
        waiting.close()
        # gunicorn gives the request three more seconds.
        assert eventually(lambda: server.lines("request") != [])
        run(blocker, "ROLLBACK")
        [line] = server.lines("request")
        assert (line["route"], line["status"]) == ("/posts", 499)
        assert server.get("/posts").status_code == 200
