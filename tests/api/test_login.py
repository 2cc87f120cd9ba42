from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from psycopg2.extensions import connection as Connection

from services.api.auth.password import hash_password
from tests.api.support import PASSWORD, POST, Person, assert_problem
from tests.databases import run

HASH = hash_password(PASSWORD)


@pytest.fixture
def registered(owner: Connection, ani: Person) -> Person:
    run(owner, "UPDATE users SET password = %s", HASH)
    return ani


@pytest.mark.parametrize("username", ["ani@example.com", "Ani@EXAMPLE.com"])
def test_logging_in_gives_a_token_that_works(client: TestClient, registered: Person, username: str) -> None:
    response = client.post("/login", data={"username": username, "password": PASSWORD})
    assert response.status_code == 200
    assert set(response.json()) == {"access_token", "token_type"}
    assert response.json()["token_type"] == "bearer"
    headers = {"Authorization": f"Bearer {response.json()['access_token']}"}
    assert client.post("/posts", json=POST, headers=headers).json()["owner_id"] == registered.id


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
        ("x" * 100_000, PASSWORD),
        ("ani@example.com", "x" * 100_000),
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
        {},
        {"username": "ani@example.com"},
        {"password": PASSWORD},
        {"username": "a", "password": "b", "grant_type": "x"},
    ],
)
def test_a_form_with_a_field_missing_or_wrong_is_422(client: TestClient, form: dict[str, str]) -> None:
    assert_problem(client.post("/login", data=form), 422)


def test_json_is_no_form(client: TestClient) -> None:
    assert_problem(client.post("/login", json={"username": "ani@example.com", "password": PASSWORD}), 422)
