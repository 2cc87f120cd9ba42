"""A create that is sent again with its Idempotency-Key is done once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any
from unittest import mock

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from psycopg2.extensions import connection as Connection

from services.api.db import connection
from services.api.db.statement import Row, Statement
from tests.api.support import POST, Person, ask, assert_problem, serving
from tests.databases import connect, run

KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"


def _create(client: TestClient, person: Person, key: str | None = KEY, **changes: object) -> Response:
    headers = person.headers | ({} if key is None else {"Idempotency-Key": key})
    response: Response = client.post("/posts", json=POST | changes, headers=headers)
    return response


def _count(owner: Connection, table: str = "posts") -> int:
    [(count,)] = run(owner, f"SELECT count(*) FROM {table}")
    return int(count)


@contextmanager
def _statements() -> Iterator[list[str]]:
    """Record what is sent to the database, BEGIN and COMMIT aside."""
    sent: list[str] = []
    rows = connection.Connection.rows

    async def record(self: connection.Connection, statement: Statement, **values: Any) -> list[Row]:
        sent.append(statement.text)
        return await rows(self, statement, **values)

    with mock.patch.object(connection.Connection, "rows", record):
        yield sent


def test_the_same_request_again_gets_the_first_answer(client: TestClient, ani: Person, owner: Connection) -> None:
    # Without a key, a second row.
    assert [_create(client, ani, None).status_code for _ in range(2)] == [201, 201]
    assert _count(owner) == 2
    first, again = _create(client, ani), _create(client, ani)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    own = {"idempotency-replayed", "x-request-id"}
    assert {k: v for k, v in again.headers.items() if k not in own} == {
        k: v for k, v in first.headers.items() if k not in own
    }
    assert _count(owner) == 3
    # White space and defaults that are spelt out do not make another request of it.
    assert _create(client, ani, published=True, no_hp=None).content == first.content
    # It is the answer that was given then, whatever has become of the post.
    assert client.delete(f"/posts/{first.json()['id']}", headers=ani.headers).status_code == 204
    assert _create(client, ani).content == first.content


def test_without_the_header_it_is_one_statement(client: TestClient, ani: Person) -> None:
    with _statements() as sent:
        assert _create(client, ani, None).status_code == 201
    assert len(sent) == 1
    with _statements() as sent:
        assert _create(client, ani).status_code == 201
    assert len(sent) == 3


def test_of_twenty_at_once_one_is_done(client: TestClient, ani: Person, owner: Connection) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: _create(client, ani), range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 19
    assert _count(owner) == 1


def test_the_same_key_with_another_body_is_422(client: TestClient, ani: Person, owner: Connection) -> None:
    assert _create(client, ani).status_code == 201
    refused = _create(client, ani, umur=31)
    assert_problem(refused, 422)
    assert refused.json()["errors"][0]["loc"] == ["header", "idempotency-key"]
    assert _count(owner) == 1


def test_keys_belong_to_a_user(client: TestClient, ani: Person, budi: Person, owner: Connection) -> None:
    answers = [_create(client, person).json()["owner_id"] for person in (ani, budi)]
    assert answers == [ani.id, budi.id]
    assert _count(owner) == 2


def test_who_is_gone_is_401_with_a_key_too(client: TestClient, ghost: Person, owner: Connection) -> None:
    assert_problem(_create(client, ghost), 401)
    assert _count(owner, "idempotency_keys") == 0


def test_keys_go_with_their_user(client: TestClient, ani: Person, owner: Connection) -> None:
    _create(client, ani)
    run(owner, "DELETE FROM users WHERE id = %s", ani.id)
    assert _count(owner, "idempotency_keys") == 0
    assert_problem(_create(client, ani), 401)


def test_a_key_that_is_in_use_is_409_and_free_again_when_its_request_fails(
    client: TestClient, ani: Person, database: str, owner: Connection
) -> None:
    with closing(connect(database, "app")) as first:
        run(first, "BEGIN")
        run(
            first,
            "INSERT INTO idempotency_keys VALUES (%s, %s, '', now() + interval '1 hour')",
            ani.id,
            KEY,
        )
        answer = _create(client, ani)
        assert (answer.status_code, answer.headers["retry-after"]) == (409, "1")
        # Any other key is free.
        assert _create(client, ani, "another").status_code == 201
        run(first, "ROLLBACK")
    assert _create(client, ani).status_code == 201
    assert _count(owner) == 2


def test_a_request_that_failed_may_be_sent_again(client: TestClient, ani: Person, owner: Connection) -> None:
    run(owner, "ALTER TABLE posts ADD CONSTRAINT planted CHECK (umur > 30)")
    try:
        assert_problem(_create(client, ani), 500)
    finally:
        run(owner, "ALTER TABLE posts DROP CONSTRAINT planted")
    assert (_count(owner), _count(owner, "idempotency_keys")) == (0, 0)
    answer = _create(client, ani)
    assert (answer.status_code, "idempotency-replayed" in answer.headers) == (201, False)


def test_an_answer_is_kept_for_a_day_and_then_goes(client: TestClient, ani: Person, owner: Connection) -> None:
    for number in range(30):
        _create(client, ani, f"old-{number}")
    expiry = (
        "SELECT DISTINCT expires_at - now() BETWEEN interval '23 h 59 min' AND interval '24 h' FROM idempotency_keys"
    )
    assert run(owner, expiry) == [(True,)]
    run(owner, "UPDATE idempotency_keys SET expires_at = now()")
    again = _create(client, ani, "old-0", umur=99)
    assert (again.status_code, again.json()["umur"]) == (201, 99)
    assert _count(owner) == 31
    # In small batches, in passing.
    assert _count(owner, "idempotency_keys") == 10
    _create(client, ani)
    assert _count(owner, "idempotency_keys") == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "tab\tbed", "\x7f", "é"])
def test_a_key_of_another_form_is_422(client: TestClient, ani: Person, owner: Connection, key: str) -> None:
    headers = {b"Authorization": ani.headers["Authorization"].encode(), b"Idempotency-Key": key.encode()}
    assert_problem(client.post("/posts", json=POST, headers=headers), 422)
    assert _count(owner) == 0


@pytest.mark.parametrize("key", ["x" * 255, "!", '"quoted"', "%00", "~" * 100])
def test_a_key_of_any_visible_characters_will_do(client: TestClient, ani: Person, key: str) -> None:
    assert _create(client, ani, key).status_code == 201
    assert _create(client, ani, key).headers["idempotency-replayed"] == "true"


def test_the_connection_is_as_before_afterwards(database: str, client: TestClient, ani: Person, ghost: Person) -> None:
    with serving(database, DB_POOL_SIZE="1") as narrow:
        outcomes = [_create(narrow, ani), _create(narrow, ani), _create(narrow, ani, umur=31), _create(narrow, ghost)]
        assert [answer.status_code for answer in outcomes] == [201, 201, 422, 401]
        # No BEGIN without COMMIT: what is written without a key is there for everybody, at once.
        written = _create(narrow, ani, None).json()
        assert client.get(f"/posts/{written['id']}").json() == written
        # And the shorter wait for a lock ended with its transaction.
        assert ask(narrow, "SELECT current_setting('lock_timeout') AS wait") == [{"wait": "10s"}]
