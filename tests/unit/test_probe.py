"""The API's health check, against servers that answer as the API may: on its port, so in a container of its own."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

PROBE = Path(__file__).parents[2] / "services/api/health/probe.sh"
STOP = b"stop\r\n\r\n"
READY = '{"status": "ready"}'
BEHIND = '{"status": "not ready", "detail": "behind"}'


def probe(*arguments: str) -> tuple[int, str]:
    result = subprocess.run(["bash", PROBE, *arguments], capture_output=True, text=True, check=False)
    assert result.stderr == ""
    return result.returncode, result.stdout


@contextmanager
def serving(answers: dict[str, str]) -> Iterator[list[str]]:
    """A server with these answers to paths, that closes each connection as it is asked to; the requests it had."""
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 8000)) as listener:

        def serve() -> None:
            while True:
                connection, _ = listener.accept()
                with connection:
                    request = b""
                    while not request.endswith(b"\r\n\r\n"):
                        request += connection.recv(10_000)
                    if request == STOP:
                        return
                    asked.append(request.decode())
                    connection.sendall(answers[asked[-1].split()[1]].encode())

        thread = Thread(target=serve)
        thread.start()
        try:
            yield asked
        finally:
            with socket.create_connection(("127.0.0.1", 8000)) as last:
                last.sendall(STOP)
            thread.join()


def answer(status: str, body: str) -> str:
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"


def test_the_probe() -> None:
    """One test: there is one such port."""
    assert probe() == (1, "no answer: nothing listens on port 8000\n")

    with serving({"/readyz": answer("200 OK", READY)}) as asked:
        assert probe() == (0, f"200 {READY}\n")
    assert asked[0] == "GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nConnection: close\r\n\r\n"

    behind, alive = answer("503 Service Unavailable", BEHIND), answer("200 OK", '{"status": "alive"}')
    with serving({"/readyz": behind, "/healthz": alive}):
        assert probe() == (1, f"503 {BEHIND}\n")
        # Never ready, so it is not well.
        assert probe("--once") == (1, f"503 {BEHIND}\n")
    with serving({"/readyz": answer("200 OK", READY)}):
        assert probe("--once")[0] == 0
    with serving({"/readyz": behind, "/healthz": alive}):
        assert probe("--once") == (0, '200 {"status": "alive"}\n')
        assert probe()[0] == 1

    # A log should not hold all of it; and what is no HTTP is no answer.
    with serving({"/readyz": answer("503 Service Unavailable", "x" * 5000)}):
        assert probe() == (1, f"503 {'x' * 1000}\n")
    with serving({"/readyz": "nonsense"}):
        assert probe() == (1, "no answer: the connection ended, or 4 s were over\n")


def test_a_server_that_says_nothing_is_not_waited_for() -> None:
    """Before the engine's own time-out, which would tell nobody what was asked."""
    script = PROBE.read_text().replace("8000", "8001")
    with socket.create_server(("127.0.0.1", 8001)):
        result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (1, "no answer: the connection ended, or 4 s were over\n")
