"""A real gunicorn with its workers, as a container runs it, and what it logs."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.databases import PATIENCE, PROJECT, eventually

Fields = dict[str, Any]


@dataclass
class Server:
    """A running gunicorn."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def get(self, path: str, method: str = "GET") -> httpx2.Response:
        """Ask on a connection of its own, so that any worker may answer."""
        with httpx2.Client(timeout=PATIENCE) as client:
            return client.request(method, self.url + path)

    def connect(self) -> socket.socket:
        """Open a connection to be used by hand."""
        return socket.create_connection(("127.0.0.1", int(self.url.rpartition(":")[2])), PATIENCE)

    def send(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send bytes as they are; return status, headers (names in lower case) and body of the answer."""
        with self.connect() as connection:
            connection.sendall(request)
            with closing(http.client.HTTPResponse(connection)) as answer:
                answer.begin()
                return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def lines(self, event: str) -> list[Fields]:
        """Return the log lines of one event. Whatever is no JSON object fails the test."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if line["event"] == event]

    def workers(self) -> set[int]:
        """Return the process ids of the workers that have begun to listen."""
        pids = re.findall(r'"ASGI server listening[^}]*"pid":(\d+)', self.log.read_text())
        return {int(pid) for pid in pids if Path(f"/proc/{pid}").exists()}

    def metrics(self) -> dict[str, float]:
        """Return what Prometheus would read, by name and labels."""
        pairs = (line.rsplit(" ", 1) for line in self.get("/metrics").text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def folder(self) -> Path:
        """Return where the workers keep their figures."""
        return Path(f"/dev/shm/tangga-metrics-{self.process.pid}")


@contextmanager
def gunicorn(
    database: str,
    log: Path,
    workers: int = 2,
    app: str = "services.api.main:app",
    options: Sequence[str] = (),
    **environment: str,
) -> Iterator[Server]:
    """Start gunicorn on a free port; on the way out, check that it ends by itself and leaves nothing behind."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["-m", "gunicorn", "--config", "services/api/gunicorn.conf.py", "--bind", f"127.0.0.1:{port}"]
    settings = {"DB_NAME": database, "WEB_CONCURRENCY": str(workers), "LOG_FORMAT": "json", **environment}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command, *options, app],
            cwd=PROJECT,
            env=os.environ | settings,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = Server(process, f"http://127.0.0.1:{port}", log)
    try:
        assert eventually(lambda: len(server.workers()) == workers), log.read_text()
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
    assert not server.folder().exists()
