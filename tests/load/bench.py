"""The API beside a tutorial-style baseline, raw psycopg2, a constant answer and pgbench: in turns, in one run.

Run by scripts/bench.sh, which says what it needs. Exits with 1 if an answer was wrong or missing; a target that is
missed is printed, and is a failure with --strict.
"""

import argparse
import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import argon2

from services.api.posts import cursor
from tests.load import bench_report as report
from tests.load.baseline import statements

PROJECT = Path(__file__).parents[2]
PASSWORD = "rahasia-123"
TOKENS = 8
DEEP = 0.9  # share of the table that lies before the deep page
APPS = ("api", "baseline", "course", "raw", "constant", "api-large")
STATEMENT_REQUESTS = 50
_FILL = """
SET session_replication_role = replica; -- foreign keys hold by construction
INSERT INTO users (email, password)
SELECT 'user' || n || '@example.com', '{password}' FROM generate_series(1, {users}) n;
INSERT INTO posts (nama, umur, alamat, no_hp, owner_id)
SELECT 'Post ' || n, n % 90, 'Jl. Melati ' || n, '0812' || n, 1 + n % {users} FROM generate_series(1, {posts}) n;
INSERT INTO votes (user_id, post_id)
SELECT 1 + (n * 31 + k * 17) % {users}, n FROM generate_series(1, {posts}) n, generate_series(1, 5) k;
"""


