"""`make up`, `make down` and `make clean`, from a fresh copy of the tree."""

import json
import re
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import httpx2
import pytest

from tests.databases import PATIENCE
from tests.migrations.staircase import HEAD
from tests.stack.conftest import Stack, wait_for
from tests.support.steps import edit


@pytest.fixture(scope="module")
def first_up(make_stack: Callable[[str], Stack]) -> Iterator[tuple[Stack, str]]:
    """A stack started from nothing, with what `make up` printed."""
    stack = make_stack("up")
    assert not (stack.folder / ".env").exists()
    yield stack, stack.make("up")
    stack.remove()


@pytest.fixture
def stack(first_up: tuple[Stack, str]) -> Stack:
    return first_up[0]


def moment(text: str) -> datetime:
    # Nine digits of a second are more than Python 3.11 reads.
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", text.replace("Z", "+00:00")))


def test_up_ends_with_a_serving_api_and_says_so(first_up: tuple[Stack, str]) -> None:
    stack, printed = first_up
    assert stack.get("/readyz").json()["status"] == "ready"
    assert f"http://127.0.0.1:{stack.port}/docs" in printed
    assert f"revision  {HEAD}" in printed
    for step in ("build", "database", "migrate", "api"):
        assert re.search(rf"✓ {step} +\d+\.\d s", printed), step
    assert "\x1b" not in printed, "colours without a terminal"
    assert "ERROR" not in stack.ok("docker", "logs", stack.container("db"))


def test_containers_start_in_order(stack: Stack) -> None:
    health = json.loads(stack.inspect("db", "{{json .State.Health.Log}}"))
    # The log keeps the last five probes only; the first success is never later than the oldest of them that is kept.
    db_healthy = min(moment(probe["End"].replace(" +0000 UTC", "Z")) for probe in health if probe["ExitCode"] == 0)
    db_started = moment(stack.inspect("db", "{{.State.StartedAt}}"))
    migrate_started = moment(stack.inspect("migrate", "{{.State.StartedAt}}"))
    migrate_finished = moment(stack.inspect("migrate", "{{.State.FinishedAt}}"))
    api_started = moment(stack.inspect("api", "{{.State.StartedAt}}"))
    assert db_started < db_healthy < migrate_started < migrate_finished < api_started
    assert stack.inspect("migrate", "{{.State.ExitCode}} {{.RestartCount}}") == "0 0"


def test_env_file_is_private_and_its_secrets_are_random(stack: Stack) -> None:
    file = stack.folder / ".env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secrets = re.findall(r"^(?:DB_PASS|DB_OWNER_PASS|POSTGRES_PASSWORD|TOKEN_KEY)=(.+)$", file.read_text(), re.M)
    assert len(set(secrets)) == 4
    assert all(re.fullmatch(r"[0-9a-f]{48}", secret) for secret in secrets)


def test_second_up_changes_nothing(stack: Stack) -> None:
    env_before = (stack.folder / ".env").read_bytes()
    before = [stack.inspect(service, "{{.Id}} {{.State.StartedAt}}") for service in ("db", "api")]
    printed = stack.make("up")
    assert [stack.inspect(service, "{{.Id}} {{.State.StartedAt}}") for service in ("db", "api")] == before
    assert (stack.folder / ".env").read_bytes() == env_before
    # What would take long is skipped.
    assert "nothing to do" in stack.compose("logs", "--no-log-prefix", "migrate")
    assert "pull" not in printed


def test_preflight_says_nothing_when_all_is_well(stack: Stack) -> None:
    assert stack.ok("scripts/prepare/preflight.sh", "--port") == ""


def test_a_container_that_compose_may_not_make_is_named(stack: Stack) -> None:
    image = stack.inspect("migrate", "{{.Image}}")
    stack.ok("docker", "rm", stack.container("migrate"))
    stack.ok("docker", "create", "--name", f"{stack.name}-migrate-1", image)
    result = stack.run("make", "up")
    stack.ok("docker", "rm", f"{stack.name}-migrate-1")
    assert result.returncode != 0
    assert re.search("^error: the migration was not run: .* is already in use", result.stdout, re.M), result.stdout
    assert f"docker rm {stack.name}-migrate-1" in result.stdout


