"""Mixed traffic for a set time, with the database killed in the middle; then every acknowledged write is looked for.

Run by scripts/loadtest.sh, which says what it needs. Exits with 1 if a write was lost or done twice, an answer was not
as it should be, memory grew, or connections leaked.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLContext
from statistics import median, median_low
from typing import Any, NamedTuple

import httpx2

from tests.load.traffic import GIVE_UP, NO_ANSWER
from tests.stack.conftest import REPOSITORY, Stack, copy_tree, wait_for

POSTS, READERS = 2000, 200  # rows that are there before, and users who own them
MAY_BE = (504, NO_ANSWER)  # of a write: it may have been done, or not; after 503 it was not
RECOVERY = 10.0  # seconds after the API answers again in which a 503 of another worker is put down to the outage
SAMPLE = 5.0  # seconds between two looks at memory
MEMORY_SLACK = 4.0  # MiB that a worker may have gained at the end
# In less than three minutes it is still warming up, the longer the busier the machine is.
MEMORY_SLACK_SOON = 16.0
WARM_MINUTES = 3.0
_FILL = f"""
TRUNCATE users, posts, votes RESTART IDENTITY CASCADE;
SET session_replication_role = replica; -- foreign keys hold by construction
INSERT INTO users (email, password) SELECT 'reader' || n || '@example.com', '!' FROM generate_series(1, {READERS}) n;
INSERT INTO posts (nama, umur, alamat, owner_id)
SELECT 'Post ' || n, n % 90, 'Jl. Melati ' || n, (SELECT max(id) FROM users) - n % {READERS}
FROM generate_series(1, {POSTS}) n;
"""
KINDS = ("read", "create", "replace", "delete", "vote", "log in")

State = tuple[int, str] | None  # of a post: (umur, alamat), or not there


@dataclass
class Answer:
    """One request: what it was, when it was sent (time.monotonic()), its latency, the HTTP status, and its body."""

    kind: str
    sent: float
    seconds: float
    status: int
    retry_after: bool = False
    body: Any = None


@dataclass
class User:
    """A virtual user, who does one thing after another, and what the database must hold of theirs in the end.

    `posts` and `votes` have every state that is possible: one after an answer, two after a write that got none.
    """

    name: str
    email: str
    headers: dict[str, str]
    random: random.Random
    posts: dict[str, set[State]] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    votes: dict[int, set[bool]] = field(default_factory=dict)
    # A creation without an answer: to be sent again with the same key.
    unanswered: tuple[dict[str, Any], str] | None = None


class MixedTraffic:
    """Virtual users at a steady rate, in a thread of their own, from `with` to its end."""

    def __init__(
        self, url: str, rate: float, users: list[User], *, kept: float = 2, verify: SSLContext | bool = True
    ) -> None:
        """`kept`: seconds for which an idle connection is kept; 0: each request has a connection of its own."""
        self.answers: list[Answer] = []
        self.surprises: list[str] = []
        self._url, self._users, self._kept, self._verify = url, users, kept, verify
        self._pause = len(users) / rate
        self._enough = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> "MixedTraffic":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()

    async def _run(self) -> None:
        # Connections are given up before the server does so (gunicorn: 5 s), or a request could meet a closing one.
        limits = httpx2.Limits(
            max_connections=None, max_keepalive_connections=50 if self._kept else 0, keepalive_expiry=self._kept
        )
        options: dict[str, Any] = {"limits": limits, "timeout": GIVE_UP, "trust_env": False, "verify": self._verify}
        async with (
            httpx2.AsyncClient(base_url=self._url, **options) as client,
            asyncio.TaskGroup() as users,
        ):
            for user in self._users:
                users.create_task(self._live(client, user))

    async def _live(self, client: httpx2.AsyncClient, user: User) -> None:
        await asyncio.sleep(user.random.random() * self._pause)
        while not self._enough.is_set():
            began = time.monotonic()
            await self._act(client, user)
            await asyncio.sleep(max(0, began + self._pause - time.monotonic()))
        # What is still open is settled before the books are closed.
        for _ in range(20):
            if not user.unanswered:
                break
            await self._create(client, user)

    async def _send(
        self, client: httpx2.AsyncClient, user: User, kind: str, method: str, path: str, **options: Any
    ) -> Answer:
        sent = time.monotonic()
        try:
            response = await client.request(method, path, headers=user.headers | options.pop("headers", {}), **options)
            answer = Answer(kind, sent, 0, response.status_code, "retry-after" in response.headers)
            if kind in ("create", "log in") and response.status_code < 300:
                answer.body = response.json()
        except httpx2.HTTPError:
            answer = Answer(kind, sent, 0, NO_ANSWER)
        answer.seconds = time.monotonic() - sent
        self.answers.append(answer)
        return answer

    def _unexpected(self, user: User, answer: Answer, what: str) -> None:
        self.surprises.append(f"{user.name}: {answer.kind} {what} -> {answer.status}")

    async def _act(self, client: httpx2.AsyncClient, user: User) -> None:
        """Six reads to four writes, and now and then a log-in."""
        kind = user.random.random()
        own = [nama for nama in user.ids if user.posts[nama] != {None}]
        if user.unanswered or 0.60 <= kind < (0.76 if own else 0.90):
            await self._create(client, user)
        elif kind < 0.45:
            await self._read(client, user, f"/posts/{user.random.randint(1, POSTS)}")
        elif kind < 0.55:
            await self._read(client, user, "/posts")
        elif kind < 0.60:
            await self._read(client, user, f"/users/{user.random.randint(1, READERS)}")
        elif kind < 0.84:
            await self._replace(client, user, user.random.choice(own))
        elif kind < 0.90:
            await self._delete(client, user, user.random.choice(own))
        elif kind < 0.99:
            await self._vote(client, user)
        else:
            await self._log_in(client, user)

    async def _read(self, client: httpx2.AsyncClient, user: User, path: str) -> None:
        answer = await self._send(client, user, "read", "GET", path)
        if answer.status not in (200, 503, NO_ANSWER):
            self._unexpected(user, answer, path)

    async def _create(self, client: httpx2.AsyncClient, user: User) -> None:
        if user.unanswered:
            body, key = user.unanswered
        else:
            number = len(user.posts)
            body = {
                "nama": f"{user.name} {number}",
                "umur": user.random.randint(1, 90),
                "alamat": f"Jl. Melati {number}",
            }
            key = f"{user.name}-{number}" if number % 2 == 0 else ""
        nama, state = str(body["nama"]), (int(body["umur"]), str(body["alamat"]))
        answer = await self._send(
            client, user, "create", "POST", "/posts", json=body, headers={"Idempotency-Key": key} if key else {}
        )
        if answer.status == 201:
            user.posts[nama], user.ids[nama], user.unanswered = {state}, answer.body["id"], None
        else:
            before = user.posts.get(nama, {None})  # sent again, it may have been done the first time
            user.posts[nama] = before | {state} if answer.status in MAY_BE else before
            user.unanswered = (body, key) if key else None
            if answer.status not in (503, *MAY_BE):
                self._unexpected(user, answer, nama)

    async def _replace(self, client: httpx2.AsyncClient, user: User, nama: str) -> None:
        state = (user.random.randint(1, 90), f"Jl. Kenanga {user.random.randint(1, 999)}")
        body = {"nama": nama, "umur": state[0], "alamat": state[1]}
        answer = await self._send(client, user, "replace", "PUT", f"/posts/{user.ids[nama]}", json=body)
        if answer.status == 200:
            user.posts[nama] = {state}
        elif answer.status == 404 and None in user.posts[nama]:
            user.posts[nama] = {None}
        elif answer.status in MAY_BE:
            user.posts[nama].add(state)
        elif answer.status != 503:
            self._unexpected(user, answer, nama)

    async def _delete(self, client: httpx2.AsyncClient, user: User, nama: str) -> None:
        answer = await self._send(client, user, "delete", "DELETE", f"/posts/{user.ids[nama]}")
        if answer.status == 204 or (answer.status == 404 and None in user.posts[nama]):
            user.posts[nama] = {None}
        elif answer.status in MAY_BE:
            user.posts[nama].add(None)
        elif answer.status != 503:
            self._unexpected(user, answer, nama)

    async def _vote(self, client: httpx2.AsyncClient, user: User) -> None:
        # Of a few, so that votes are taken back as well.
        post = user.random.randint(1, 30)
        before = user.votes.setdefault(post, {False})
        wanted = True not in before
        answer = await self._send(client, user, "vote", "POST", "/vote", json={"post_id": post, "dir": int(wanted)})
        # 409: voted already, 404: no vote to take back. Both are right only where the last answer was lost.
        done_before = answer.status == (409 if wanted else 404) and wanted in before
        if answer.status == 201 or done_before:
            user.votes[post] = {wanted}
        elif answer.status in MAY_BE:
            user.votes[post] = before | {wanted}
        elif answer.status != 503:
            self._unexpected(user, answer, f"{post} {before}")

    async def _log_in(self, client: httpx2.AsyncClient, user: User) -> None:
        form = {"username": user.email, "password": "rahasia-123"}
        answer = await self._send(client, user, "log in", "POST", "/login", data=form)
        if answer.status == 200:
            user.headers = {"Authorization": f"Bearer {answer.body['access_token']}"}
        elif answer.status not in (503, *MAY_BE):
            self._unexpected(user, answer, user.email)


@dataclass
class Sample:
    """The memory of each worker in MiB at one moment (time.monotonic())."""

    time: float
    memory: list[float]


class Watch:
    """Looks at the workers' memory every few seconds, from `with` to its end."""

    def __init__(self, stack: Stack) -> None:
        self.samples: list[Sample] = []
        self._stack = stack
        self._code = (REPOSITORY / "tests/load/memory.py").read_text()
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            printed = self._stack.run("docker", "compose", "exec", "-T", "api", "python3", "-c", self._code)
            if printed.returncode == 0:
                self.samples.append(Sample(time.monotonic(), json.loads(printed.stdout)))
            if self._enough.wait(SAMPLE):
                return


