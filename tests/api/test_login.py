import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from itertools import islice
from unittest import mock

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from psycopg2.extensions import connection as Connection

from services.api.auth import routes
from services.api.auth.hashing import Hashing
from services.api.auth.password import password_matches
from tests.api.support import HASH, PASSWORD, POST, Person, assert_problem, serving
from tests.databases import PATIENCE, run


@pytest.fixture
def registered(owner: Connection, ani: Person) -> Person:
    run(owner, "UPDATE users SET password = %s", HASH)
    return ani


@pytest.mark.parametrize(
    "username",
    [
        "ani@example.com",
        "Ani@EXAMPLE.com",
        "\uff41\uff4e\uff49@example.com",
        "ani@\uff45\uff58\uff41\uff4d\uff50\uff4c\uff45.com",
        "ani\uff20example.com",
    ],
)
def test_logging_in_gives_a_token_that_works(client: TestClient, registered: Person, username: str) -> None:
    response = client.post("/login", data={"username": username, "password": PASSWORD})
    assert response.status_code == 200
    assert set(response.json()) == {"access_token", "token_type"}
    assert response.json()["token_type"] == "bearer"
    headers = {"Authorization": f"Bearer {response.json()['access_token']}"}
    assert client.post("/posts", json=POST, headers=headers).json()["owner_id"] == registered.id


def test_who_registered_before_addresses_had_a_normal_form_logs_in_as_then(
    client: TestClient, person: Callable[[str], Person], owner: Connection
) -> None:
    before, ani = person("\uff41\uff4e\uff49@example.com"), person("ani@example.com")
    run(owner, "UPDATE users SET password = %s", HASH)
    for username, expected in ((before.email, before), (ani.email, ani), ("\uff21\uff2e\uff29@EXAMPLE.com", before)):
        token = client.post("/login", data={"username": username, "password": PASSWORD}).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        assert client.post("/posts", json=POST, headers=headers).json()["owner_id"] == expected.id


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("ani@example.com", "wrong horse"),
        ("ani@example.com", f"{PASSWORD} "),
        ("ani@example.com", f"{PASSWORD}\0"),
        ("ani@example.com", "\ufffd"),
        ("budi@example.com", PASSWORD),
        ("ani\0@example.com", PASSWORD),
        ("\0ani@example.com", PASSWORD),
        ("ani@example.com\0", PASSWORD),
        ("%", PASSWORD),
        ("ani@example.com' OR '1'='1", PASSWORD),
        ("x" * 60_000, PASSWORD),
        ("ani@example.com", "x" * 60_000),
    ],
)
def test_a_wrong_password_and_an_unknown_address_get_the_same_401(
    client: TestClient, registered: Person, username: str, password: str
) -> None:
    response = client.post("/login", data={"username": username, "password": password})
    assert_problem(response, 401, "Unknown e-mail or wrong password.")
    assert registered.email not in response.text


@pytest.mark.parametrize(
    "form", ["username=ani%ED%A0%80&password=x", "username=a&password=%ED%A0%80", "username=%FF&password=%FF"]
)
@pytest.mark.usefixtures("registered")
def test_text_that_is_no_unicode_is_401(client: TestClient, form: str) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert_problem(client.post("/login", content=form, headers=headers), 401)


@pytest.mark.parametrize("value", [b"\xed\xa0\x80", b"\xff", b"\0"])
@pytest.mark.parametrize("field", ["username", "password"])
@pytest.mark.usefixtures("registered")
def test_bytes_that_are_no_text_in_a_multipart_form_are_401(client: TestClient, field: str, value: bytes) -> None:
    form = {"username": b"ani@example.com", "password": PASSWORD.encode(), field: value}
    part = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    body = b"".join(part % (name.encode(), text) for name, text in form.items()) + b"--x--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=x; charset=utf-8"}
    assert_problem(client.post("/login", content=body, headers=headers), 401)