def test_alembics_table_may_have_another_name_and_schema(stack: Stack) -> None:
    """As env.py says; what reads it without Alembic finds it: the summary, readiness, a backup."""
    environment = stack.folder / "migrations/env.py"
    before = environment.read_text()
    stack.sql('CREATE SCHEMA "Ops"; ALTER TABLE alembic_version RENAME TO steps; ALTER TABLE steps SET SCHEMA "Ops"')
    edit(environment, "**options)", '**options, version_table="steps", version_table_schema="Ops")')
    assert f"revision  {HEAD}\n" in stack.make("up")
    assert stack.get("/readyz").status_code == 200
    assert "nothing pending" in stack.make("history")
    stack.make("backup")
    assert [*stack.folder.glob(f"backups/*-{HEAD}.json")]
    stack.sql('ALTER TABLE "Ops".steps SET SCHEMA public; ALTER TABLE steps RENAME TO alembic_version')
    environment.write_text(before)
    assert f"revision  {HEAD}\n" in stack.make("up")


def test_down_keeps_the_data_and_clean_deletes_it(stack: Stack) -> None:
    stack.log_in("kept@example.com")
    stack.make("down")
    stack.make("up")
    assert stack.sql("SELECT email FROM users") == "kept@example.com"

    refused = stack.run("make", "clean")
    assert refused.returncode != 0
    assert "make clean yes=1" in refused.stdout
    assert stack.sql("SELECT email FROM users") == "kept@example.com"

    stack.make("clean", "yes=1")
    volumes = stack.ok(
        "docker", "volume", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={stack.name}"
    )
    assert volumes == ""
    stack.make("up")
    assert stack.sql("SELECT count(*) FROM users") == "0"


def test_plain_compose_goes_the_same_way(stack: Stack) -> None:
    stack.compose("down", "--volumes")
    stack.compose("up", "--detach", "--wait")
    assert stack.get("/readyz").status_code == 200
    assert stack.revision() == HEAD


def test_two_stacks_side_by_side(stack: Stack, make_stack: Callable[[str], Stack]) -> None:
    other = make_stack("beside")
    # This one takes name and port from .env instead of the environment.
    other.ok("scripts/prepare/env.sh")
    other.set_env_file("COMPOSE_PROJECT_NAME", other.env.pop("COMPOSE_PROJECT_NAME"))
    other.set_env_file("API_PORT", other.env.pop("API_PORT"))
    other.make("up")
    other.log_in("other@example.com")
    assert other.sql("SELECT email FROM users") == "other@example.com"
    assert stack.sql("SELECT count(*) FROM users WHERE email = 'other@example.com'") == "0"
    other.make("down")
    assert stack.get("/readyz").status_code == 200
    other.remove()


def test_a_port_in_use_is_named_before_anything_is_changed(make_stack: Callable[[str], Stack], stack: Stack) -> None:
    blocked = make_stack("blocked")
    result = blocked.run("make", "up", API_PORT=str(stack.port))
    assert result.returncode != 0
    assert f"port {stack.port} is in use" in result.stdout
    assert "API_PORT=" in result.stdout
    assert not (blocked.folder / ".env").exists()


def test_a_slow_request_is_finished_when_the_api_stops(stack: Stack) -> None:
    headers = stack.log_in()
    body = {"nama": "lambat", "umur": 1, "alamat": "x"}

    def stopping() -> bool:
        try:
            stack.get("/healthz")
        except httpx2.HTTPError:
            return True
        return False

    waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'posts'::regclass AND NOT granted"
    with ThreadPoolExecutor() as beside:
        with stack.session("BEGIN; LOCK TABLE posts"):
            request = beside.submit(httpx2.post, f"{stack.url}/posts", headers=headers, json=body, timeout=PATIENCE)
            wait_for(lambda: stack.sql(waiting) == "1", "the request to wait")
            stop = beside.submit(stack.compose, "stop", "api")
            wait_for(stopping, "the API to take no more requests")
            assert not request.done(), "the request was not slow, so nothing was shown"
        stop.result()
        assert request.result().status_code == 201
    assert stack.inspect("api", "{{.State.ExitCode}}") == "0"
    stack.make("up")