def fill(stack: Stack) -> None:
    """Give the database the rows that readers ask for, and no others."""
    stack.sql(_FILL, user="postgres")
    stack.sql("ANALYZE")


def connections(stack: Stack) -> dict[str, int]:
    """Return the number of the API's connections by state."""
    lines = stack.sql(
        "SELECT coalesce(state, 'unknown'), count(*) FROM pg_stat_activity WHERE usename = 'tangga_app' GROUP BY 1"
    )
    return {state: int(count) for state, count in (line.split("|") for line in lines.splitlines())}


def lost_writes(stack: Stack, users: list[User]) -> list[str]:
    """Compare the database with the books, row by row."""
    rows: dict[str, list[State]] = {}
    names = [(name, json.loads(row)) for name, row in (
        line.split("|", 1) for line in stack.sql(
            "SELECT nama, json_build_array(umur, alamat) FROM posts WHERE nama NOT LIKE 'Post %'"
        ).splitlines()
    )]  # fmt: skip
    for name, (umur, alamat) in names:
        rows.setdefault(name, []).append((umur, alamat))
    votes = set(stack.sql("SELECT email, post_id FROM votes JOIN users ON id = user_id").splitlines())
    wrong = []
    for user in users:
        for nama, allowed in user.posts.items():
            found = rows.pop(nama, [])
            if len(found) > 1:
                wrong.append(f"post {nama!r} is there {len(found)} times")
            elif (found[0] if found else None) not in allowed:
                wrong.append(f"post {nama!r} is {found[0] if found else None}, not {allowed}")
        for post, possible in user.votes.items():
            if (f"{user.email}|{post}" in votes) not in possible:
                wrong.append(f"vote of {user.email} for {post}: not {possible}")
            votes.discard(f"{user.email}|{post}")
    wrong += [f"post {nama!r} is there, nobody made it" for nama in rows]
    wrong += [f"vote {vote} is there, nobody cast it" for vote in votes]
    return wrong


