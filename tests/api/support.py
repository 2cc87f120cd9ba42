"""What the tests of this folder share: an app of one's own, people, posts, and what an error must look like."""

import os
import runpy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from json import dumps
from typing import Any
from unittest import mock

import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response

from services.api.db.database import Database
from services.api.db.statement import Row, Statement
from services.api.observe import logs
from tests.databases import PROJECT, query

POST = {"nama": "Ani", "umur": 30, "alamat": "Jl. Melati 1"}
PASSWORD = "correct horse"
# argon2's smallest parameters. A hash is checked with the parameters that it was made with.
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
HASH = QUICK.hash(PASSWORD)
MISSING = 2**31 - 1
# Every route that needs a token, with a body that is right.
PROTECTED = [
    ("POST", "/posts", POST),
    ("PUT", "/posts/1", POST),
    ("DELETE", "/posts/1", None),
    ("POST", "/vote", {"post_id": 1, "dir": 1}),
    ("POST", "/vote", {"post_id": 1, "dir": 0}),
]


@dataclass
class Person:
    """A user who has logged in."""

    id: int
    email: str
    headers: dict[str, str]


@contextmanager
def serving(database: str, **environment: str) -> Iterator[TestClient]:
    """Start an app of its own on the database, with other settings if wanted."""
    app: FastAPI = runpy.run_path(str(PROJECT / "services/api/main.py"))["app"]
    with ExitStack() as stack:
        # Settings are read once, at the start.
        with mock.patch.dict(os.environ, {"DB_NAME": database, **environment}):
            client = stack.enter_context(TestClient(app, raise_server_exceptions=False))
        yield client


def another(first: TestClient, **options: Any) -> TestClient:
    """Return another client of the same app, in the same event loop: the app's connections belong to it."""
    other = TestClient(first.app, raise_server_exceptions=False, **options)
    other.portal = first.portal
    return other


def database_of(client: TestClient) -> Database:
    """Return what the app's routes ask."""
    assert isinstance(client.app, FastAPI)
    database: Database = client.app.state.database
    return database


def ask(client: TestClient, statement: str) -> list[Row]:
    """Run a statement as a route does, on one of the app's connections."""
    db = database_of(client)

    async def run() -> list[Row]:
        return await db.rows(Statement(statement))

    assert client.portal
    return client.portal.call(run)


def waiting_for_locks(database: str) -> int:
    """Return how many sessions wait for a lock, in this database: other tests run beside these, in theirs."""
    statement = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
    [(count,)] = query(database, statement, database)
    return int(count)


def printed(capfd: pytest.CaptureFixture[str]) -> str:
    """Return what has been printed since the last time, lines of requests that still wait included."""
    logs.flush()
    return capfd.readouterr().out


def assert_problem(response: Response, status: int, detail: str = "") -> None:
    """RFC 9457, the same members for every error; `detail` is a part of the sentence."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert {name: body[name] for name in ("type", "title", "status")} == {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
    }
    assert detail in body["detail"]
    assert set(body) == {"type", "title", "status", "detail"} | ({"errors"} if status == 422 else set())
    for error in body.get("errors", []):
        assert set(error) == {"loc", "msg", "type"}
    assert response.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
    assert response.headers.get("retry-after") == ("1" if status == 503 else None)


def send(client: TestClient, method: str, path: str, body: object, person: Person | None = None) -> Response:
    """Send JSON in which a lone surrogate is escaped; the client's own encoder would refuse it."""
    headers = {"content-type": "application/json"} | (person.headers if person else {})
    response: Response = client.request(
        method, path, content=None if method == "DELETE" else dumps(body), headers=headers
    )
    return response
