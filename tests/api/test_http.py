"""HTTP as it comes over the wire: forms of the target, answers before the body is read, and no WebSockets."""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.api.server import Server, gunicorn
from tests.databases import PATIENCE, eventually


@pytest.fixture(scope="module")
def server(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with gunicorn(database, tmp_path_factory.mktemp("http") / "log", workers=1) as server:
        yield server


def _assert_problem(answer: tuple[int, dict[str, str], bytes], status: int) -> None:
    assert (answer[0], answer[1]["content-type"]) == (status, "application/problem+json"), answer
    assert json.loads(answer[2])["status"] == status
    assert answer[1]["x-request-id"]
    assert answer[1]["x-content-type-options"] == "nosniff"


# --- The target


@pytest.mark.parametrize(
    ("target", "start"),
    [
        ("http://localhost/posts?limit=1", b"[]"),
        ("HTTP://LOCALHOST:8000/posts?limit=1", b"[]"),
        ("https://elsewhere.example/healthz", b'{"status":"alive"}'),
        ("http://[::1]:8000/healthz", b'{"status":"alive"}'),
        ("http://localhost:/health%7A", b'{"status":"alive"}'),
        ("http://localhost", b'{"name":"Tangga"'),
        ("http://localhost?limit=1", b'{"name":"Tangga"'),
    ],
)
def test_an_absolute_target_is_served_as_its_path(server: Server, target: str, start: bytes) -> None:
    status, _, body = server.send(f"GET {target} HTTP/1.1\r\nHost: other\r\n\r\n".encode())
    assert (status, body[: len(start)]) == (200, start)


def test_it_is_logged_and_refused_as_its_path(server: Server) -> None:
    answer = server.send(b"DELETE http://localhost/posts HTTP/1.1\r\nHost: other\r\n\r\n")
    _assert_problem(answer, 405)
    _assert_problem(server.send(b"GET http://localhost/posts/x HTTP/1.1\r\nHost: other\r\n\r\n"), 422)
    assert eventually(lambda: "/posts/{post_id}" in {line["route"] for line in server.lines("request")})


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET http://ani:secret@localhost/posts", 400),
        ("GET http:///posts", 400),
        ("GET ftp://localhost/posts", 400),
        ('GET http://local"host/posts', 400),
        ("CONNECT localhost:443", 400),
        ("CONNECT http://localhost/posts", 400),
        ("CONNECT /posts", 405),
        ("OPTIONS *", 404),
        ("GET //localhost/posts", 404),
        ("GET /http://localhost/posts", 404),
    ],
)
def test_any_other_target_is_refused(server: Server, line: str, status: int) -> None:
    _assert_problem(server.send(f"{line} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()), status)


# --- WebSockets


@pytest.mark.parametrize("path", ["/", "/posts", "/nothing"])
@pytest.mark.parametrize("version", ["13", "8"])
def test_a_websocket_is_refused_with_a_problem(server: Server, path: str, version: str) -> None:
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
    key = f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: {version}\r\n\r\n"
    answer = server.send((head + key).encode())
    _assert_problem(answer, 400)
    assert answer[1]["connection"] == "close"


@pytest.mark.parametrize("headers", ["Upgrade: h2c\r\nConnection: Upgrade\r\n", "Upgrade: websocket\r\n"])
def test_another_offer_is_ignored(server: Server, headers: str) -> None:
    assert server.send(f"GET /healthz HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode())[0] == 200


# --- Answers before the body is read

MEGABYTE = b"x" * 1_000_000


def _post(server: Server, path: str, megabytes: int, *, chunked: bool) -> int:
    """Send as urllib does: first everything, then it reads."""
    body = iter([MEGABYTE] * megabytes) if chunked else MEGABYTE * megabytes
    request = urllib.request.Request(server.url + path, body, {"Content-Type": "application/json"})
    try:
        status: int = urllib.request.urlopen(request, timeout=PATIENCE).status
        return status
    except urllib.error.HTTPError as error:
        with error:
            problem: int = json.load(error)["status"]
        return problem


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
@pytest.mark.parametrize("megabytes", [1, 20, 30])
def test_413_reaches_who_sends_first_and_reads_then(server: Server, megabytes: int, chunked: bool) -> None:
    assert [_post(server, "/users", megabytes, chunked=chunked) for _ in range(8)] == [413] * 8


def test_so_does_any_other_answer_that_did_not_wait_for_the_body(server: Server) -> None:
    assert {_post(server, path, 20, chunked=True) for path in ("/nothing", "/healthz") * 4} == {404, 405}
    # The server's own, too: 431.
    with server.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + MEGABYTE * 5)
        assert connection.recv(12) == b"HTTP/1.1 431"


def test_an_answer_that_did_not_wait_says_that_the_connection_ends_and_another_that_it_goes_on(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n")
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, answer.getheader("connection")) == (404, "close")
        answer.read()
        connection.sendall(b"12345")  # nobody minds
        assert connection.recv(1) == b""
    with server.connect() as connection:
        for _ in range(3):
            connection.sendall(b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n12345")
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert (answer.status, answer.getheader("connection")) == (404, None)
            answer.read()


def test_who_never_stops_sending_is_cut_off_and_others_are_served_meanwhile(server: Server) -> None:
    with server.connect() as connection, pytest.raises((BrokenPipeError, ConnectionResetError)):  # noqa: PT012
        connection.sendall(b"POST /users HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 413"
        assert server.get("/healthz").status_code == 200
        for _ in range(500):
            connection.sendall(MEGABYTE)
