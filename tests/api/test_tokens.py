from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from psycopg2.extensions import connection as Connection

from services.api.auth.token import make_token
from tests.api.support import POST, PROTECTED, Person, assert_problem, serving
from tests.databases import run

EXPIRED = {"sub": "1", "exp": datetime.now(UTC) - timedelta(seconds=5)}
VALID = {"sub": "1", "exp": datetime.now(UTC) + timedelta(hours=1)}
MALFORMED = [b"{", b"", b"\xff\xfe", b'{"nama": "\xed\xa0\x80"}', b"[" * 60_000, b"9" * 5000, b"{}", b"null", b"NaN"]


def _key(client: TestClient) -> str:
    assert isinstance(client.app, FastAPI)
    key: str = client.app.state.settings.token_key.get_secret_value()
    return key


AUTHORIZATIONS: dict[str, Callable[[TestClient], str]] = {
    "empty": lambda _: "",
    "basic": lambda _: "Basic YW5pOmFuaQ==",
    "no token": lambda _: "Bearer",
    "nonsense": lambda _: "Bearer nonsense",
    "expired": lambda client: f"Bearer {jwt.encode(EXPIRED, _key(client), 'HS256')}",
    "an id that no user can have": lambda client: (
        f"Bearer {jwt.encode(VALID | {'sub': str(2**31)}, _key(client), 'HS256')}"
    ),
    "another key": lambda client: f"Bearer {jwt.encode(VALID, _key(client)[::-1], 'HS256')}",
    "no signature": lambda _: f"Bearer {jwt.encode(VALID, '', 'none')}",
}


def test_every_protected_route_is_tried_here(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    protected = {
        (method.upper(), path.replace("{post_id}", "1"))
        for path, methods in paths.items()
        for method, operation in methods.items()
        if "security" in operation
    }
    assert protected == {(method, path) for method, path, _ in PROTECTED}


@pytest.mark.parametrize(("method", "path", "body"), PROTECTED)
@pytest.mark.usefixtures("post_id")
def test_without_a_token_nothing_is_written(
    client: TestClient, owner: Connection, method: str, path: str, body: Any
) -> None:
    before = client.get("/posts").json()
    assert_problem(client.request(method, path, json=body), 401)
    for authorization in AUTHORIZATIONS.values():
        headers = {"Authorization": authorization(client)}
        assert_problem(client.request(method, path, json=body, headers=headers), 401)
    assert client.get("/posts").json() == before
    assert run(owner, "SELECT * FROM votes") == []


@pytest.mark.parametrize(("method", "path", "body"), PROTECTED)
@pytest.mark.parametrize("post_is_there", [True, False])
def test_a_token_of_a_deleted_user_is_401(
    client: TestClient, ani: Person, ghost: Person, method: str, path: str, body: Any, post_is_there: bool
) -> None:
    if post_is_there:
        assert client.post("/posts", json=POST, headers=ani.headers).json()["id"] == 1
    before = client.get("/posts").json()
    assert len(before) == post_is_there
    assert_problem(client.request(method, path, json=body, headers=ghost.headers), 401)
    assert client.get("/posts").json() == before


@pytest.mark.parametrize(("method", "path"), sorted({(method, path) for method, path, body in PROTECTED if body}))
@pytest.mark.parametrize("body", MALFORMED, ids=lambda body: body[:20])
def test_a_bad_body_is_401_without_a_token_and_422_with_one(
    client: TestClient, ani: Person, method: str, path: str, body: bytes
) -> None:
    headers = {"content-type": "application/json"}
    assert_problem(client.request(method, path, content=body, headers=headers), 401)
    assert_problem(client.request(method, path, content=body, headers=headers | ani.headers), 422)


@pytest.mark.parametrize("path", ["/posts/0", "/posts/x", f"/posts/{2**31}"])
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_bad_path_is_401_without_a_token(client: TestClient, method: str, path: str) -> None:
    assert_problem(client.request(method, path, json=POST), 401)


def test_a_body_that_is_not_called_json_is_refused_like_any_other(client: TestClient, ani: Person) -> None:
    headers = {"content-type": "text/plain"}
    assert_problem(client.post("/posts", content=b"{}", headers=headers), 401)
    assert_problem(client.post("/posts", content=b"{}", headers=headers | ani.headers), 415)


@pytest.mark.parametrize("path", ["/posts", "/posts/1", "/users/1"])
@pytest.mark.usefixtures("post_id")
def test_reading_is_public_whatever_token_comes(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200
    assert client.get(path, headers={"Authorization": "Bearer nonsense"}).status_code == 200


NEW = "another-key-that-is-long-enough-0123456789"


def test_a_new_key_ends_no_session_while_the_previous_one_is_named(
    client: TestClient, database: str, ani: Person, ghost: Person
) -> None:
    old = _key(client)
    # The harm: everybody is logged out.
    with serving(database, TOKEN_KEY=NEW) as alone:
        assert_problem(alone.post("/posts", json=POST, headers=ani.headers), 401)
    with serving(database, TOKEN_KEY=NEW, TOKEN_KEY_PREVIOUS=old) as rotated:
        assert rotated.post("/posts", json=POST, headers=ani.headers).status_code == 201
        assert_problem(rotated.post("/posts", json=POST, headers=ghost.headers), 401)
        assert isinstance(rotated.app, FastAPI)
        fresh = {"Authorization": f"Bearer {make_token(ani.id, rotated.app.state.settings)}"}
        assert rotated.post("/posts", json=POST, headers=fresh).status_code == 201
        # New tokens are signed by the new key alone; and nothing else is believed.
        assert_problem(client.post("/posts", json=POST, headers=fresh), 401)
        for key, claims in ((old, EXPIRED), (NEW, EXPIRED), ("x" * 32, VALID)):
            headers = {"Authorization": f"Bearer {jwt.encode(claims, key, 'HS256')}"}
            assert_problem(rotated.post("/posts", json=POST, headers=headers), 401)
    # Where replicas restart one after another, the new key is believed before it signs.
    with serving(database, TOKEN_KEY_PREVIOUS=NEW) as prepared:
        assert prepared.post("/posts", json=POST, headers=fresh).status_code == 201
