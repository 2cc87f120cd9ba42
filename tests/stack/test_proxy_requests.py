"""The proxy of compose.prod.yaml: what becomes of a request on its way to the API, shown at an echo in the API's place."""

import json
import socket
import ssl
import subprocess
from collections.abc import Iterator

import httpx2
import pytest

from tests.databases import PATIENCE
from tests.stack.conftest import Stack, wait_for
from tests.stack.http2 import Http2

PROBLEM = "application/problem+json"
SPELLINGS = (
    "X-Forwarded-For", "x-forwarded-for", "X_Forwarded_For", "X-Forwarded", "X-Forwarded-Host",
    "X-Forwarded-Prefix", "X-Forwarded-Ssl", "X-Forwarded-Protocol", "X-Forwarded-Scheme", "Forwarded",
    "FORWARDED", "Forwarded-For", "X-Real-IP", "X_Real_Ip", "X-Client-IP", "Client-IP", "X-Original-URL",
    "X-Rewrite-URL", "X-Cluster-Client-IP", "True-Client-IP", "CF-Connecting-IP", "Fastly-Client-IP", "X-Host",
    "Proxy",
)  # fmt: skip
_ECHO = """
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/slow":
            print("begun", flush=True)
            try: self.connection.recv(1)
            except OSError: pass
            print("gone", flush=True)
        body = json.dumps({"echo": self.requestline, "headers": self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
ThreadingHTTPServer(("0.0.0.0", 8000), Echo).serve_forever()
"""


@pytest.fixture
def stack(production: Stack) -> Stack:
    return production


@pytest.fixture(scope="module")
def echo(production: Stack) -> Iterator[str]:
    """A replica that says what it was asked; its container. Requests go to it now and then."""
    stack, name = production, f"{production.name}-echo"
    image = stack.setting("PYTHON_IMAGE")
    stack.ok("docker", "run", "--detach", "--name", name, "--network", f"{stack.name}_rotation", "--network-alias", "api",
             image, "python3", "-c", _ECHO)  # fmt: skip
    yield name
    stack.ok("docker", "rm", "--force", name)


def _raw(stack: Stack, *parts: bytes) -> bytes:
    """Send all of it, and only then read the answer, until the connection ends."""
    address = ("127.0.0.1", int(stack.setting("HTTPS_PORT")))
    with socket.create_connection(address, PATIENCE) as plain:
        context = ssl._create_unverified_context()
        with context.wrap_socket(plain, server_hostname="localhost") as connection:
            for part in parts:
                connection.sendall(part)
            answer = b""
            while part := connection.recv(65536):
                answer += part
            return answer


