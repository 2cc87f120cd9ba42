"""The connections that routes share: prepared statements, transactions, cancelled requests, large statements."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, TypeVar
from unittest import mock

import psycopg2
import psycopg2.errors
import pytest
from fastapi.testclient import TestClient
from psycopg2.extensions import connection as RawConnection

from services.api.db.connection import Connection
from services.api.db.statement import Statement
from tests.api.support import POST, Person, assert_problem, database_of, serving
from tests.databases import PATIENCE, connect, eventually, run

T = TypeVar("T")
ONE = Statement("SELECT 1 AS one")
SLEEP = Statement("SELECT pg_sleep(:seconds)")
INSERT = Statement("INSERT INTO users (email, password) VALUES (:email, '!')")


def _in_loop(client: TestClient, work: Callable[[], Awaitable[T]]) -> T:
    assert client.portal
    return client.portal.call(work)


@pytest.fixture
def narrow(database: str) -> Iterator[TestClient]:
    with serving(database, DB_POOL_SIZE="1") as client:
        yield client


@contextmanager
def _other_type(owner: RawConnection) -> Iterator[None]:
    run(owner, "ALTER TABLE posts ALTER no_hp TYPE text")
    try:
        yield
    finally:
        run(owner, "ALTER TABLE posts ALTER no_hp TYPE varchar")


def test_a_step_that_changes_a_columns_type_harms_no_request(
    narrow: TestClient, ani: Person, owner: RawConnection, post_id: int
) -> None:
    assert narrow.get(f"/posts/{post_id}").status_code == 200
    with _other_type(owner):
        assert narrow.get(f"/posts/{post_id}").status_code == 200
        assert narrow.post("/posts", json=POST, headers=ani.headers).status_code == 201
    # In mid-transaction there is no way back; the client may ask again, and then it is done.
    retried = ani.headers | {"Idempotency-Key": "k"}
    assert narrow.post("/posts", json=POST, headers=ani.headers).status_code == 201
    with _other_type(owner):
        assert_problem(narrow.post("/posts", json=POST, headers=retried), 503)
        assert narrow.post("/posts", json=POST, headers=retried).status_code == 201


def test_postgresql_refuses_a_plan_whose_result_has_another_type(owner: RawConnection, post_id: int) -> None:
    del post_id
    with closing(connect(owner.info.dbname, "app")) as plain:
        run(plain, "PREPARE plain AS SELECT no_hp FROM posts")
        run(plain, "EXECUTE plain")
        with _other_type(owner), pytest.raises(psycopg2.errors.FeatureNotSupported):
            run(plain, "EXECUTE plain")


def test_behind_a_pooler_nothing_stays_in_the_session(database: str, ani: Person, post_id: int) -> None:
    sent: list[str] = []
    send = Connection._send

    async def noted(connection: Connection, text: str, *values: Any, **options: Any) -> object:
        sent.append(text)
        return await send(connection, text, *values, **options)

    with mock.patch.object(Connection, "_send", noted), serving(database, DB_POOLER="true") as client:
        assert client.get(f"/posts/{post_id}").json()["nama"] == "Ani"
        assert client.post("/posts", json=POST, headers=ani.headers | {"Idempotency-Key": "p"}).status_code == 201
    assert {text.split()[0] for text in sent} >= {"SELECT", "BEGIN", "INSERT", "COMMIT"}
    assert not [text for text in sent if text.startswith(("PREPARE", "EXECUTE", "SET"))]


def test_an_exception_undoes_a_transaction_and_its_connection_is_used_again(
    narrow: TestClient, owner: RawConnection
) -> None:
    db = database_of(narrow)

    async def fails() -> None:
        async with db.transaction() as transaction:
            await transaction.rows(INSERT, email="a@example.com")
            raise KeyError

    async def succeeds() -> None:
        async with db.transaction() as transaction:
            await transaction.rows(INSERT, email="b@example.com")

    for work, error in ((fails, KeyError), (succeeds, None), (succeeds, psycopg2.errors.UniqueViolation)):
        if error:
            with pytest.raises(error):
                _in_loop(narrow, work)
        else:
            _in_loop(narrow, work)
    assert run(owner, "SELECT email FROM users") == [("b@example.com",)]
    assert (db.open, db.in_use) == (1, 0)


def test_a_cancelled_request_takes_its_connection_with_it_and_nobody_reads_its_answer(
    narrow: TestClient, owner: RawConnection
) -> None:
    db = database_of(narrow)

    async def cancelled() -> None:
        task = asyncio.create_task(db.rows(SLEEP, seconds=600))
        asleep = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
        assert await asyncio.to_thread(eventually, lambda: run(owner, asleep) != [])
        assert db.in_use == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (db.open, db.in_use) == (0, 0)
        assert await db.rows(ONE) == [{"one": 1}]

    _in_loop(narrow, cancelled)


def test_whoever_waits_for_a_connection_gets_it_in_turn(narrow: TestClient) -> None:
    db = database_of(narrow)

    async def many() -> list[int]:
        done: list[int] = []

        async def one(number: int) -> None:
            await db.rows(SLEEP, seconds=0.01)
            done.append(number)

        await asyncio.gather(*(one(number) for number in range(20)))
        return done

    assert _in_loop(narrow, many) == list(range(20))
    assert (db.open, db.in_use) == (1, 0)


def test_whoever_waits_too_long_is_told_and_whoever_goes_away_takes_nobodys_turn(database: str) -> None:
    with serving(database, DB_POOL_SIZE="1", DB_STATEMENT_TIMEOUT="0.5") as client:
        db = database_of(client)

        async def waits() -> None:
            async with db.transaction():
                began = asyncio.get_running_loop().time()
                gone, late = asyncio.create_task(db.rows(ONE)), asyncio.create_task(db.rows(ONE))
                await asyncio.sleep(0)
                gone.cancel()
                # The only connection is held here, so the wait ends by itself, and not before its time.
                assert await asyncio.wait({late}, timeout=PATIENCE) == ({late}, set())
                with pytest.raises(TimeoutError):
                    await late
                assert asyncio.get_running_loop().time() - began >= 0.5
                last = asyncio.create_task(db.rows(ONE))
                # It gets its turn in the very moment in which it is given up: the turn goes on to the next.
                given_up, following = asyncio.create_task(db.rows(ONE)), asyncio.create_task(db.rows(ONE))
                await asyncio.sleep(0)
            given_up.cancel()
            assert await last == await following == [{"one": 1}]
            assert await db.rows(ONE) == [{"one": 1}]

        _in_loop(client, waits)
        assert (db.open, db.in_use) == (1, 0)


def test_a_statement_that_does_not_fit_into_the_socket_at_once_arrives_whole(narrow: TestClient) -> None:
    db = database_of(narrow)
    statement = Statement("SELECT length(:text) AS length, md5(:text) = md5(repeat('x', 20000000)) AS same")

    async def send() -> object:
        return await db.rows(statement, text="x" * 20_000_000)

    assert _in_loop(narrow, send) == [{"length": 20_000_000, "same": True}]
