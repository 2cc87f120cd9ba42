"""Registrations are limited for an address, keep nobody from logging in, and end with their client."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from psycopg2.extensions import connection as Connection

from services.api.users import routes
from tests.api.server import gunicorn
from tests.api.support import HASH, PASSWORD, Person, another, serving
from tests.databases import eventually, run

LIMITS = {"REGISTRATIONS_PER_ADDRESS": "3"}


@pytest.fixture(scope="module")
def limited(database: str) -> Iterator[TestClient]:
    with serving(database, **LIMITS) as client:
        yield client


def _register(client: TestClient, name: object) -> Response:
    response: Response = client.post("/users", json={"email": f"{name}@example.com", "password": PASSWORD})
    return response


def _from(address: str, client: TestClient) -> TestClient:
    return another(client, client=(address, 50_000))


def test_past_the_limit_an_address_registers_nobody_until_the_window_ends(
    limited: TestClient, client: TestClient, owner: Connection
) -> None:
    assert [_register(client, f"unlimited{n}").status_code for n in range(10)] == [201] * 10
    run(owner, "TRUNCATE login_attempts")
    assert [_register(limited, n).status_code for n in range(3)] == [201] * 3
    with mock.patch.object(routes, "hash_password", side_effect=AssertionError):  # it costs no hash
        refused = _register(limited, 3)
    assert (refused.status_code, refused.headers["content-type"]) == (429, "application/problem+json")
    assert 0 < int(refused.headers["retry-after"]) <= 300
    # What is refused writes nothing, and makes the window no longer.
    before = run(owner, "SELECT xmin::text, ctid::text, failures, expires_at FROM login_attempts")
    assert [_register(limited, n).status_code for n in range(3, 6)] == [429] * 3
    assert run(owner, "SELECT xmin::text, ctid::text, failures, expires_at FROM login_attempts") == before
    assert _register(_from("192.0.2.2", limited), 3).status_code == 201
    run(owner, "UPDATE login_attempts SET expires_at = now()")
    assert _register(limited, 4).status_code == 201


def test_an_address_that_is_taken_costs_as_much(limited: TestClient) -> None:
    assert [_register(limited, "same").status_code for _ in range(5)] == [201, 409, 409, 429, 429]


def test_of_many_at_once_no_more_come_through(limited: TestClient, owner: Connection) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = sorted(pool.map(lambda n: _register(limited, n).status_code, range(20)))
    assert answers == [201] * 3 + [429] * 17
    assert run(owner, "SELECT count(*) FROM users") == [(3,)]


def test_of_ipv6_a_whole_64_is_one_address(limited: TestClient) -> None:
    answers = [_register(_from(f"2001:db8::{n}", limited), n).status_code for n in range(1, 5)]
    assert answers == [201] * 3 + [429]
    assert _register(_from("2001:db8:0:1::1", limited), 5).status_code == 201


def test_registrations_and_failed_log_ins_do_not_count_for_each_other(limited: TestClient, owner: Connection) -> None:
    wrong = {"username": "nobody@example.com", "password": "wrong horse"}
    assert [limited.post("/login", data=wrong).status_code for _ in range(4)] == [401] * 4
    assert [_register(limited, n).status_code for n in range(4)] == [201] * 3 + [429]
    assert limited.post("/login", data=wrong).status_code == 401
    # What has expired is swept by those who come.
    run(owner, "UPDATE login_attempts SET expires_at = now()")
    assert _register(limited, 5).status_code == 201
    assert run(owner, "SELECT count(*) FROM login_attempts") == [(1,)]


def _send(path: str, kind: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def test_who_leaves_is_not_registered_and_keeps_nobody_from_logging_in(
    database: str, tmp_path: Path, ani: Person, owner: Connection
) -> None:
    run(owner, "UPDATE users SET password = %s WHERE id = %s", HASH, ani.id)
    # gunicorn itself would end the requests in the end; not while this test runs.
    options = ["--asgi-disconnect-grace-period", "900"]
    settings = {"HASH_FOLDER": str(tmp_path), "HASH_QUEUE": "10"}
    with gunicorn(database, tmp_path / "log", 1, "tests.api.waiting:app", options, **settings) as server:
        clients = [server.connect() for _ in range(9)]
        for n, client in enumerate(clients):
            body = json.dumps({"email": f"gone{n}@example.com", "password": PASSWORD}).encode()
            client.sendall(_send("/users", "application/json", body))
        assert eventually(lambda: (tmp_path / "began").exists())
        # While all of them wait, the next one logs in.
        form = f"username={ani.email}&password={PASSWORD}".encode()
        assert server.send(_send("/login", "application/x-www-form-urlencoded", form))[0] == 200
        counted = "SELECT max(failures) FROM login_attempts"
        assert eventually(lambda: run(owner, counted) == [(9,)])
        for client in clients:
            client.close()
        gone = 'tangga_http_request_duration_seconds_count{method="POST",route="/users",status="499"}'
        assert eventually(lambda: server.metrics().get(gone) == 9)
        (tmp_path / "go").touch()
        # Whoever stays is served, and so are those who come later.
        assert (
            server.send(_send("/users", "application/json", b'{"email":"b@example.com","password":"12345678"}'))[0]
            == 201
        )
    assert (tmp_path / "began").read_text() == "xx"
    assert run(owner, "SELECT email FROM users ORDER BY id") == [(ani.email,), ("b@example.com",)]
