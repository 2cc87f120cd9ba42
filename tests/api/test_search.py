"""Searches and pages far out: what they find, by which plan, and that they are in nobody's way."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TypeVar
from unittest import mock

import pytest
from fastapi.testclient import TestClient
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from services.api.db import database as database_module
from services.api.db.statement import SCAN_KEY, Row, Statement
from services.api.posts import queries
from services.api.problem import Problem
from tests.api.support import HASH, PASSWORD, POST, Person, ask, assert_problem, database_of, serving
from tests.databases import connect, eventually, run

T = TypeVar("T")
NAMES = ["100%", "a_b", "a\\b", "axb", "Ärger im Büro", "ANI", "Ani Wijaya", "ΟΔΟΣ", "straße", "İstanbul", "日本語"]
SEARCHES = [
    "a", "ni", "ani", "ANI", "aNi W", "i W", "ijay", "%", "0%", "100%", "_", "a_b", "\\", "a\\b", "ärg", "ÄRGER IM",
    "bÜr", "οδος", "ΔΟΣ", "SS", "straß", "STRASSE", "istan", "İstan", "日本語", "本語", "'", "ani%", "a_i", "   ",
]  # fmt: skip
# What else than a search may read the whole table.
SLOW = ["/posts?search=ani", "/posts?search=a&limit=3", "/posts?skip=1001", "/posts?search=ani&skip=1"]
QUICK = ["/posts", "/posts?limit=100", "/posts?skip=1000", "/posts/1", "/posts?search="]


def _in_loop(client: TestClient, work: Callable[[], Awaitable[T]]) -> T:
    assert client.portal
    return client.portal.call(work)


@contextmanager
def _somebody_searches(database: str) -> Iterator[None]:
    """Another worker, or another replica, has its turn, and it takes long."""
    with closing(connect(database, "app")) as other:
        run(other, "SELECT pg_advisory_lock(%s)", SCAN_KEY)
        yield


@contextmanager
def _planner(database: str, **settings: str) -> Iterator[None]:
    """Change what the app's new connections let the planner do."""
    names = {"role": sql.Identifier(os.environ["DB_USERNAME"]), "database": sql.Identifier(database)}
    alter = sql.SQL("ALTER ROLE {role} IN DATABASE {database} ").format(**names)
    with closing(connect(database, "superuser")) as connection:
        try:
            for name, value in settings.items():
                run(connection, alter + sql.SQL("SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
            yield
        finally:
            run(connection, alter + sql.SQL("RESET ALL"))


def _posts(owner: Connection, person: Person, *names: str) -> None:
    statement = "INSERT INTO posts (nama, umur, alamat, owner_id) SELECT unnest(%s), 1, '', %s"
    run(owner, statement, [*names], person.id)


def _times_used(owner: Connection) -> int:
    [(times,)] = run(owner, "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'ix_posts_nama_trgm'")
    return int(times)


def test_each_search_uses_the_index(client: TestClient, owner: Connection, ani: Person) -> None:
    _posts(owner, ani, *(f"nama {number:06}" for number in range(5000)))
    # What was written last stands in a list, which costs more to look through than so few posts.
    run(owner, "SELECT gin_clean_pending_list('ix_posts_nama_trgm')")
    run(owner, "ANALYZE posts")
    before = _times_used(owner)
    for number in range(4000, 4008):
        assert [post["nama"] for post in client.get(f"/posts?search=MA 00{number}").json()] == [f"nama 00{number}"]
    # For one that is prepared, PostgreSQL soon has a plan for any pattern; on a large table, without the index.
    prepared = ask(client, "SELECT statement FROM pg_prepared_statements")
    assert not [row for row in prepared if "LIKE" in row["statement"]]
    ask(client, "SELECT pg_stat_force_next_flush()")
    assert eventually(lambda: _times_used(owner) == before + 8)


def test_the_index_finds_what_reading_every_row_finds(database: str, owner: Connection, ani: Person) -> None:
    _posts(owner, ani, *NAMES)
    found = []
    for settings in ({"enable_bitmapscan": "off"}, {"enable_seqscan": "off", "enable_indexscan": "off"}):
        with _planner(database, **settings), serving(database) as client:
            answers = [client.get("/posts", params={"search": text, "limit": 100}) for text in SEARCHES]
            found.append({text: [p["nama"] for p in a.json()] for text, a in zip(SEARCHES, answers, strict=True)})
    assert found[0] == found[1]
    assert (found[0]["ani"], found[0]["a_i"], found[0]["日本語"]) == (["Ani Wijaya", "ANI"], [], ["日本語"])


@pytest.mark.parametrize("search", ["ani", "ÄRGER", "a\\%\\_b", "ni Wij"])
def test_with_three_characters_the_index_can_be_asked(database: str, search: str) -> None:
    statement = queries._page(usual=True, after=False, skip=False, search=True, scans=True)
    *before, select = statement.text.split("; ")
    with closing(connect(database, "app")) as connection:
        run(connection, "SET enable_seqscan = off; SET enable_indexscan = off")
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {select}", statement.values({"pattern": f"%{search}%"}))
            plan = "\n".join(line for [line] in cursor.fetchall())
    assert "Bitmap Index Scan on ix_posts_nama_trgm" in plan, plan
    assert len(before) == 4


def test_while_searches_take_long_everything_else_is_answered(
    database: str, owner: Connection, ani: Person, post_id: int
) -> None:
    run(owner, "UPDATE users SET password = %s WHERE id = %s", HASH, ani.id)
    with serving(database, DB_POOL_SIZE="2", DB_SCAN_TIMEOUT="600") as client, ThreadPoolExecutor(12) as many:
        with _somebody_searches(database):
            slow = [many.submit(client.get, path) for path in SLOW * 3]
            assert eventually(lambda: database_of(client).in_use == 1)
            for path in QUICK * 2:
                assert client.get(path).status_code == 200, path
            assert client.put(f"/posts/{post_id}", json=POST, headers=ani.headers).status_code == 200
            assert client.post("/posts", json=POST, headers=ani.headers).status_code == 201
            assert client.post("/login", data={"username": ani.email, "password": PASSWORD}).status_code == 200
            assert (database_of(client).in_use, [each for each in slow if each.done()]) == (1, [])
        assert {each.result().status_code for each in slow} == {200}


def test_whoever_waits_too_long_for_a_search_is_told_to_come_again(database: str) -> None:
    with serving(database, DB_SCAN_TIMEOUT="1") as client, ThreadPoolExecutor(3) as many:
        with _somebody_searches(database):
            # One waits for the other worker, two for this one.
            for answer in many.map(client.get, SLOW[:3]):
                assert_problem(answer, 503, "Too many searches")
        assert client.get(SLOW[0]).status_code == 200
        with mock.patch.object(database_module, "_SCANS_WAITING", 0):
            assert_problem(client.get(SLOW[0]), 503, "Too many searches")


def test_a_search_that_takes_too_long_ends_and_leaves_no_bounds_behind(database: str) -> None:
    sleep = Statement("SELECT pg_sleep(300)", scans="Look for less.")
    with serving(database, DB_POOL_SIZE="1", DB_SCAN_TIMEOUT="1") as client:
        db = database_of(client)

        async def too_long() -> list[Row]:
            return await db.rows(sleep)

        with pytest.raises(Problem) as problem:
            _in_loop(client, too_long)
        assert (problem.value.status, problem.value.detail) == (504, "This search takes too long. Look for less.")
        assert client.get(SLOW[0]).status_code == 200
        assert (db.open, db.in_use) == (1, 0)
        left = ("statement_timeout", "lock_timeout", "max_parallel_workers_per_gather")
        shown = ", ".join(f"current_setting('{name}') AS {name}" for name in left)
        assert ask(client, f"SELECT {shown}") == [dict(zip(left, ("10s", "10s", "2"), strict=True))]


def test_behind_a_pooler_a_search_has_the_same_bounds(database: str) -> None:
    with serving(database, DB_POOLER="true", DB_SCAN_TIMEOUT="1") as client:
        assert client.get(SLOW[0]).status_code == 200
        with _somebody_searches(database):
            assert_problem(client.get(SLOW[0]), 503, "Too many searches")
            assert client.get("/posts").status_code == 200


def test_a_search_that_is_given_up_leaves_its_turn_to_the_next(database: str) -> None:
    with serving(database, DB_SCAN_TIMEOUT="600") as client:
        db = database_of(client)

        async def given_up() -> list[Row]:
            tasks = [asyncio.create_task(db.rows(Statement("SELECT pg_sleep(1)", scans="-"))) for _ in range(3)]
            await asyncio.sleep(0.2)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            return await db.rows(Statement("SELECT 1 AS one"))

        assert _in_loop(client, given_up) == [{"one": 1}]
        assert eventually(lambda: not db._scan.locked())
        assert db.in_use == 0
