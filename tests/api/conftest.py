import os
from collections.abc import Callable, Iterator
from contextlib import closing
from unittest import mock

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from psycopg2.extensions import connection as Connection

from services.api.auth import hashing, password
from services.api.auth.token import make_token
from tests.api.support import POST, QUICK, Person, serving
from tests.databases import connect, migrate, run, scratch_database


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--contract-examples", default="30", help="test_contract.py: requests for each operation")
    parser.addoption("--contract-seconds", help="test_contract.py: go on for that long")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "own_schema: holds only on the schema of the same release; make compat leaves it out"
    )


@pytest.fixture(scope="session")
def database() -> Iterator[str]:
    """A migrated database: one of the tests' own, or the one that TEST_DATABASE names (scripts/compat.sh)."""
    if given := os.environ.get("TEST_DATABASE"):
        yield given
        return
    with scratch_database() as name:
        migrate(name, "upgrade", "head")
        yield name


@pytest.fixture(scope="session")
def owner(database: str) -> Iterator[Connection]:
    with closing(connect(database, "owner")) as connection:
        yield connection


@pytest.fixture(autouse=True)
def _empty_tables(owner: Connection) -> None:
    run(owner, "TRUNCATE users, posts, votes, login_attempts RESTART IDENTITY CASCADE")


@pytest.fixture(scope="session", autouse=True)
def _quick_hashes() -> Iterator[None]:
    """Hash with argon2's smallest parameters, and hold no refusal back; the unit tier has the real ones."""
    quick = mock.patch.multiple(password, _hasher=QUICK, _nobody=QUICK.hash("nobody has this password"))
    with quick, mock.patch.object(hashing, "_HOLD_SECONDS", 0):
        yield


@pytest.fixture(scope="session")
def client(database: str) -> Iterator[TestClient]:
    with serving(database) as client:
        yield client


@pytest.fixture
def person(client: TestClient, owner: Connection) -> Callable[[str], Person]:
    """Make a user with a token. The password is no hash, because a real one takes long on purpose."""

    def make(email: str) -> Person:
        [(user_id,)] = run(owner, "INSERT INTO users (email, password) VALUES (%s, '!') RETURNING id", email)
        assert isinstance(client.app, FastAPI)
        token = make_token(user_id, client.app.state.settings)
        return Person(user_id, email, {"Authorization": f"Bearer {token}"})

    return make


@pytest.fixture
def ani(person: Callable[[str], Person]) -> Person:
    return person("ani@example.com")


@pytest.fixture
def budi(person: Callable[[str], Person]) -> Person:
    return person("budi@example.com")


@pytest.fixture
def ghost(person: Callable[[str], Person], owner: Connection) -> Person:
    """Somebody whose token is good, but who is gone."""
    ghost = person("ghost@example.com")
    run(owner, "DELETE FROM users WHERE id = %s", ghost.id)
    return ghost


@pytest.fixture
def post_id(client: TestClient, ani: Person) -> int:
    """A post of ani's."""
    created: int = client.post("/posts", json=POST, headers=ani.headers).json()["id"]
    return created
