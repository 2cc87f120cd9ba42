"""A write that was sent and may have been done is 504, never "503, try again"; what was surely not done stays 503."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any
from unittest import mock

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from psycopg2.extensions import connection as Connection

from services.api.db import connection
from tests.api.support import HASH, PASSWORD, POST, Person, assert_problem, serving
from tests.databases import PATIENCE, eventually, run

Answer = Callable[[socket.socket], None]
MAY_BE = "may have been done"


def _message(kind: bytes, severity: str, code: str, text: str) -> bytes:
    """Return an ErrorResponse ("E") or a NoticeResponse ("N") of PostgreSQL's protocol."""
    fields = "".join(f"{name}{value}\0" for name, value in (("S", severity), ("V", severity), ("C", code), ("M", text)))
    content = fields.encode() + b"\0"
    return kind + (len(content) + 4).to_bytes(4, "big") + content


class Wire:
    """The way to PostgreSQL. One statement is answered by `answer` (nothing: its answer is lost) and ends the way.

    `reaches`: whether PostgreSQL gets that statement, and has answered it, before.
    """

    def __init__(self) -> None:
        self._to = (os.environ["DB_HOSTNAME"], int(os.environ["DB_PORT"]))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._is_it: Callable[[bytes], bool] | None = None
        self._answer = b""
        self._reaches = self._silent = False
        self.met = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def lose(self, text: bytes, nth: int = 1, answer: bytes = b"", reaches: bool = True, silent: bool = False) -> None:
        """Break the way at the n-th statement that begins so; `silent`: it stays open, and nothing comes any more."""
        left = nth

        def is_it(statement: bytes) -> bool:
            nonlocal left
            left -= statement.startswith(text)
            return left == 0 and statement.startswith(text)

        self.met.clear()
        self._is_it, self._answer, self._reaches, self._silent = is_it, answer, reaches, silent

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        far = socket.create_connection(self._to)
        caught, answered = threading.Event(), threading.Event()
        threading.Thread(target=self._back, args=(far, near, caught, answered), daemon=True).start()
        with suppress(OSError):
            self._forth(near, far, caught, answered)
        for end in (near, far):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # close() alone waits for who reads there
            end.close()

    def _forth(
        self, near: socket.socket, far: socket.socket, caught: threading.Event, answered: threading.Event
    ) -> None:
        waiting, started = b"", False
        while data := near.recv(65536):
            waiting += data
            while len(waiting) > 4 + started:
                size = started + int.from_bytes(waiting[started : 4 + started], "big")
                if len(waiting) < size:
                    break
                message, waiting = waiting[:size], waiting[size:]
                started_before, started = started, True
                if started_before and message[:1] == b"Q" and self._meets(message[5:-1]):
                    caught.set()
                    if self._reaches:
                        far.sendall(message)
                        answered.wait(PATIENCE)
                    if self._silent:
                        near.recv(1)  # until the client gives it up
                    near.sendall(self._answer)
                    return
                far.sendall(message)

    def _meets(self, statement: bytes) -> bool:
        with self._lock:
            if self._is_it is None or not self._is_it(statement):
                return False
            self._is_it = None
            self.met.set()
            return True

    @staticmethod
    def _back(far: socket.socket, near: socket.socket, caught: threading.Event, answered: threading.Event) -> None:
        with suppress(OSError):
            while data := far.recv(65536):
                if caught.is_set():
                    answered.set()
                else:
                    near.sendall(data)


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    with closing(Wire()) as wire:
        yield wire


@contextmanager
def _through(wire: Wire, database: str, **settings: str) -> Iterator[TestClient]:
    # TLS would hide the messages.
    settings |= {"DB_HOSTNAME": "127.0.0.1", "DB_PORT": str(wire.port), "DB_SSLMODE": "disable"}
    with mock.patch.dict(os.environ, {"PGGSSENCMODE": "disable"}), serving(database, **settings) as client:
        yield client


