"""Failed log-ins are limited; whoever has the right password gets in, wherever somebody else fails."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from psycopg2.extensions import connection as Connection

from services.api.auth import routes
from tests.api.support import HASH, PASSWORD, Person, another, serving
from tests.databases import run

LIMITS = {"LOGIN_ATTEMPTS": "3", "LOGIN_ATTEMPTS_PER_ACCOUNT": "8", "LOGIN_ATTEMPTS_PER_ADDRESS": "12"}
UNLIMITED = dict.fromkeys(LIMITS, "1000000")


@pytest.fixture(scope="module")
def limited(database: str) -> Iterator[TestClient]:
    with serving(database, **LIMITS) as client:
        yield client


@pytest.fixture(autouse=True)
def _registered(owner: Connection, person: Callable[[str], Person]) -> None:
    for name in ("ani", "budi"):
        person(f"{name}@example.com")
    run(owner, "UPDATE users SET password = %s", HASH)


def _fill_with_the_past(owner: Connection, rows: int) -> None:
    statement = "INSERT INTO login_attempts SELECT sha256(n::text::bytea), 1, now() FROM generate_series(1, %s) AS n"
    run(owner, statement, rows)


def _from(address: str, client: TestClient) -> TestClient:
    """Return a client of the same app that has this address."""
    return another(client, client=(address, 50_000))


def _log_in(client: TestClient, password: str, username: str = "ani@example.com") -> Response:
    response: Response = client.post("/login", data={"username": username, "password": password})
    return response


def _guess(client: TestClient, times: int, username: str = "ani@example.com") -> list[int]:
    return [_log_in(client, "wrong horse", username).status_code for _ in range(times)]


def _forget(owner: Connection) -> None:
    run(owner, "TRUNCATE login_attempts")


def test_past_the_limit_even_the_right_password_is_429(limited: TestClient, database: str, owner: Connection) -> None:
    # Without the limit, somebody may guess for ever.
    with serving(database, **UNLIMITED) as client:
        assert _guess(client, 30) == [401] * 30
        assert _log_in(client, PASSWORD).status_code == 200
    _forget(owner)
    assert _guess(limited, 5) == [401] * 3 + [429] * 2
    refused = _log_in(limited, PASSWORD)
    assert (refused.status_code, refused.headers["content-type"]) == (429, "application/problem+json")
    assert 0 < int(refused.headers["retry-after"]) <= 900
    # The window has its end from the start, whoever goes on knocking.
    [(before,)] = run(owner, "SELECT max(expires_at) FROM login_attempts WHERE failures = 3")
    _guess(limited, 3)
    assert run(owner, "SELECT max(expires_at), max(failures) FROM login_attempts") == [(before, 3)]
    # Another account is another matter.
    assert _log_in(limited, PASSWORD, "budi@example.com").status_code == 200
    run(owner, "UPDATE login_attempts SET expires_at = now()")
    assert _log_in(limited, PASSWORD).status_code == 200


def test_an_account_that_is_not_there_answers_the_same(limited: TestClient, owner: Connection) -> None:
    there = [_log_in(limited, "wrong horse") for _ in range(5)]
    _forget(owner)
    missing = [_log_in(limited, "wrong horse", "nobody@example.com") for _ in range(5)]
    assert [answer.status_code for answer in there] == [401] * 3 + [429] * 2
    assert [(answer.status_code, answer.text) for answer in there] == [(a.status_code, a.text) for a in missing]


def test_of_many_guesses_at_once_no_more_are_answered(limited: TestClient, owner: Connection) -> None:
    passwords = ["wrong horse"] * 40
    with ThreadPoolExecutor(40) as pool:
        answers = sorted(pool.map(lambda password: _log_in(limited, password).status_code, passwords))
    assert answers == [401] * 3 + [429] * 37
    # What the first limit refused has filled no other window.
    assert run(owner, "SELECT failures FROM login_attempts WHERE failures < 4 ORDER BY 1") == [(3,), (3,)]


def test_successes_cost_nobody_anything(limited: TestClient) -> None:
    assert [_log_in(limited, PASSWORD).status_code for _ in range(20)] == [200] * 20
    with ThreadPoolExecutor(20) as pool:
        assert {*pool.map(lambda _: _log_in(limited, PASSWORD).status_code, range(20))} == {200}
    assert _guess(limited, 3) == [401] * 3


def test_two_workers_count_together(limited: TestClient, database: str) -> None:
    with serving(database, **LIMITS) as other:
        assert _guess(limited, 2) + _guess(other, 2) + _guess(limited, 1) == [401] * 3 + [429] * 2


def test_many_addresses_fill_an_accounts_window_but_not_for_an_address_that_knows_it(limited: TestClient) -> None:
    home = _from("192.0.2.1", limited)
    assert _log_in(home, PASSWORD).status_code == 200
    guesses = [_guess(_from(f"198.51.100.{n}", limited), 3) for n in range(3)]
    assert guesses == [[401] * 3, [401] * 3, [401] * 2 + [429]]
    assert _log_in(_from("203.0.113.9", limited), PASSWORD).status_code == 429
    assert _log_in(home, PASSWORD).status_code == 200
    # There, too, guessing has its limit.
    assert _guess(home, 4) == [401] * 3 + [429]


def test_one_address_may_not_try_many_accounts(limited: TestClient) -> None:
    attacker = _from("198.51.100.1", limited)
    answers = [_guess(attacker, 1, f"user{n}@example.com")[0] for n in range(14)]
    assert answers == [401] * 12 + [429] * 2
    assert _log_in(_from("198.51.100.2", limited), PASSWORD).status_code == 200


def test_an_address_that_tries_many_accounts_shuts_nobody_out_who_has_logged_in_there(limited: TestClient) -> None:
    office = _from("198.51.100.1", limited)
    assert _log_in(office, PASSWORD).status_code == 200
    assert [_guess(office, 1, f"user{n}@example.com")[0] for n in range(14)] == [401] * 12 + [429] * 2
    assert _log_in(office, PASSWORD, "budi@example.com").status_code == 429
    assert _log_in(office, PASSWORD).status_code == 200
    # There, too, guessing has its limit.
    assert _guess(office, 4) == [401] * 3 + [429]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("testclient", "testclient", True),
    ],
)
def test_of_ipv6_a_whole_64_is_one_address(limited: TestClient, one: str, other: str, same: bool) -> None:
    assert _guess(_from(one, limited), 3) == [401] * 3
    assert _guess(_from(other, limited), 1) == [429 if same else 401]


def test_a_refused_attempt_is_not_hashed(limited: TestClient) -> None:
    with mock.patch.object(routes, "password_matches", side_effect=AssertionError):
        assert _log_in(limited, PASSWORD).status_code == 500
    assert _guess(limited, 3) == [401] * 3
    with mock.patch.object(routes, "password_matches", side_effect=AssertionError):
        assert _log_in(limited, PASSWORD).status_code == 429


def test_the_table_names_nobody_and_does_not_grow(limited: TestClient, owner: Connection) -> None:
    _fill_with_the_past(owner, 50)
    for n in range(12):
        _guess(_from(f"198.51.100.{n}", limited), 1, f"user{n}@example.com")
    rows = run(owner, "SELECT key, length(key), expires_at > now() FROM login_attempts")
    assert len(rows) == 36
    assert {(length, alive) for _, length, alive in rows} == {(16, True)}


def test_many_who_fail_at_once_do_not_hinder_each_other(limited: TestClient, owner: Connection) -> None:
    clients = [_from(f"198.51.100.{n}", limited) for n in range(6)]
    _fill_with_the_past(owner, 200)

    def attempt(n: int) -> int:
        return _log_in(clients[n % 6], "wrong horse", f"user{n % 5}@example.com").status_code

    with ThreadPoolExecutor(20) as pool:
        assert {*pool.map(attempt, range(120))} <= {401, 429}


def test_the_keys_cannot_be_computed_without_the_token_key(
    limited: TestClient, database: str, owner: Connection
) -> None:
    _guess(limited, 1)
    before = {bytes(key) for [key] in run(owner, "SELECT key FROM login_attempts")}
    _forget(owner)
    with serving(database, **LIMITS, TOKEN_KEY=os.environ["TOKEN_KEY"][::-1]) as other:
        _guess(other, 1)
    after = {bytes(key) for [key] in run(owner, "SELECT key FROM login_attempts")}
    assert (len(before), len(after), before & after) == (3, 3, set())