@pytest.mark.parametrize("name", ["X-Forwarded-Ssl: off", "X-Forwarded-Protocol: http", "X_Forwarded_Scheme: http"])
def test_a_header_about_the_scheme_does_no_harm(stack: Stack, name: str) -> None:
    header, _, value = name.partition(": ")
    answer = httpx2.get(f"{stack.url}/healthz", headers={header: value}, verify=False, timeout=PATIENCE)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("target", "status", "body"),
    [
        (b"http://localhost/healthz", b"200 OK", b"alive"),
        (b"HTTPS://localhost/posts?limit=1", b"200 OK", b"["),
        (b"http://localhost", b"200 OK", b"docs"),
        (b"http://localhost/metrics", b"404 Not Found", b"problem"),
        (b"http://localhost//%6Detrics", b"404 Not Found", b"problem"),
        (b"http://other.example.test/healthz", b"400 ", b""),  # not what Host says
    ],
)
def test_a_target_in_absolute_form_is_served(stack: Stack, target: bytes, status: bytes, body: bytes) -> None:
    answer = _raw(stack, b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert body in answer


@pytest.mark.parametrize(("size", "times"), [(300_000, 4), (5_000_000, 2), (20_000_000, 1)])
def test_a_client_that_sends_all_of_a_large_body_first_hears_413(stack: Stack, size: int, times: int) -> None:
    body, head = b"x" * size, b"POST /posts HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    for _ in range(times):
        with_length = _raw(stack, head, b"Content-Length: %d\r\n\r\n" % size, body)
        in_chunks = _raw(stack, head, b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % size, body, b"\r\n0\r\n\r\n")
        for answer in (with_length, in_chunks):
            assert answer.startswith(b"HTTP/1.1 413 ")
            assert PROBLEM.encode() in answer
        assert b"413" in Http2(int(stack.setting("HTTPS_PORT"))).post("/posts", size)


def _admin(stack: Stack, command: str) -> str:
    door = f"echo '{command}' | socat - UNIX-CONNECT:/run/haproxy/admin.sock"
    return stack.compose("exec", "-T", "proxy", "sh", "-c", door)


@pytest.mark.parametrize(
    ("method", "path", "table"),
    [
        ("GET", "/posts?search=a", "searches"),
        ("GET", "/%70osts?limit=1&%73earch=a", "searches"),
        ("GET", "/posts?search=a&limit=%", "searches"),
        ("GET", "/posts?skip=5000", "searches"),
        ("POST", "/users", "registrations"),
    ],
)
def test_what_costs_much_is_bounded_for_an_address(stack: Stack, method: str, path: str, table: str) -> None:
    form = ("-sk", "-o", "/dev/null", "-w", "%{http_code} %{content_type} %header{retry-after}")

    def asked(method: str, path: str) -> str:
        return stack.ok("curl", *form, "-X", method, f"{stack.url}{path}")

    try:
        _admin(stack, f"clear table {table}")
        assert asked(method, path)[:3] in ("200", "401", "422")
        [entry] = [line for line in _admin(stack, f"show table {table}").splitlines() if "key=" in line]
        assert entry.rsplit("=", 1)[1] == "1"
        key = entry.split("key=")[1].split()[0]
        rate = entry.split()[-1].split("=")[0]
        # As if it had asked very often just now.
        _admin(stack, f"set table {table} key {key} data.{rate.split('(')[0]} 1000000")
        assert asked(method, path) == f"429 {PROBLEM} 10"
        # Held back: whoever floods waits too. 28 is curl's own for having waited long enough.
        assert stack.run("curl", *form, "-X", method, "--max-time", "1", f"{stack.url}{path}").returncode == 28
        assert asked("GET", "/posts?limit=1&skip=5").startswith("200 ")
        assert asked("GET", "/users/1")[:3] in ("200", "404")
    finally:
        _admin(stack, f"clear table {table}")


# From here on, some requests go to the echo.


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_nothing_that_a_client_says_of_itself_reaches_the_api(stack: Stack, echo: str, version: str) -> None:
    assert echo
    forged = [text for name in SPELLINGS for text in ("--header", f"{name}: 203.0.113.7")]
    seen: list[str] = []

    def answered() -> bool:
        seen.append(stack.ok("curl", "-sk", version, *forged, "--header", "X-Harmless: yes", f"{stack.url}/x"))
        return "echo" in seen[-1]

    wait_for(answered, "an answer of the echo")
    headers = json.loads(seen[-1])["headers"]
    names = [name for name, _ in headers]
    assert sorted(names) == ["accept", "host", "user-agent", "x-forwarded-for", "x-forwarded-proto", "x-harmless"]
    assert "203.0.113.7" not in seen[-1]
    assert ["x-forwarded-proto", "https"] in headers


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_an_abandoned_request_is_abandoned_at_the_api(stack: Stack, echo: str, version: str) -> None:
    before = stack.ok("docker", "logs", echo).count("begun")

    def logged(word: str) -> int:
        return stack.ok("docker", "logs", echo).count(word) - before

    def begun() -> bool:
        clients.append(subprocess.Popen(["curl", "-sk", version, "-o", "/dev/null", f"{stack.url}/slow"]))
        return logged("begun") > 0

    clients: list[subprocess.Popen[bytes]] = []
    wait_for(begun, "a request at the echo")
    for client in clients:
        client.kill()
        client.wait()
    # The proxy itself waits for 60 s for an answer.
    wait_for(lambda: logged("gone") == logged("begun"), "the end of the request at the echo")