@pytest.fixture(scope="module", params=["prepared", "pooler"])
def served(request: pytest.FixtureRequest, wire: Wire, database: str) -> Iterator[tuple[TestClient, bool]]:
    """A client, and whether statements are sent prepared."""
    pooler = request.param == "pooler"
    with _through(wire, database, DB_POOLER=str(pooler).lower()) as client:
        yield client, not pooler


def _log_in_wrongly(client: TestClient, _person: Person) -> Response:
    response: Response = client.post("/login", data={"username": "ani@example.com", "password": "wrong horse"})
    return response


def _request(method: str, path: str, body: object, **headers: str) -> Callable[[TestClient, Person], Response]:
    def send(client: TestClient, person: Person) -> Response:
        response: Response = client.request(method, path, json=body, headers=person.headers | headers)
        return response

    return send


REGISTER = _request("POST", "/users", {"email": "new@example.com", "password": PASSWORD})
CREATE = _request("POST", "/posts", POST | {"nama": "Budi"})
CREATE_WITH_KEY = _request("POST", "/posts", POST | {"nama": "Budi"}, **{"Idempotency-Key": "k"})
# What is sent; how the statement begins that does it; what tells that it was done.
BUDIS = "SELECT 1 FROM posts WHERE nama = 'Budi'"
WRITES: dict[str, tuple[Callable[[TestClient, Person], Response], bytes, str]] = {
    "create": (CREATE, b"WITH written AS", BUDIS),
    "create with a key": (CREATE_WITH_KEY, b"COMMIT", BUDIS),
    "replace": (_request("PUT", "/posts/1", POST | {"nama": "Budi"}), b"WITH written", BUDIS),
    "delete": (
        _request("DELETE", "/posts/1", None),
        b"DELETE FROM posts",
        "SELECT 1 WHERE NOT EXISTS (SELECT FROM posts)",
    ),
    "vote": (_request("POST", "/vote", {"post_id": 1, "dir": 1}), b"INSERT INTO votes", "SELECT 1 FROM votes"),
    "register": (REGISTER, b"INSERT INTO users", "SELECT 1 FROM users WHERE email = 'new@example.com'"),
    "count a failed log-in": (_log_in_wrongly, b"\n    WITH pair AS", "SELECT 1 FROM login_attempts"),
}
# The same, when statements are prepared and so sent by number: which EXECUTE of the request it is.
EXECUTES = {"register": 3, "count a failed log-in": 3}


def _lose(wire: Wire, case: str, prepared: bool, **how: Any) -> None:
    _, text, _ = WRITES[case]
    nth = 1
    if prepared and text != b"COMMIT":
        text, nth = b"EXECUTE", EXECUTES.get(case, 1)
    wire.lose(text, nth, **how)


@pytest.mark.parametrize("case", WRITES)
def test_a_write_whose_answer_is_lost_is_504_and_may_have_been_done(
    served: tuple[TestClient, bool], wire: Wire, ani: Person, post_id: int, owner: Connection, case: str
) -> None:
    del post_id
    client, prepared = served
    run(owner, "UPDATE users SET password = %s", HASH)
    send, _, done = WRITES[case]
    _lose(wire, case, prepared)
    assert_problem(send(client, ani), 504, MAY_BE)
    assert wire.met.is_set()
    # It was done: whoever had been told to try again would have done it twice.
    assert run(owner, done) != []
    if case == "create with a key":
        again = send(client, ani)
        assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
        assert len(run(owner, done)) == 1


def _error(severity: str, code: str, text: str) -> bytes:
    return _message(b"E", severity, code, text)


