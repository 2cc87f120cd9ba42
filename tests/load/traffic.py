"""Readers and writers of the API, from outside, at a steady rate.

The rate does not depend on the answers (an open loop): when the API stalls, requests go on arriving, as they do in
life, and each one's latency counts from the moment at which it was due.
"""

import asyncio
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx2

GIVE_UP = 60.0  # seconds after which the client calls a request failed
NO_ANSWER = 0


@dataclass
class Writer:
    """A user who is logged in, and posts of theirs."""

    headers: dict[str, str]
    posts: Sequence[int]


@dataclass
class Answer:
    """One request: what it was, when it was due (time.monotonic()), its latency in seconds, and the HTTP status."""

    request: str
    due: float
    seconds: float
    status: int

    @property
    def failed(self) -> bool:
        """No answer, or an error."""
        return self.status == NO_ANSWER or self.status >= 400


class Traffic:
    """Requests from the moment of `with` to its end, which waits for the last answer. `answers` in order of arrival."""

    def __init__(self, url: str, rate: float, posts: int, users: int, writers: Sequence[Writer]) -> None:
        self.rate = rate
        self.answers: list[Answer] = []
        self._url = url
        self._posts, self._users, self._writers = posts, users, writers
        self._random = random.Random(1)
        self._enough = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._enough.set()
        self._thread.join()

    async def _run(self) -> None:
        # Connections are given up before the server does so (gunicorn: 5 s), or a request could meet a closing one.
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=50, keepalive_expiry=2)
        clock = asyncio.get_running_loop()
        async with (
            httpx2.AsyncClient(base_url=self._url, limits=limits, timeout=GIVE_UP, trust_env=False) as client,
            asyncio.TaskGroup() as sent,
        ):
            due = clock.time()
            while not self._enough.is_set():
                sent.create_task(self._send(client, due))
                due += 1 / self.rate
                await asyncio.sleep(due - clock.time())

    async def _send(self, client: httpx2.AsyncClient, due: float) -> None:
        method, path, options = self._choose()
        try:
            status = (await client.request(method, path, **options)).status_code
        except httpx2.HTTPError:
            status = NO_ANSWER
        now = asyncio.get_running_loop().time()
        self.answers.append(Answer(f"{method} {path}", due, now - due, status))

    def _choose(self) -> tuple[str, str, dict[str, Any]]:
        """Seven reads to three writes."""
        kind = self._random.random()
        if kind < 0.60:
            return "GET", f"/posts/{self._random.randint(1, self._posts)}", {}
        if kind < 0.65:
            return "GET", "/posts", {}
        if kind < 0.70:
            return "GET", f"/users/{self._random.randint(1, self._users)}", {}
        writer = self._random.choice(self._writers)
        body = {"nama": "Ani", "umur": self._random.randint(1, 90), "alamat": "Jl. Melati 1"}
        options = {"json": body, "headers": writer.headers}
        if kind < 0.85:
            return "PUT", f"/posts/{self._random.choice(writer.posts)}", options
        return "POST", "/posts", options
