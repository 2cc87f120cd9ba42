from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest
from fastapi.testclient import TestClient
from psycopg2.extensions import connection as Connection

from tests.api.support import MISSING, PASSWORD, Person, assert_problem, send
from tests.databases import run

ANI = {"email": "ani@example.com", "password": PASSWORD}


def test_registering_answers_with_the_user_and_without_the_password(client: TestClient, owner: Connection) -> None:
    response = client.post("/users", json=ANI)
    assert response.status_code == 201
    user = response.json()
    assert set(user) == {"id", "email", "created_at"}
    assert user["email"] == "ani@example.com"
    assert datetime.fromisoformat(user["created_at"]).tzinfo
    [(password,)] = run(owner, "SELECT password FROM users WHERE id = %s", user["id"])
    assert password.startswith("$argon2id$")
    assert client.get(f"/users/{user['id']}").json() == user


@pytest.mark.parametrize(
    "email",
    [
        "ani@example.com",
        "ANI@example.com",
        "Ani@Example.COM",
        "\uff41\uff4e\uff49@example.com",
        "ani@\uff45\uff58\uff41\uff4d\uff50\uff4c\uff45.com",
    ],
)
def test_a_taken_address_is_409_in_any_case(client: TestClient, ani: Person, email: str) -> None:
    assert_problem(client.post("/users", json=ANI | {"email": email}), 409, "already registered")
    assert client.post("/users", json=ANI | {"email": f"other-{ani.email}"}).status_code == 201


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": "ani@example.com"},
        {"password": PASSWORD},
        ANI | {"email": "ani"},
        ANI | {"email": "ani@"},
        ANI | {"email": "ani\0@example.com"},
        ANI | {"email": "ani\ud800@example.com"},
        ANI | {"email": "placeholder@tangga.invalid"},
        ANI | {"email": None},
        ANI | {"email": f"{'a' * 255}@example.com"},
        ANI | {"password": "x" * 7},
        ANI | {"password": "x" * 201},
        ANI | {"password": "correct\0horse"},
        ANI | {"password": "correct\ud800horse"},
        ANI | {"password": None},
        ANI | {"password": 12345678},
        ANI | {"id": 7},
        [ANI],
        "ani",
        None,
    ],
)
def test_a_body_of_another_form_is_422(client: TestClient, owner: Connection, body: object) -> None:
    assert_problem(send(client, "POST", "/users", body), 422)
    assert run(owner, "SELECT count(*) FROM users") == [(0,)]


def test_a_refusal_does_not_repeat_the_password(client: TestClient) -> None:
    response = client.post("/users", json=ANI | {"password": "short-9"})
    assert_problem(response, 422)
    assert "short-9" not in response.text


@pytest.mark.parametrize("user_id", [1, MISSING])
def test_an_unknown_user_is_404(client: TestClient, user_id: int) -> None:
    assert_problem(client.get(f"/users/{user_id}"), 404, "no such user")


@pytest.mark.parametrize("user_id", ["0", "-1", 2**31, 2**63, 2**70, "x", "1.5", "1%00", "%ED%A0%80"])
def test_an_id_that_no_user_can_have_is_422(client: TestClient, user_id: object) -> None:
    assert_problem(client.get(f"/users/{user_id}"), 422)


def _register_twenty_times(client: TestClient) -> list[int]:
    with ThreadPoolExecutor(20) as pool:
        return sorted(pool.map(lambda _: client.post("/users", json=ANI).status_code, range(20)))


def test_of_twenty_who_register_one_address_at_once_one_succeeds(client: TestClient, owner: Connection) -> None:
    run(owner, "ALTER TABLE users DROP CONSTRAINT uq_users_email")
    try:
        assert _register_twenty_times(client) == [201] * 20
    finally:
        run(owner, "TRUNCATE users CASCADE")
        run(owner, "ALTER TABLE users ADD CONSTRAINT uq_users_email UNIQUE (email)")
    assert _register_twenty_times(client) == [201] + [409] * 19
    assert run(owner, "SELECT count(*) FROM users") == [(1,)]