def test_the_placeholder_owner_cannot_log_in(client: TestClient, person: Callable[[str], Person]) -> None:
    placeholder = person("placeholder@tangga.invalid")
    for password in ("!", "", PASSWORD, "nobody has this password"):
        response = client.post("/login", data={"username": placeholder.email, "password": password})
        assert response.status_code in (401, 422)


@pytest.mark.parametrize(
    "form",
    [
        {"other": "field"},
        {"username": "ani@example.com"},
        {"password": PASSWORD},
        {"username": "a", "password": "b", "grant_type": "x"},
    ],
)
def test_a_form_with_a_field_missing_or_wrong_is_422(client: TestClient, form: dict[str, str]) -> None:
    assert_problem(client.post("/login", data=form), 422)


def test_json_is_no_form(client: TestClient) -> None:
    assert_problem(client.post("/login", json={"username": "ani@example.com", "password": PASSWORD}), 415)


@contextmanager
def _slow_hashes() -> Iterator[tuple[threading.Semaphore, threading.Event]]:
    """Hold every password that is being looked at until told to go on; the semaphore counts those that began."""
    began, go_on = threading.Semaphore(0), threading.Event()

    def slow(password: str, password_hash: str | None) -> bool:
        began.release()
        assert go_on.wait(600)
        return password_matches(password, password_hash)

    with mock.patch.object(routes, "password_matches", slow):
        try:
            yield began, go_on
        finally:
            go_on.set()


def _log_in(client: TestClient, password: str = PASSWORD) -> Response:
    response: Response = client.post("/login", data={"username": "ani@example.com", "password": password})
    return response


@pytest.mark.usefixtures("registered")
def test_who_logs_in_keeps_neither_connection_nor_thread_from_others(database: str, post_id: int) -> None:
    with (
        serving(database, DB_POOL_SIZE="1") as narrow,
        ThreadPoolExecutor(32) as pool,
        _slow_hashes() as (began, go_on),  # the first to end: the others wait for it
    ):
        storm = [pool.submit(_log_in, narrow) for _ in range(32)]
        assert began.acquire(timeout=PATIENCE)
        # One is at it, the others wait; and reading and writing go on.
        assert narrow.get(f"/posts/{post_id}").status_code == 200
        assert narrow.get("/posts").status_code == 200
        assert not began.acquire(timeout=0.2)
        go_on.set()
        assert {answer.result().status_code for answer in storm} == {200}


@pytest.mark.usefixtures("registered")
def test_past_the_queue_the_answer_is_503_at_once(database: str) -> None:
    with (
        serving(database, HASH_THREADS="2", HASH_QUEUE="3") as narrow,
        ThreadPoolExecutor(12) as pool,
        _slow_hashes() as (began, go_on),  # the first to end: the others wait for it
    ):
        storm = [pool.submit(_log_in, narrow) for _ in range(12)]
        refused = [answer.result() for answer in islice(as_completed(storm, timeout=PATIENCE), 7)]
        for answer in refused:
            assert_problem(answer, 503, "Too many log-ins are under way")
        assert began.acquire()
        assert began.acquire()
        assert not began.acquire(blocking=False)
        # Registering hashes, too, but elsewhere.
        body = {"email": "cici@example.com", "password": PASSWORD}
        assert narrow.post("/users", json=body).status_code == 201
        go_on.set()
        assert sorted(answer.result().status_code for answer in storm) == [200] * 5 + [503] * 7


def test_hashing_gives_way_to_everything_else_and_registering_to_logging_in() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    async def inside() -> tuple[int, int]:
        hashing = Hashing(1, 0, 0)
        try:
            return await hashing.log_ins.run(b"", niceness), await hashing.registrations.run(b"", niceness)
        finally:
            hashing.close()

    before = niceness()
    assert asyncio.run(inside()) == (before + 10, before + 15)
    assert niceness() == before
