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

from argon2 import PasswordHasher
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response

from tests.databases import PROJECT

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