def keep_connections(stack: Stack) -> None:
    """Have the API leave idle connections open for minutes: on a busy machine, a client is late to give them up."""
    file = stack.folder / "kept.yaml"
    file.write_text('services: { api: { environment: { KEEPALIVE: "600" } } }\n')
    stack.env["COMPOSE_FILE"] = f"compose.yaml:{file.name}"


def kill_database(stack: Stack, down: float) -> tuple[float, float]:
    """SIGKILL, some seconds of nothing, and up again; return when it went and when the API answered again."""
    began = time.monotonic()
    stack.compose("kill", "--signal", "KILL", "db")
    time.sleep(down)
    stack.compose("start", "db")
    wait_for(lambda: stack.run("docker", "compose", "exec", "-T", "db", "psql", "-XqAtc", "SELECT 1", "-U", "postgres",
                               "-d", "tangga").returncode == 0, "the database")  # fmt: skip
    back = time.monotonic()
    wait_for(lambda: stack.get("/posts").status_code == 200, "the API to answer again")
    again = time.monotonic()
    soon = "ok" if again - back <= RECOVERY else "ABOVE"
    print(f"database back {back - began:.1f} s later; the API {again - back:.1f} s after it   <= {RECOVERY:g} {soon}")
    return began, again


def late(answer: Answer) -> bool:
    """Tell whether it is a log-in that was given up: hashing gives way to whatever else a busy machine does."""
    return answer.kind == "log in" and answer.status in MAY_BE and answer.seconds >= GIVE_UP