class Bench:
    """The containers, and what is asked of them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.sizes: dict[str, int] = {"small": options.posts}
        if not options.quick:
            self.sizes["large"] = options.large
        self.turns: list[dict[str, Any]] = []
        self.wrong: list[str] = []
        self.ids: dict[str, str] = {}
        self.tokens: dict[str, list[str]] = {}

    # -- containers ------------------------------------------------------------------------------------------------

    def docker(self, *command: str, stdin: str = "") -> str:
        """Run docker; return what it printed, or end with what it said."""
        result = subprocess.run(
            ["docker", *command], cwd=PROJECT, input=stdin, capture_output=True, text=True, check=False
        )
        if result.returncode:
            raise SystemExit(f"error: docker {' '.join(command)[:200]} -> {result.returncode}\n{result.stderr[-2000:]}")
        return result.stdout

    def compose(self, *command: str, stdin: str = "") -> str:
        return self.docker("compose", "--progress", "quiet", "--profile", "bench", *command, stdin=stdin)

    def inside(self, service: str, *command: str, stdin: str = "", detached: bool = False) -> str:
        """Run a command in a service's container."""
        return self.docker(
            "exec", "--detach" if detached else "--interactive", self.ids[service], *command, stdin=stdin
        )

    def sql(self, database: str, query: str) -> str:
        return self.inside(
            "db", "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, stdin=query
        ).strip()

    def users(self, database: str) -> int:
        return self.sizes[database] // 10

    def apps(self) -> list[str]:
        return [app for app in APPS if app != "api-large" or "large" in self.sizes]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Build the images, start the server, make the data, start the apps; take all down in the end but the data."""
        say("building the images")
        self.compose("build", "migrate", "load")
        try:
            if self.options.rebuild:
                self.compose("down", "--volumes")
            self.compose("up", "--detach", "--wait", "db", "load")
            self._find_ids("db", "load")
            for database, posts in self.sizes.items():
                self._make_data(database, posts)
            self._make_course()
            self.compose("up", "--detach", "--wait", "--force-recreate", *self.apps())
            self._find_ids(*self.apps())
            yield
        finally:
            self.compose("down", "--timeout", "2")

    def _find_ids(self, *services: str) -> None:
        for service in services:
            self.ids[service] = self.compose("ps", "--quiet", service).strip()

    def _make_data(self, database: str, posts: int) -> None:
        wanted = f"made by make bench: {posts} posts"
        found = self.sql(
            "tangga", f"SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{database}'"
        )
        began = time.monotonic()
        if found != wanted:
            say(f"making the data set {database}: {posts:,} posts")
            self.sql("postgres", f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
            owner, app = self._roles()
            self.sql("postgres", f"CREATE DATABASE {database} TEMPLATE tangga OWNER {owner}")
            self.sql(
                "postgres",
                f"REVOKE ALL ON DATABASE {database} FROM PUBLIC; GRANT CONNECT ON DATABASE {database} TO {app}",
            )
        self.compose(
            "run", "--rm", "--no-deps", "-T", "-e", f"DB_NAME={database}", "migrate", "alembic", "upgrade", "head"
        )
        if found != wanted:
            password = argon2.PasswordHasher().hash(PASSWORD)
            self.sql(database, _FILL.format(posts=posts, users=self.users(database), password=password))
            self.sql(database, "VACUUM (ANALYZE)")
            self.sql("postgres", f"COMMENT ON DATABASE {database} IS '{wanted}'; CHECKPOINT")
            say(f"  took {time.monotonic() - began:.0f} s")
        self.tidy(database)

    def _make_course(self) -> None:
        """A copy of the small one, on the tables as the course has them: the steps after v6 add what it lacks."""
        owner, app = self._roles()
        self.sql("postgres", "DROP DATABASE IF EXISTS course WITH (FORCE)")
        self.sql("postgres", f"CREATE DATABASE course TEMPLATE small OWNER {owner}")
        self.sql("postgres", f"REVOKE ALL ON DATABASE course FROM PUBLIC; GRANT CONNECT ON DATABASE course TO {app}")
        self.sql("course", "DROP INDEX IF EXISTS ix_votes_post_id")
        self.sql("course", "VACUUM (ANALYZE)")

    def _roles(self) -> tuple[str, str]:
        environment = json.loads(self.compose("config", "--format", "json"))["services"]["db"]["environment"]
        return environment["DB_OWNER_USERNAME"], environment["DB_USERNAME"]

    def tidy(self, database: str) -> None:
        """Delete what was created, so that every round finds the same table."""
        self.sql(database, f"DELETE FROM posts WHERE id > {self.sizes['small' if database == 'course' else database]}")
        self.sql(database, "VACUUM (ANALYZE) posts")

    # -- requests --------------------------------------------------------------------------------------------------

    def ask(self, *requests: dict[str, Any]) -> list[dict[str, Any]]:
        """Send these, one after another, from inside the network."""
        answers: list[dict[str, Any]] = json.loads(
            self.inside("load", "python3", "-m", "tests.load.client", stdin=json.dumps(requests))
        )
        return answers

    def log_in(self) -> None:
        for app in ("api", "baseline", "course"):
            answers = self.ask(*(
                {
                    "method": "POST", "url": f"http://{app}:8000/login",
                    "body": f"username=user{n}@example.com&password={PASSWORD}",
                    "headers": {"Content-Type": "application/x-www-form-urlencoded"},
                }
                for n in range(1, TOKENS + 1)
            ))  # fmt: skip
            self.tokens[app] = [json.loads(answer["body"])["access_token"] for answer in answers]

    def bearer(self, app: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[app][0]}"} if app in self.tokens else {}

    def wrk(
        self, app: str, kind: str, path: str, token: bool = False, connections: int = 32, seconds: int | None = None
    ) -> dict[str, Any]:
        """One turn of the load generator: a closed loop on keep-alive connections."""
        process = self.start_wrk(app, kind, path, token, connections, seconds)
        return finish_wrk(process)

    def start_wrk(
        self, app: str, kind: str, path: str, token: bool = False, connections: int = 32, seconds: int | None = None
    ) -> subprocess.Popen[str]:
        posts = self.sizes["large" if app == "api-large" else "small"]
        ids = posts // 10 if kind == "login" else posts
        return subprocess.Popen(
            [
                "docker", "exec", self.ids["load"], "wrk", "--threads", "1", "--connections", str(connections),
                "--duration", f"{seconds or self.options.seconds}s", "--timeout", "20s", "--latency",
                "--script", "tests/load/requests.lua", f"http://{app}:8000", "--", kind, path, str(ids),
                *(self.tokens[app] if token else []),
            ],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def turn(
        self, route: str, app: str, kind: str, path: str, *, round_: int, token: bool = False, connections: int = 32,
        seconds: int | None = None, may_fail: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        """Take a turn and note it; round 0 is the warm-up."""
        result = self.wrk(app, kind, path, token, connections, seconds if round_ else 1)
        return self.note(route, app, round_, result, connections, may_fail)

    def note(
        self, route: str, app: str, round_: int, result: dict[str, Any], connections: int = 32, may_fail: bool = False
    ) -> dict[str, Any]:
        result |= {"route": route, "app": app, "connections": connections}
        result["failed"] = result["no_answer"] + result["timeouts"] + sum(
            count for status, count in result["statuses"].items() if status not in ("200", "201")
        )  # fmt: skip
        if round_:
            self.turns.append({"round": round_} | result)
        if result["failed"] and not may_fail:
            self.wrong.append(
                f"{route}, {app}, {connections} connections: {result['failed']} failed: {result['statuses']}"
            )
        return result

    def pgbench(self, route: str, statement: str, round_: int) -> None:
        """The same statement, prepared, from PostgreSQL's own load generator: the database's limit."""
        script = statements.for_pgbench(statement, self.sizes["small"], self.users("small"))
        self.inside("db", "sh", "-c", "cat >/tmp/pgbench.sql", stdin=script)
        printed = self.inside(
            "db", "pgbench", "-n", "-M", "prepared", "-f", "/tmp/pgbench.sql", "-c", "10", "-j", "1",
            "-T", str(self.options.seconds if round_ else 1), "-U", "postgres", "small",
        )  # fmt: skip
        found = re.search(r"tps = ([\d.]+)", printed)
        latency = re.search(r"latency average = ([\d.]+) ms", printed)
        assert found, printed
        assert latency, printed
        if round_:
            self.turns.append(
                {"round": round_, "route": route, "app": "pgbench", "connections": 10, "rate": float(found[1]),
                 "p50": float(latency[1]), "failed": 0}
            )  # fmt: skip

    # -- what is measured ------------------------------------------------------------------------------------------

    def rates(self, round_: int) -> None:
        """Every route by every contender, in an order that rotates."""
        posts = "/posts/%d"
        turns: list[Any] = [
            lambda: self.turn("GET by id, public", "api", "get", posts, round_=round_),
            lambda: self.turn("GET by id, public", "baseline", "get", "/public" + posts, round_=round_),
            lambda: self.turn("GET by id, public", "raw", "get", posts, round_=round_),
            lambda: self.turn("GET by id, public", "constant", "get", posts, round_=round_),
            lambda: self.pgbench("GET by id, public", statements.GET, round_),
        ]
        turns += [
            lambda app=app: self.turn("GET by id, token", app, "get", posts, token=True, round_=round_)
            for app in ("api", "baseline", "course")
        ]
        turns += [
            lambda app=app: self.turn("list of 10, token", app, "get", "/posts", token=app != "raw", round_=round_)
            for app in ("api", "baseline", "course", "raw")
        ]
        turns += [lambda: self.pgbench("list of 10, token", statements.LIST, round_)]
        for turn in rotated(turns, round_):
            turn()
        # Last, since they let the table grow.
        creates: list[Any] = [
            lambda app=app: self.turn("create, token", app, "create", "/posts", token=True, round_=round_)
            for app in ("api", "baseline", "course")
        ]
        creates += [lambda: self.pgbench("create, token", statements.CREATE, round_)]
        for turn in rotated(creates, round_):
            turn()
        self.tidy("small")
        self.tidy("course")

    def growth(self, round_: int) -> None:
        """The same pages on the small table and on the large one, on one connection: what one client waits."""
        if "large" not in self.sizes:
            return
        deep = int(self.sizes["large"] * DEEP)
        if not round_:
            self.deep_page = self._page_after(deep)
        seconds = max(2, self.options.seconds // 2)
        for route, app, path in rotated(
            [
                ("page of 10, small table", "api", "/posts"),
                ("page of 10, large table", "api-large", "/posts"),
                ("keyset page, deep", "api-large", self.deep_page),
                ("OFFSET page, deep", "api-large", f"/posts?skip={deep}"),
            ],
            round_,
        ):
            # An OFFSET page may take longer than a statement may.
            self.turn(
                route, app, "get", path, round_=round_, connections=1, seconds=seconds, may_fail="OFFSET" in route
            )
        self.turn("GET by id, large table", "api-large", "get", "/posts/%d", round_=round_)

    def _page_after(self, deep: int) -> str:
        """The page after so many rows, as the API's own links name it."""
        last = self.sizes["large"] - deep + 1  # newest first, and no id is missing
        path = f"/posts?limit=10&after={cursor.encode(last)}"
        answer = self.ask({"url": f"http://api-large:8000{path}"})[0]
        if answer["status"] != 200 or json.loads(answer["body"])[0]["id"] != last - 1:
            self.wrong.append(f"{path}: {answer['status']} {answer['body'][:200]}")
        return path

    def connections(self, round_: int) -> None:
        """32, 256 and 1,000 connections on routes with a token."""
        if not round_:
            return
        # Opening 1,000 connections takes a while.
        seconds, counts = (self.options.seconds, [32, 256]) if self.options.quick else (8, [32, 256, 1000])
        for count in rotated(counts, round_):
            for route, kind, path in (("GET by id, token", "get", "/posts/%d"), ("create, token", "create", "/posts")):
                self.turn(
                    f"{route}, many", "api", kind, path, token=True, round_=round_, connections=count, seconds=seconds
                )
        self.tidy("small")
        for count in counts:
            route = "GET by id, token, many"
            self.turn(
                route, "baseline", "get", "/posts/%d", token=True, round_=round_, connections=count, seconds=seconds,
                may_fail=True,
            )  # fmt: skip
            if count > 32:
                # What hangs in it would spoil the next turn.
                self.compose("restart", "--timeout", "0", "baseline")
                self.compose("up", "--detach", "--wait", "--no-recreate", "baseline")

    def neighbours(self, round_: int) -> None:
        """GET by id alone, beside one client whose every request waits 2 s for a lock, beside a storm of log-ins."""
        if not round_:
            return
        # Some of the 2 s waits must fit.
        seconds = 3 if self.options.quick else 5

        def alone() -> None:
            self.turn("GET by id, alone", "api", "get", "/posts/%d", round_=round_, seconds=seconds)

        def beside_lock() -> None:
            # Owned by user 1, whose token is the first.
            locked = self.users("small")
            hold = f"BEGIN; SELECT id FROM posts WHERE id = {locked} FOR UPDATE; SELECT pg_sleep(2); COMMIT;\n"
            psql = ["docker", "exec", "-i", self.ids["db"], "psql", "-XqAt", "-U", "postgres", "-d", "small"]
            with subprocess.Popen(psql, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as holder:
                assert holder.stdin
                holder.stdin.write(hold * (int(seconds // 2) + 2))
                holder.stdin.close()
                body = json.dumps({"nama": "Ani", "umur": 1, "alamat": ""})
                slow = subprocess.Popen(
                    ["docker", "exec", "-i", self.ids["load"], "python3", "-m", "tests.load.client"],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                )  # fmt: skip
                assert slow.stdin
                assert slow.stdout
                headers = self.bearer("api") | {"Content-Type": "application/json"}
                url = f"http://api:8000/posts/{locked}"
                request = {"method": "PUT", "url": url, "body": body, "headers": headers, "repeat_for": seconds}
                slow.stdin.write(json.dumps([request]))
                slow.stdin.close()
                time.sleep(0.5)
                result = self.wrk("api", "get", "/posts/%d", seconds=seconds)
                answers = json.loads(slow.stdout.read())
                slow.wait()
            waits = [answer["seconds"] for answer in answers]
            if max(waits) < 1.5 or any(answer["status"] != 200 for answer in answers):
                self.wrong.append(
                    f"the slow client did not wait, or failed: {[(a['status'], a['seconds']) for a in answers]}"
                )
            self.note("GET by id, beside a 2 s statement", "api", round_, result | {"slow": max(waits)})

        def beside_storm() -> None:
            storm = self.start_wrk("api", "login", "/login", seconds=seconds + 1)
            time.sleep(0.5)
            result = self.wrk("api", "get", "/posts/%d", seconds=seconds)
            logins = finish_wrk(storm)
            unexpected = {s: n for s, n in logins["statuses"].items() if s not in ("200", "401", "429", "503")}
            if unexpected or logins["no_answer"] or logins["timeouts"]:
                self.wrong.append(f"log-in storm: {logins}")
            result["log_ins"] = logins["statuses"].get("200", 0) / logins["seconds"]
            result["storm"] = logins["statuses"]
            self.note("GET by id, beside a log-in storm", "api", round_, result)

        for measure in rotated([alone, beside_lock, beside_storm], round_):
            measure()

    def start_up(self, round_: int) -> None:
        """From exec to the first 200, in a container that is up already."""
        if not round_:
            return
        code = (PROJECT / "tests/load/first_answer.py").read_text()
        commands = {
            "api": ["/posts/1", "gunicorn", "--config", "services/api/gunicorn.conf.py", "services.api.main:app"],
            "baseline": [
                "/public/posts/1",
                "gunicorn",
                "--config",
                "tests/load/baseline/gunicorn.conf.py",
                "tests.load.baseline.course:app",
            ],
        }
        for app, command in rotated(list(commands.items()), round_):
            milliseconds = self.inside(app, "python3", "-c", code, *command)
            self.turns.append({"round": round_, "route": "start-up", "app": app, "ms": int(milliseconds), "failed": 0})

    def memory(self) -> dict[str, list[float]]:
        """PSS of each worker in MiB."""
        code = (PROJECT / "tests/load/memory.py").read_text()
        return {app: json.loads(self.inside(app, "python3", "-c", code)) for app in ("api", "baseline")}

    def hash_seconds(self) -> float:
        """Processor time of checking one password, in the API's container."""
        code = (
            "import time; from argon2 import PasswordHasher; h = PasswordHasher().hash; h('x'); "
            "b = time.process_time(); [h('x') for _ in range(5)]; print((time.process_time() - b) / 5)"
        )
        return float(self.inside("api", "python3", "-c", code))

    def hash_of_nobody(self) -> list[float]:
        """Processor time of a log-in of nobody, by that of somebody: it must not tell who has an account."""
        code = (
            "import json, time\n"
            "from services.api.auth.password import hash_password, password_matches\n"
            "somebody = hash_password('x')\n"
            "def spent(stored):\n"
            "    begun = time.process_time(); password_matches('y', stored); return time.process_time() - begun\n"
            "print(json.dumps([spent(None) / spent(somebody) for _ in range(5)]))"
        )
        ratios: list[float] = json.loads(self.inside("api", "python3", "-c", code))
        return ratios

    def count_statements(self) -> dict[str, Any]:
        """What PostgreSQL itself logs while one route is asked a number of times, and nothing else runs."""
        self.sql("postgres", "ALTER SYSTEM SET log_statement = 'all'")
        self.sql("postgres", "ALTER SYSTEM SET log_line_prefix = '[%a] '; SELECT pg_reload_conf()")
        time.sleep(0.5)
        found: dict[str, Any] = {}
        body = json.dumps({"nama": "Ani", "umur": 1, "alamat": ""})
        try:
            for app in ("api", "baseline"):
                routes = {
                    "GET by id, token": {"url": "/posts/{n}"},
                    "list of 10, token": {"url": "/posts"},
                    "create, token": {"method": "POST", "url": "/posts", "body": body},
                }
                for route, request in routes.items():
                    requests = [
                        request | {
                            "url": f"http://{app}:8000" + request["url"].format(n=n + 1),
                            "headers": self.bearer(app) | {"Content-Type": "application/json"},
                        }
                        for n in range(STATEMENT_REQUESTS)
                    ]  # fmt: skip
                    lines = self._logged(requests)
                    found.setdefault(route, {})[app] = {
                        "per request": len(lines) / STATEMENT_REQUESTS,
                        "kinds": sorted({line.split(":", 1)[-1].split()[0].upper() for line in lines}),
                        "first": lines[: round(len(lines) / STATEMENT_REQUESTS)],
                    }
                # The next one's list must not be of one owner's posts only.
                self.tidy("small")
        finally:
            self.sql("postgres", "ALTER SYSTEM RESET log_statement")
            self.sql("postgres", "ALTER SYSTEM RESET log_line_prefix; SELECT pg_reload_conf()")
        return found

    def _logged(self, requests: Sequence[dict[str, Any]]) -> list[str]:
        """Ask, and return the statements that the server logged meanwhile."""
        marker = f"bench-{uuid4().hex}"
        since = (datetime.now(UTC) - timedelta(seconds=2)).isoformat()
        self.sql("postgres", f"SELECT 'begin {marker}'")
        for answer in self.ask(*requests):
            if answer["status"] not in (200, 201):
                self.wrong.append(f"{requests[0]['url']}: {answer['status']} {answer['body'][:200]}")
        self.sql("postgres", f"SELECT 'end {marker}'")

        def log() -> str:
            result = subprocess.run(
                ["docker", "logs", "--since", since, self.ids["db"]],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True,
            )  # fmt: skip
            return result.stdout

        text = log()
        for _ in range(50):
            if f"end {marker}" in text:
                break
            time.sleep(0.1)
            text = log()
        between = text.split(f"begin {marker}")[1].split(f"end {marker}")[0]
        pattern = r"^\[(?!psql)[^\]]*\] LOG:  (?:statement|execute [^:]*): (.*)$"
        return re.findall(pattern, between, re.M)

    def compare_answers(self) -> None:
        """The same bodies from every app that answers a route."""
        chosen = random.Random(1).sample(range(1, self.sizes["small"] + 1), 20)
        paths = [f"/posts/{n}" for n in chosen] + ["/posts"]
        bodies = {}
        for app in ("api", "baseline", "raw"):
            headers = self.bearer(app)
            answers = self.ask(*({"url": f"http://{app}:8000{path}", "headers": headers} for path in paths))
            bodies[app] = [normal(json.loads(a["body"])) if a["status"] == 200 else a["status"] for a in answers]
        for app in ("baseline", "raw"):
            for path, theirs, ours in zip(paths, bodies[app], bodies["api"], strict=True):
                if theirs != ours:
                    self.wrong.append(f"{path}: {app} answers {theirs}, the API {ours}"[:600])

    def how(self) -> dict[str, Any]:
        """Where and with what it was measured."""
        cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) if sys.platform == "linux" else None
        return {
            "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "cores": os.cpu_count(),
            "processor": cpu[1] if cpu else platform.processor(),
            "load before": round(os.getloadavg()[0], 1),
            "machine": platform.platform(),
            "engine": self.docker("version", "--format", "{{.Server.Version}}").strip(),
            "PostgreSQL": self.sql("postgres", "SHOW server_version").split()[0],
            "Python": self.inside("api", "python3", "-c", "import platform; print(platform.python_version())").strip(),
            "packages": self.inside(
                "api", "python3", "-c",
                "from importlib.metadata import version as v; "
                "print(*(f'{n} {v(n)}' for n in ('fastapi', 'gunicorn', 'sqlalchemy', 'psycopg2-binary')), sep=', ')",
            ).strip(),
            "load generator": "wrk " + self.inside("load", "sh", "-c", "wrk -v | head -n 1").split()[1],
            "posts, small": self.sizes["small"],
            "posts, large": self.sizes.get("large", 0),
            "rounds": self.options.rounds,
            "seconds a turn": self.options.seconds,
        }  # fmt: skip

    def measure(self) -> dict[str, Any]:
        how = self.how()
        for name, value in how.items():
            say(f"{name:<22}{value}")
        self.log_in()
        self.compare_answers()
        at_work: dict[str, list[float]] = {}
        for round_ in range(1 if self.options.quick else 0, self.options.rounds + 1):
            began = time.monotonic()
            self.rates(round_)
            # Before the baseline is restarted, and while nobody hashes: a password takes 64 MiB while it is looked at.
            at_work = at_work or self.memory()
            self.growth(round_)
            self.neighbours(round_)
            if not self.options.quick or round_ == 1:
                self.connections(round_)
            self.start_up(round_)
            name = f"round {round_} of {self.options.rounds}" if round_ else "warm-up"
            say(f"{name:<22}{time.monotonic() - began:.0f} s")
        return {
            "how": how,
            "turns": self.turns,
            "statements": self.count_statements(),
            "memory": at_work,
            "memory in the end": self.memory(),
            "hash seconds": self.hash_seconds(),
            "hash of nobody": self.hash_of_nobody(),
            "wrong": self.wrong,
        }


def finish_wrk(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Return what the load generator counted."""
    printed, _ = process.communicate()
    line = next((line for line in printed.splitlines() if line.startswith("{")), None)
    if process.returncode or line is None:
        raise SystemExit(f"error: wrk -> {process.returncode}\n{printed}")
    result: dict[str, Any] = json.loads(line)
    for name in ("p50", "p99", "max"):
        result[name] /= 1000
    result["rate"] = result["requests"] / result["seconds"]
    return result


def normal(body: Any) -> Any:
    """Times as times, however they are written."""
    if isinstance(body, list):
        return [normal(each) for each in body]
    if isinstance(body, dict):
        return {
            name: datetime.fromisoformat(value) if name == "created_at" else normal(value)
            for name, value in body.items()
        }
    return body


def rotated(turns: Sequence[Any], by: int) -> list[Any]:
    """Each round begins with another one."""
    by %= len(turns)
    return [*turns[by:], *turns[:by]]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench.sh", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds, after one to warm up (5)")
    parser.add_argument("--seconds", type=int, default=3, help="seconds a turn (3)")
    parser.add_argument("--posts", type=int, default=10_000, help="posts of the small table (10000)")
    parser.add_argument("--large", type=int, default=1_000_000, help="posts of the large table (1000000)")
    parser.add_argument("--quick", action="store_true", help="the small table only, 2 rounds of 2 s turns, no warm-up")
    parser.add_argument("--strict", action="store_true", help="end with 1 if a target is missed")
    parser.add_argument("--rebuild", action="store_true", help="make the data anew")
    parser.add_argument("--json", type=Path, help="write every turn to this file")
    parser.add_argument("--svg", type=Path, help="draw the ratios into this file")
    parser.add_argument("--markdown", type=Path, help="write the tables between the markers of this page")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = min(options.rounds, 2), min(options.seconds, 2)
    # docker stop, kill: clean up as on Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    bench = Bench(options)
    try:
        with bench.running():
            raw = bench.measure()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    if options.json:
        options.json.write_text(json.dumps(raw))
    print(report.as_text(raw))
    if options.svg:
        report.draw(raw, options.svg)
    if options.markdown:
        report.write_markdown(raw, options.markdown)
    if raw["wrong"]:
        raise SystemExit("\n".join(f"error: {line}" for line in raw["wrong"]))
    if options.strict and report.missed(raw):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