CRASH = _message(b"N", "WARNING", "57P02", "terminating connection because of crash of another server process")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        pytest.param(b"", 504, id="none"),
        pytest.param(CRASH, 504, id="crash"),
        pytest.param(_error("FATAL", "08P01", "server conn crashed?"), 504, id="pooler-lost-the-server"),
        pytest.param(_error("FATAL", "08P01", "query_timeout"), 504, id="pooler-gave-up"),
        pytest.param(_error("ERROR", "40003", "statement completion unknown"), 504, id="says-so"),
        pytest.param(_error("FATAL", "57P01", "terminating connection due to administrator command"), 503, id="ended"),
        pytest.param(_error("FATAL", "08P01", "query_wait_timeout"), 503, id="pooler-did-not-send"),
        pytest.param(_error("FATAL", "08P01", "pgbouncer cannot connect to server"), 503, id="pooler-without-server"),
        pytest.param(_error("FATAL", "57P03", "the database system is shutting down"), 503, id="shutting-down"),
    ],
)
@pytest.mark.parametrize("case", ["create", "create with a key"])
def test_only_the_servers_own_word_tells_that_nothing_was_done(
    served: tuple[TestClient, bool], wire: Wire, ani: Person, owner: Connection, case: str, answer: bytes, status: int
) -> None:
    client, prepared = served
    send, _, done = WRITES[case]
    _lose(wire, case, prepared, answer=answer, reaches=False)
    assert_problem(send(client, ani), status, MAY_BE if status == 504 else "Try again")
    assert run(owner, done) == []
    assert send(client, ani).status_code == 201


@pytest.mark.parametrize(
    ("statement", "status"), [(b"BEGIN", 503), (b"PREPARE", 503), (b"EXECUTE", 503), (b"COMMIT", 504)]
)
def test_in_a_transaction_only_its_commit_counts(
    wire: Wire, database: str, ani: Person, owner: Connection, statement: bytes, status: int
) -> None:
    with _through(wire, database) as client:
        wire.lose(statement)
        assert_problem(CREATE_WITH_KEY(client, ani), status)
        assert wire.met.is_set()
        assert len(run(owner, BUDIS)) == (1 if status == 504 else 0)
        assert CREATE_WITH_KEY(client, ani).status_code == 201
    assert len(run(owner, BUDIS)) == 1


def test_a_read_and_what_comes_before_a_write_stay_503(
    served: tuple[TestClient, bool], wire: Wire, ani: Person, owner: Connection
) -> None:
    client, prepared = served
    wire.lose(b"EXECUTE" if prepared else b"SELECT")
    assert_problem(client.get("/posts"), 503)
    assert wire.met.is_set()
    # The address's window is counted first; nobody is registered.
    wire.lose(b"EXECUTE" if prepared else b"\n    WITH full_window")
    assert_problem(REGISTER(client, ani), 503)
    assert wire.met.is_set()
    assert run(owner, "SELECT 1 FROM users WHERE email = 'new@example.com'") == []


def test_a_server_that_falls_silent_leaves_it_open_whether_a_write_was_done(
    wire: Wire, database: str, ani: Person, owner: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"DB_STATEMENT_TIMEOUT": "0.3", "DB_POOL_SIZE": "1"}
    with mock.patch.object(connection, "_SILENCE_SECONDS", 0.2), _through(wire, database, **settings) as client:
        assert client.get("/posts").status_code == 200
        wire.lose(b"EXECUTE", silent=True)
        assert_problem(CREATE(client, ani), 504, MAY_BE)
        assert run(owner, BUDIS) != []
        assert "tangga_database_unknown_writes_total 1.0" in client.get("/metrics").text
        wire.lose(b"EXECUTE", silent=True)
        assert_problem(client.get("/posts"), 503)
    [record] = [record for record in caplog.records if record.getMessage() == "write_outcome_unknown"]
    assert vars(record)["reason"] == "the database does not answer at all"
    assert vars(record)["request_id"]


def test_a_write_that_the_server_cancels_was_not_done(database: str, ani: Person, owner: Connection) -> None:
    with serving(database, DB_STATEMENT_TIMEOUT="0.5") as client:
        run(owner, "BEGIN; LOCK TABLE posts IN ACCESS EXCLUSIVE MODE")
        try:
            assert_problem(CREATE(client, ani), 504, "Nothing was written.")
        finally:
            run(owner, "ROLLBACK")
    assert run(owner, BUDIS) == []


def test_the_wire_alone_changes_nothing(served: tuple[TestClient, bool], ani: Person, owner: Connection) -> None:
    client, _ = served
    assert CREATE(client, ani).status_code == 201
    assert eventually(lambda: len(run(owner, BUDIS)) == 1)
