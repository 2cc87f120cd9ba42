"""One statement and one round trip for each request: as PostgreSQL reports them, and as they pass on the wire."""

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from psycopg2 import sql
from sqlalchemy import create_engine, event
from sqlalchemy.orm import Session

from services.api.db import connection
from services.api.db.models import Post, User
from services.api.settings import DatabaseSettings, Settings
from tests.api.support import POST, Person, serving
from tests.databases import connect, run

REQUESTS = 10
_UNTYPED = (80877103, 80877104)  # SSLRequest, GSSENCRequest: they come before the startup message


@dataclass
class Wire:
    """A server between client and PostgreSQL that counts how often the client sends something and waits."""

    round_trips: int = 0
    port: int = 0
    _open: list[socket.socket] = field(default_factory=list)

    def listen(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self._open.append(listener)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def close(self) -> None:
        for each in self._open:
            each.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection((os.environ["DB_HOSTNAME"], int(os.environ["DB_PORT"])))
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open.append(each)
            threading.Thread(target=self._forward, args=(client, server, self._count()), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client, None), daemon=True).start()

    @staticmethod
    def _forward(source: socket.socket, target: socket.socket, count: Callable[[bytes], None] | None) -> None:
        try:
            while data := source.recv(65536):
                if count:
                    count(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def _count(self) -> Callable[[bytes], None]:
        """Count Query and Sync messages: after either one, PostgreSQL answers ReadyForQuery and the client waits."""
        pending, started = b"", False

        def count(data: bytes) -> None:
            nonlocal pending, started
            pending += data
            while len(pending) >= 8 or (started and len(pending) >= 5):
                size = struct.unpack("!i", pending[1:5] if started else pending[:4])[0] + started
                if len(pending) < size:
                    return
                if not started:
                    started = struct.unpack("!i", pending[4:8])[0] not in _UNTYPED
                elif pending[:1] in (b"Q", b"S"):
                    self.round_trips += 1
                pending = pending[size:]

        return count


@contextmanager
def _reporting(database: str) -> Iterator[None]:
    """Let PostgreSQL tell each client every statement that it runs, as it would write it into its log."""
    names = {"role": sql.Identifier(os.environ["DB_USERNAME"]), "database": sql.Identifier(database)}
    alter = sql.SQL("ALTER ROLE {role} IN DATABASE {database} ").format(**names)
    with closing(connect(database, "superuser")) as connection:
        try:
            run(connection, alter + sql.SQL("SET log_statement = 'all'"))
            run(connection, alter + sql.SQL("SET client_min_messages = 'log'"))
            yield
        finally:
            run(connection, alter + sql.SQL("RESET ALL"))


class Reports:
    """What PostgreSQL tells connections. Not a list: SQLAlchemy empties lists of notices."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def listen(self, connection: Any, *_: object) -> None:
        """Take over what the server tells a connection."""
        connection.notices = self

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take over what it tells the connections that the app opens from now on."""

        def connect(settings: Settings) -> Any:
            raw = connection.connect(settings)
            self.listen(raw)
            return raw

        with mock.patch("services.api.db.database.connect", connect):
            yield

    def append(self, notice: str) -> None:
        """psycopg2 calls this for every message."""
        if notice.startswith("LOG:"):
            self.statements.append(notice.partition("statement: ")[2].strip())


@dataclass
class Watched:
    """An app, and what it asks of PostgreSQL."""

    client: TestClient
    wire: Wire
    reports: Reports


@pytest.fixture(scope="module")
def watched(database: str) -> Iterator[Watched]:
    wire = Wire()
    wire.listen()
    reports = Reports()
    with (
        _reporting(database),
        reports.listening(),
        serving(database, DB_HOSTNAME="127.0.0.1", DB_PORT=str(wire.port), DB_POOL_SIZE="1") as client,
    ):
        yield Watched(client, wire, reports)
    wire.close()


@pytest.mark.parametrize("route", ["get", "list", "list after", "create", "get user"])
def test_a_request_is_one_statement_and_one_round_trip(watched: Watched, ani: Person, post_id: int, route: str) -> None:
    client = watched.client
    for _ in range(11):
        client.post("/posts", json=POST, headers=ani.headers)
    following = client.get("/posts", params={"limit": 3}).links["next"]["url"]
    send: Callable[[], Response] = {
        "get": lambda: client.get(f"/posts/{post_id}", headers=ani.headers),
        "list": lambda: client.get("/posts", headers=ani.headers),
        "list after": lambda: client.get(following),
        "create": lambda: client.post("/posts", json=POST, headers=ani.headers),
        "get user": lambda: client.get(f"/users/{ani.id}"),
    }[route]
    assert send().is_success
    watched.reports.statements.clear()
    watched.wire.round_trips = 0
    answers = [send() for _ in range(REQUESTS)]
    assert all(answer.is_success for answer in answers)
    statements = watched.reports.statements
    assert len(statements) == REQUESTS, statements
    # Parsed and planned when it was sent for the first time.
    assert {statement.split()[0] for statement in statements} == {"EXECUTE"}, statements
    assert watched.wire.round_trips == REQUESTS


@pytest.mark.usefixtures("post_id")
def test_what_is_counted_with_a_session(database: str) -> None:
    """The same measure, of a session as tutorials have it: BEGIN and ROLLBACK are seen too."""
    wire = Wire()
    wire.listen()
    with _reporting(database):
        settings = DatabaseSettings.load()
        engine = create_engine(settings.url.set(host="127.0.0.1", port=wire.port, database=database))
        reports = Reports()
        event.listen(engine, "checkout", reports.listen)
        for _ in range(2):
            reports.statements.clear()
            wire.round_trips = 0
            with Session(engine) as session:
                post = session.query(Post).one()
                assert session.get(User, post.owner_id) is not None
        kinds = [statement.split()[0] for statement in reports.statements]
        engine.dispose()
    wire.close()
    assert kinds == ["BEGIN", "SELECT", "SELECT", "ROLLBACK"]
    assert wire.round_trips == len(kinds)
