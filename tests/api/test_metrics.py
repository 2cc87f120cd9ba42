import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx2
import pytest
from fastapi.testclient import TestClient
from psycopg2.extensions import connection as Connection

from tests.api.server import Server, gunicorn
from tests.api.support import printed, serving
from tests.databases import PATIENCE, PROJECT, connect, eventually, run

DOCUMENT = (PROJECT / "docs/observability.md").read_text()
POSTS = 'tangga_http_request_duration_seconds_count{method="GET",route="/posts",status="200"}'


@pytest.fixture(scope="module")
def server(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with gunicorn(database, tmp_path_factory.mktemp("gunicorn") / "log", DB_STATEMENT_TIMEOUT="600") as server:
        yield server


def _answered(server: Server, times: int) -> set[int]:
    """Send so many requests; return who has answered, these and those before."""
    before = server.metrics().get(POSTS, 0)
    for _ in range(times):
        assert server.get("/posts").status_code == 200
    # A worker counts when it has answered.
    assert eventually(lambda: server.metrics()[POSTS] - before == times)
    return {line["pid"] for line in server.lines("request") if line["route"] == "/posts"}


def _peak(pid: int) -> int:
    """Return the most memory that a process has had, in bytes."""
    [kilobytes] = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(kilobytes) * 1024


def test_every_worker_tells_of_all(server: Server) -> None:
    spent = 'tangga_database_statement_seconds_total{method="GET",route="/posts"}'
    before, began = server.metrics().get(spent, 0), time.monotonic()
    # Whose turn it is, the kernel says; so one more until both have had one.
    _answered(server, 40)
    assert eventually(lambda: _answered(server, 1) == server.workers())
    told = [server.metrics() for _ in range(10)]

    def who_told() -> set[int]:
        told.append(server.metrics())
        return {line["pid"] for line in server.lines("request") if line["route"] == "/metrics"}

    assert eventually(lambda: who_told() == server.workers())
    assert {metrics[POSTS] for metrics in told} == {told[0][POSTS]}
    [last] = told[-1:]
    assert last['tangga_database_statements_total{method="GET",route="/posts"}'] >= 40
    # One after another, so that together they took no longer than all of this: seconds they are.
    assert 0 < last[spent] - before <= time.monotonic() - began
    assert last["tangga_database_pool_size_connections"] == 2 * 5
    # A share of what the worker has had at most: bytes they are.
    peak = max(_peak(pid) for pid in server.workers())
    assert peak / 100 < last['tangga_worker_memory_bytes{worker="0"}'] <= peak
    assert 'tangga_worker_memory_bytes{worker="1"}' in last


def test_a_new_worker_goes_on_counting_and_leaves_no_files(server: Server) -> None:
    _answered(server, 10)
    before, files = server.metrics(), sorted(path.name for path in server.folder().iterdir())
    for sent in (signal.SIGTERM, signal.SIGKILL):
        workers = server.workers()
        os.kill(min(workers), sent)
        assert eventually(lambda w=workers: len(server.workers() - w) == 1 and len(server.workers()) == 2)  # type: ignore[misc]
    assert _answered(server, 10)
    # The master clears up when it has seen that a worker has ended.
    assert eventually(lambda: sorted(path.name for path in server.folder().iterdir()) == files)
    after = server.metrics()
    assert after[POSTS] == before[POSTS] + 10
    assert after["tangga_database_pool_size_connections"] == 2 * 5
    assert {name for name in after if "memory" in name} == {name for name in before if "memory" in name}


def test_a_reload_of_gunicorn_counts_on(server: Server) -> None:
    before, workers = server.metrics()[POSTS], server.workers()
    server.process.send_signal(signal.SIGHUP)
    assert eventually(lambda: len(server.workers()) == 2 and not server.workers() & workers)
    assert server.metrics()[POSTS] == before
    assert eventually(lambda: server.metrics()["tangga_database_pool_size_connections"] == 2 * 5)


def test_what_is_going_on_is_shown(server: Server, database: str) -> None:
    assert eventually(lambda: server.metrics()["tangga_database_pool_checked_out_connections"] == 0)
    with closing(connect(database, "owner")) as blocker, ThreadPoolExecutor(3) as clients:
        run(blocker, "BEGIN")
        run(blocker, "LOCK TABLE posts")
        waiting = [clients.submit(server.get, "/posts") for _ in range(3)]
        assert eventually(lambda: server.metrics()["tangga_database_pool_checked_out_connections"] == 3)
        # The one that asks is under way, too.
        assert eventually(lambda: server.metrics()["tangga_http_requests_in_progress"] == 3 + 1)
        run(blocker, "ROLLBACK")
        assert {answer.result(PATIENCE).status_code for answer in waiting} == {200}
    assert eventually(lambda: server.metrics()["tangga_database_pool_checked_out_connections"] == 0)
    assert eventually(lambda: server.metrics()["tangga_http_requests_in_progress"] == 1)


def test_strangers_cannot_make_series(server: Server) -> None:
    with httpx2.Client() as client:
        client.get(server.url + "/nope")
        client.request("BREW", server.url + "/posts")
        before = set(server.metrics())
        for number in range(50):
            client.get(f"{server.url}/nope/{number}", headers={"X-Request-ID": f"r{number}"})
            client.get(f"{server.url}/posts/{number + 1}?q={number}")
            client.request(f"BREW{number}", server.url + "/posts")
    new = {name for name in set(server.metrics()) - before if 'route="/posts/{post_id}"' not in name}
    assert new == set()


def test_the_schemas_revision_and_age(client: TestClient, owner: Connection) -> None:
    [(age,)] = run(owner, "SELECT extract(epoch FROM now() - max(started_at))::float FROM tangga.migration_log")
    text = client.get("/metrics").text
    [told] = re.findall(r"^tangga_schema_age_seconds (.+)$", text, re.MULTILINE)
    assert age - 5 < float(told) < age + 5
    [(revision,)] = run(owner, "SELECT version_num FROM alembic_version")
    assert f'tangga_schema_revision{{revision="{revision}"}} 1.0' in text


def test_without_a_database_there_are_figures_still(database: str) -> None:
    with serving(database, DB_PORT="1") as alone:
        alone.get("/posts")
        text = alone.get("/metrics").text
    assert "tangga_database_up 0.0" in text
    assert 'route="/posts",status="503"} 1.0' in text
    assert "tangga_schema_age_seconds" not in text


def test_the_names_are_as_prometheus_wants_them_and_documented(client: TestClient) -> None:
    client.get("/posts")
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", client.get("/metrics").text, re.MULTILINE))
    kinds = {name: kind for name, kind in kinds.items() if not name.endswith("_created")}
    assert len(kinds) >= 13
    for name, kind in kinds.items():
        assert re.fullmatch(r"tangga(_[a-z]+)+", name)
        assert name.endswith("_total") == (kind == "counter")
        assert f"| `{name}` |" in DOCUMENT, name
    assert set(re.findall(r"\| `(tangga_\w+)` \|", DOCUMENT)) == set(kinds)


def test_every_event_and_field_is_documented(database: str, capfd: pytest.CaptureFixture[str]) -> None:
    sources = [path.read_text() for path in (PROJECT / "services/api").rglob("*.py")]
    events = {event for source in sources for event in re.findall(r'logger\.\w+\(\s*"([^"]+)"', source)} | {"request"}
    assert {"startup", "unhandled_error", "database_unreachable"} < events
    for event in events:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", event), event
        assert f"| `{event}` |" in DOCUMENT, event
    fields = {
        field for source in sources for field in re.findall(r"\b(?:extra|about)\s?=\s?\{(.*?)\}", source, re.DOTALL)
    }
    named = {name for field in fields for name in re.findall(r'"(\w+)":', field)}
    assert {"reason", "request_id"} <= named
    with serving(database, LOG_FORMAT="json") as app:
        printed(capfd)
        app.get("/")
    named |= set(re.findall(r'"(\w+)":', printed(capfd)))
    assert len(named) > 15
    for name in named:
        assert f"| `{name}` |" in DOCUMENT, name


def test_a_budget_that_does_not_fit_is_said_at_the_start(database: str, tmp_path: Path) -> None:
    with gunicorn(database, tmp_path / "log", workers=1, DB_POOL_SIZE="50", API_REPLICAS="900") as server:
        assert eventually(lambda: server.lines("connection_budget_exceeded") != [])
        [line] = server.lines("connection_budget_exceeded")
        assert "900 replicas (API_REPLICAS) x 1 workers (WEB_CONCURRENCY) x 50 (DB_POOL_SIZE)" in line["reason"]
        assert server.get("/posts").status_code == 200


def test_without_a_database_the_budget_is_unknown_and_the_start_goes_on(database: str, tmp_path: Path) -> None:
    with gunicorn(database, tmp_path / "log", workers=1, DB_PORT="1") as server:
        assert eventually(lambda: server.lines("connection_budget_unknown") != [])
        assert server.get("/healthz").status_code == 200
        assert os.environ["DB_PASS"] not in server.log.read_text()