class Growth(NamedTuple):
    """A worker's memory in MiB in the beginning and at the end, and the minutes between."""

    begin: float
    end: float
    minutes: float

    @property
    def slope(self) -> float:
        """MiB a minute."""
        return (self.end - self.begin) / self.minutes if self.minutes else 0

    @property
    def too_much(self) -> bool:
        """Tell whether it has grown by more than it may."""
        return self.end > self.begin + (MEMORY_SLACK if self.minutes >= WARM_MINUTES else MEMORY_SLACK_SOON)


def growth(samples: list[Sample]) -> Growth:
    """Return how a worker's memory has grown.

    The first fifth is warming up. Medians of quarters, since a worker that was replaced starts small; of two samples
    the lower one, since what a password takes while it is looked at is given back.
    """
    points = [(each.time, sum(each.memory) / len(each.memory)) for each in samples if each.memory]
    points = points[len(points) // 5 :]
    quarter = max(2, len(points) // 4)
    first, last = points[:quarter], points[-quarter:]
    minutes = (median(t for t, _ in last) - median(t for t, _ in first)) / 60
    return Growth(median_low(m for _, m in first), median_low(m for _, m in last), minutes)


def verdict(
    answers: list[Answer], surprises: list[str], outage: tuple[float, float] | None, grown: Growth | None
) -> list[str]:
    """Return what was not as it should be, about answers, and about memory if somebody has looked at it."""

    def during(answer: Answer) -> bool:
        return bool(outage) and answer.sent + answer.seconds >= outage[0] and answer.sent <= outage[1] + RECOVERY  # type: ignore[index]

    answers = [answer for answer in answers if not late(answer)]
    wrong = [f"an answer that the books do not allow: {each}" for each in surprises]
    outage_only = (503, *MAY_BE)
    outside = Counter((a.kind, a.status) for a in answers if a.status in outage_only and not during(a))
    wrong += [
        f"{count} times {status or 'no answer'} to {kind}, and no outage" for (kind, status), count in outside.items()
    ]
    unanswered = Counter(a.kind for a in answers if a.status == NO_ANSWER and during(a))
    wrong += [
        f"{count} times no answer to {kind} in the outage: it must be 503 or 504" for kind, count in unanswered.items()
    ]
    bare = sum(a.status == 503 and not a.retry_after for a in answers)
    if bare:
        wrong.append(f"{bare} times 503 without Retry-After")
    if grown and grown.too_much:
        wrong.append(
            f"a worker's memory grew from {grown.begin:.1f} to {grown.end:.1f} MiB ({grown.slope:.2f} a minute)"
        )
    return wrong


def measure(stack: Stack, minutes: float, rate: float, users: int, kill: bool) -> list[str]:
    """Hold the traffic, print what was seen, and return what was wrong."""
    print("making a stack of its own", flush=True)
    keep_connections(stack)
    stack.make("up", WEB_CONCURRENCY="2")
    fill(stack)
    people = [
        User(f"u{n}", f"u{n}@example.com", stack.log_in(f"u{n}@example.com"), random.Random(n)) for n in range(users)
    ]
    environment = json.loads(stack.compose("config", "--format", "json"))["services"]["api"]["environment"]
    pool = int(environment["DB_POOL_SIZE"]) * 2
    print(f"{users} users, {rate:g} requests a second, {minutes:g} minutes", flush=True)
    outage = None
    with Watch(stack) as watch, MixedTraffic(stack.url, rate, people) as traffic:
        began = time.monotonic()
        end = began + minutes * 60
        time.sleep(minutes * 30)
        if kill:
            outage = kill_database(stack, 3)
            print(f"database killed after {outage[0] - began:.0f} s", flush=True)
        time.sleep(max(RECOVERY + 5, end - time.monotonic()))
    grown = growth(watch.samples)
    with suppress(AssertionError):  # the last probe of the API's health may be under way
        wait_for(lambda: set(connections(stack)) <= {"idle"}, "idle connections")
    states = connections(stack)
    lost = lost_writes(stack, people)
    wrong = verdict(traffic.answers, traffic.surprises, outage, grown)
    wrong += [f"a write was lost or done twice: {each}" for each in lost]
    if sum(states.values()) > pool or set(states) - {"idle"}:
        wrong.append(f"connections leaked: {states}, {pool} are the pools' size")
    _print(traffic.answers, people, grown, states, pool, lost)
    return wrong


def _print(
    answers: list[Answer],
    users: list[User],
    grown: Growth,
    states: dict[str, int],
    pool: int,
    lost: list[str],
) -> None:
    print(f"\n{'request':<10}{'sent':>8}{'p50, ms':>9}{'p99, ms':>9}{'slowest, s':>12}  answers by status")
    for kind in KINDS:
        of = [a for a in answers if a.kind == kind]
        if not of:
            continue
        seconds = sorted(a.seconds for a in of)
        statuses = Counter(a.status or "none" for a in of)
        print(
            f"{kind:<10}{len(of):>8}{seconds[len(of) // 2] * 1000:>9.1f}{seconds[int(len(of) * 0.99)] * 1000:>9.1f}"
            f"{seconds[-1]:>12.2f}  {', '.join(f'{s}: {n}' for s, n in sorted(statuses.items(), key=str))}"
        )
    open_states = sum(len(states) > 1 for user in users for states in user.posts.values())
    begin = f"{grown.begin:.1f} MiB in the beginning"
    print(f"\nmemory of a worker    {begin}, {grown.end:.1f} at the end: {grown.slope:+.2f} a minute")
    print(f"connections           {sum(states.values())} of {pool}: {states}")
    writes = sum(len(user.posts) + len(user.votes) for user in users)
    print(f"rows looked for       {writes} ({open_states} whose last write got no answer), {len(lost)} wrong")


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/loadtest.sh", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long (10)")
    parser.add_argument("--rate", type=float, default=40, help="requests a second (40)")
    parser.add_argument("--users", type=int, default=20, help="virtual users, one request at a time each (20)")
    parser.add_argument("--no-kill", action="store_true", help="leave the database alone")
    options = parser.parse_args()
    # docker stop, kill: clean up as on Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="tangga-loadtest-") as folder:
        copy_tree(Path(folder))
        stack = Stack(Path(folder), f"tangga-loadtest-{os.getpid()}")
        try:
            wrong = measure(stack, options.minutes, options.rate, options.users, not options.no_kill)
        except AssertionError as problem:
            raise SystemExit(f"error: {problem}") from None
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        finally:
            stack.remove()
    if wrong:
        raise SystemExit("\n".join(["", *(f"error: {line}" for line in wrong[:30])]))
    print("\nNo acknowledged write lost, none done twice, no answer that should not have been.")


if __name__ == "__main__":
    main()
