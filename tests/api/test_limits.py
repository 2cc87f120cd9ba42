"""What happens when there is more to do than can be done: quick answers, never a hung worker."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest
from fastapi.testclient import TestClient

from tests.api.support import assert_problem, serving, waiting_for_locks
from tests.databases import connect, eventually, run


class Wire:
    """The network between the API and the database, with a cut that nobody is told about."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._whole = threading.Event()
        self._whole.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """From now on, nothing arrives."""
        self._whole.clear()

    def mend(self) -> None:
        """What was held back arrives, and all that follows."""
        self._whole.set()

    def close(self) -> None:
        """Take no more connections."""
        self._whole.set()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._to)
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self._whole.wait()
                target.sendall(data)
        except OSError:
            pass
        finally:
            target.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    with closing(Wire(os.environ["DB_HOSTNAME"], int(os.environ["DB_PORT"]))) as wire:
        yield wire


@contextmanager
def _posts_locked(database: str) -> Iterator[None]:
    with closing(connect(database)) as other:
        run(other, "BEGIN; LOCK TABLE posts IN ACCESS EXCLUSIVE MODE")
        yield
        run(other, "ROLLBACK")


def _get(client: TestClient, path: str) -> tuple[int, float]:
    start = time.monotonic()
    status: int = client.get(path).status_code
    return status, time.monotonic() - start


def test_past_the_limit_the_answer_is_503_at_once_and_the_rest_is_served(database: str) -> None:
    settings = {"MAX_IN_FLIGHT": "4", "DB_STATEMENT_TIMEOUT": "600"}
    with serving(database, **settings) as client, ThreadPoolExecutor(4) as clients:
        with _posts_locked(database):
            waiting = [clients.submit(_get, client, "/posts") for _ in range(4)]
            # Seen from the database: a request that looks would take a place itself.
            assert eventually(lambda: waiting_for_locks(database) == 4)
            # It waits for nothing that the others wait for.
            assert_problem(client.get("/posts"), 503, "Too many requests")
            # Who watches is answered all the same.
            assert client.get("/healthz").status_code == 200
            assert not any(each.done() for each in waiting)
        assert [each.result()[0] for each in waiting] == [200] * 4
        assert client.get("/").status_code == 200


def test_without_a_limit_everybody_waits(database: str) -> None:
    with serving(database, DB_STATEMENT_TIMEOUT="600") as client, ThreadPoolExecutor(8) as clients:
        with _posts_locked(database):
            waiting = [clients.submit(_get, client, "/posts") for _ in range(8)]
            # As many as there are connections; the others wait for one.
            assert eventually(lambda: waiting_for_locks(database) == 5)
            assert not any(each.done() for each in waiting)
            assert client.get("/").status_code == 200
        assert [each.result()[0] for each in waiting] == [200] * 8


def test_a_network_that_is_cut_gives_503_in_time_and_no_hung_worker(database: str, wire: Wire) -> None:
    there = {"DB_HOSTNAME": "127.0.0.1", "DB_PORT": str(wire.port)}
    with serving(database, DB_STATEMENT_TIMEOUT="0.5", DB_POOL_SIZE="2", **there) as client:
        assert eventually(lambda: client.get("/posts").status_code == 200)
        wire.cut()
        with ThreadPoolExecutor(4) as clients:  # more than there are threads for the database
            for status, seconds in clients.map(lambda _: _get(client, "/posts"), range(4)):
                assert status == 503
                assert seconds > 0.5  # it was asked; and the wire is cut still, so the wait has ended by itself
            assert client.get("/healthz").status_code == 200
        wire.mend()
        assert eventually(lambda: client.get("/posts").status_code == 200)
