"""The API's connections to PostgreSQL: what goes over the wire, who holds them, and what happens when they die."""

import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from unittest import mock

import pytest
from fastapi.testclient import TestClient
from psycopg2.extensions import connection as Connection
from sqlalchemy import create_engine, text

from services.api.db.connection import Connection as OwnConnection
from services.api.db.connection import application_name
from services.api.settings import Settings
from tests.api.support import POST, Person, assert_problem, database_of, serving, waiting_for_locks
from tests.databases import connect, eventually, run
from tests.support.pages import differs


class Wire:
    """A proxy before PostgreSQL that counts round trips: the server ends each with ReadyForQuery (a "Z" message)."""

    def __init__(self) -> None:
        self.statements: list[bytes] = []
        self.round_trips = 0
        self._server = (os.environ["DB_HOSTNAME"], int(os.environ["DB_PORT"]))

    def serve(self, listener: socket.socket) -> None:
        with suppress(OSError):  # the listener's end
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self._server)
                threading.Thread(target=self._requests, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answers, args=(server, client), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        # The first message has no type: its length, then the protocol's version.
        for kind, message in _messages(client, server, first_without_type=True):
            if kind == b"Q":
                self.statements.append(message)

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        for kind, _ in _messages(server, client, first_without_type=False):
            self.round_trips += kind == b"Z"


def _messages(source: socket.socket, target: socket.socket, first_without_type: bool) -> Iterator[tuple[bytes, bytes]]:
    """Pass everything on; yield the type and content of each message (PostgreSQL's protocol 3)."""
    waiting = b""
    untyped = first_without_type
    with suppress(OSError):
        while received := source.recv(65536):
            waiting += received
            while len(waiting) >= 5:
                start = 0 if untyped else 1
                size = start + int.from_bytes(waiting[start : start + 4], "big")
                if len(waiting) < size:
                    break
                yield waiting[:start], waiting[start + 4 : size]
                waiting, untyped = waiting[size:], False
            target.sendall(received)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def _wire() -> Iterator[tuple[Wire, dict[str, str]]]:
    """Yield a proxy and the environment that leads through it. TLS would hide the messages."""
    wire = Wire()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=wire.serve, args=(listener,), daemon=True).start()
        port = str(listener.getsockname()[1])
        yield wire, {"DB_HOSTNAME": "127.0.0.1", "DB_PORT": port, "PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}


@pytest.fixture
def superuser(database: str) -> Iterator[Connection]:
    with closing(connect(database, "superuser")) as connection:
        yield connection


def _end_connections(superuser: Connection) -> int:
    """End the app's connections, as a restart of the database does; return how many there were."""
    ours = "FROM pg_stat_activity WHERE application_name LIKE 'tangga-api %' AND datname = current_database()"
    ended = run(superuser, f"SELECT pg_terminate_backend(pid) {ours}")
    assert eventually(lambda: run(superuser, f"SELECT 1 {ours}") == [])
    return len(ended)


def test_reading_a_post_is_one_statement_and_one_round_trip(database: str, post_id: int) -> None:
    with _wire() as (wire, environment), mock.patch.dict(os.environ, environment), serving(database) as client:
        assert client.get(f"/posts/{post_id}").status_code == 200  # connects
        statements, round_trips = len(wire.statements), wire.round_trips
        for count in (1, 2, 3):
            assert client.get(f"/posts/{post_id}").status_code == 200
            assert (len(wire.statements) - statements, wire.round_trips - round_trips) == (count, count)
        assert b"FROM posts JOIN users" in next(s for s in wire.statements if s.startswith(b"PREPARE"))
        assert wire.statements[-1].startswith(b"EXECUTE")


def test_a_ping_would_be_a_round_trip_more(database: str) -> None:
    with _wire() as (wire, environment), mock.patch.dict(os.environ, {"DB_NAME": database, **environment}):
        engine = create_engine(Settings.load().url, isolation_level="AUTOCOMMIT", pool_pre_ping=True)
        before = 0
        for _ in range(2):
            before = wire.round_trips
            with engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        assert wire.round_trips - before > 1
        engine.dispose()


def test_it_shows_who_holds_a_connection(database: str, client: TestClient, superuser: Connection) -> None:
    client.get("/posts")
    names = run(superuser, "SELECT application_name FROM pg_stat_activity WHERE datname = %s", database)
    ours = f"tangga-api {socket.gethostname()[:36]} worker {os.getpid()}"
    assert (ours,) in names
    assert not differs("docs/observability.md", "tangga-api ", ours.replace(socket.gethostname(), "3f2a9c1b7d04"))


def test_a_long_host_name_does_not_hide_the_worker(superuser: Connection) -> None:
    with mock.patch("socket.gethostname", return_value="h" * 64):
        name = application_name()
    run(superuser, "SELECT set_config('application_name', %s, false)", name)
    assert run(superuser, "SELECT current_setting('application_name')") == [(name,)]
    assert name.endswith(f" worker {os.getpid()}")


def _only_answers(connection: OwnConnection) -> None:
    if connection._answer is not None:
        connection._proceed()


def test_dead_connections_harm_who_does_not_look(database: str, superuser: Connection) -> None:
    with serving(database, DB_POOL_SIZE="1") as client:
        assert client.get("/posts").status_code == 200
        assert _end_connections(superuser) >= 1
        assert client.get("/posts").status_code == 200
        with mock.patch.object(OwnConnection, "_readable", _only_answers):
            # Whatever watches the next connection, it does not look while nothing is due.
            _end_connections(superuser)
            assert eventually(lambda: database_of(client).open == 0)
            assert client.get("/posts").status_code == 200
            assert _end_connections(superuser) >= 1
            assert_problem(client.get("/posts"), 503)


def test_after_a_restart_of_the_database_nobody_notices(
    client: TestClient, ani: Person, post_id: int, superuser: Connection
) -> None:
    with ThreadPoolExecutor(5) as many:
        assert {r.status_code for r in many.map(lambda _: client.get("/posts"), range(20))} == {200}
    assert _end_connections(superuser) >= 1
    with ThreadPoolExecutor(5) as many:
        assert {r.status_code for r in many.map(lambda _: client.get(f"/posts/{post_id}"), range(20))} == {200}
    assert _end_connections(superuser) >= 1
    assert client.post("/posts", json=POST, headers=ani.headers).status_code == 201
    _end_connections(superuser)
    assert client.put(f"/posts/{post_id}", json=POST, headers=ani.headers).status_code == 200


def test_a_write_that_was_cut_off_is_not_sent_again(
    database: str, client: TestClient, ani: Person, owner: Connection, superuser: Connection
) -> None:
    run(owner, "BEGIN")
    run(owner, "LOCK TABLE posts IN EXCLUSIVE MODE")
    try:
        with ThreadPoolExecutor(1) as other:
            answer = other.submit(client.post, "/posts", json=POST, headers=ani.headers)
            assert eventually(lambda: waiting_for_locks(database) == 1)
            assert _end_connections(superuser) >= 1
            # The server's last words are that it ended the statement, so nothing was written (test_unknown_outcome.py).
            assert_problem(answer.result(5), 503)
    finally:
        run(owner, "ROLLBACK")
    assert run(owner, "SELECT count(*) FROM posts") == [(0,)]
    assert client.post("/posts", json=POST, headers=ani.headers).status_code == 201
    assert run(owner, "SELECT count(*) FROM posts") == [(1,)]


def test_the_pool_loses_nothing(client: TestClient, superuser: Connection) -> None:
    db = database_of(client)
    for _ in range(3):
        client.get("/posts")
        _end_connections(superuser)
    assert client.get("/posts").status_code == 200
    assert db.in_use == 0
    assert 1 <= db.open <= db.size
