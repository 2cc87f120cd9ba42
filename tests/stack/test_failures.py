"""A migration that fails stops the chain visibly, harms nothing, and is mended by mending its cause."""

import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.databases import PATIENCE
from tests.migrations.staircase import HEAD
from tests.stack.conftest import Stack


def write_step(stack: Stack, revision: str, body: str, after: str = HEAD) -> Path:
    """A step of which a half would be seen, if it were ever left."""
    up = f'op.execute("CREATE TABLE half_applied (id integer)")\n    {body}'
    return stack.plant(revision, up, 'op.execute("DROP TABLE half_applied")', after=after)


@contextmanager
def step_that_raises(stack: Stack) -> Iterator[None]:
    file = write_step(stack, "badc0de00001", 'raise ValueError("planted")')
    try:
        yield
    finally:
        file.unlink()


@contextmanager
def two_heads(stack: Stack) -> Iterator[None]:
    files = [write_step(stack, revision, "pass") for revision in ("badc0de00003", "badc0de00004")]
    try:
        yield
    finally:
        for file in files:
            file.unlink()


@contextmanager
def wrong_password(stack: Stack) -> Iterator[None]:
    # Only the migrator's: the database container is not made anew for it.
    override = stack.folder / "compose.override.yaml"
    override.write_text("services: { migrate: { environment: { DB_PASS: not-the-password } } }\n")
    try:
        yield
    finally:
        override.unlink()


@dataclass(frozen=True)
class Case:
    broken: Callable[[Stack], object]
    cause: str
    code: int


# One of each: a step, the graph, the connection. What else can be wrong, with its cause, remedy and exit code:
# tests/migrations/test_failures.py, test_states.py and test_graph.py, tests/unit/test_failures.py.
CASES = {
    "raises": Case(
        step_that_raises,
        r"step badc0de00001 \(planted badc0de00001\) failed in upgrade at migrations/versions/\S+_planted\.py:\d+: ValueError: planted",
        3,
    ),
    "two heads": Case(two_heads, r"several heads.*badc0de00003, badc0de00004", 7),
    "wrong password": Case(wrong_password, r'password authentication failed for user "tangga_owner"', 5),
}


class Traffic:
    """Reads, one after another, until stopped; counts what was not answered with 200."""

    def __init__(self, url: str) -> None:
        self.good = 0
        self.bad: list[str] = []
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with httpx2.Client(base_url=self._url, timeout=PATIENCE) as client:
            while not self._stop.wait(0.02):
                try:
                    status = client.get("/posts").status_code
                except httpx2.HTTPError as error:
                    self.bad.append(repr(error))
                else:
                    if status == 200:
                        self.good += 1
                    else:
                        self.bad.append(str(status))

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def secrets(stack: Stack) -> list[str]:
    return re.findall(
        r"^(?:DB_PASS|DB_OWNER_PASS|POSTGRES_PASSWORD|TOKEN_KEY)=(.+)$", (stack.folder / ".env").read_text(), re.M
    )


def check_failure(stack: Stack, result: subprocess.CompletedProcess[str], case: Case) -> None:
    assert result.returncode != 0
    errors = [line for line in result.stdout.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, result.stdout
    assert re.search(rf"migration failed \(exit {case.code}\): .*{case.cause}", errors[0]), errors[0]
    assert re.search(r"^   do: \S", result.stdout, re.M), result.stdout
    assert re.search(r"^    \| ", result.stdout, re.M), "no tail of the log"
    assert "Traceback" not in result.stdout
    assert not any(secret in result.stdout for secret in [*secrets(stack), "not-the-password"])


@pytest.mark.parametrize("name", CASES)
def test_on_an_update_the_old_api_goes_on_serving(stack: Stack, name: str) -> None:
    case = CASES[name]
    api = stack.inspect("api", "{{.Id}}")
    with case.broken(stack):  # type: ignore[attr-defined]
        before = stack.schema()
        version = stack.revision()
        with Traffic(stack.url) as traffic:
            result = stack.run("make", "up")
        check_failure(stack, result, case)
        assert "The API that was running goes on serving." in result.stdout
        assert stack.inspect("api", "{{.Id}} {{.State.Status}}") == f"{api} running"
        assert traffic.bad == []
        assert traffic.good > 10
        assert stack.schema() == before, "something was half applied"
        assert stack.revision() == version
    stack.make("up")
    assert stack.get("/readyz").status_code == 200
    assert stack.revision() == HEAD


@pytest.mark.parametrize("name", CASES)
def test_on_the_first_start_the_api_is_not_started(stack: Stack, name: str) -> None:
    case = CASES[name]
    stack.compose("down", "--volumes")
    with case.broken(stack):  # type: ignore[attr-defined]
        result = stack.run("make", "up")
        check_failure(stack, result, case)
        assert "The API was not started." in result.stdout
        assert stack.container("api") == ""
        assert "half_applied" not in stack.schema()
    stack.make("up")
    assert stack.get("/readyz").status_code == 200


def test_plain_compose_does_not_start_the_api_either(stack: Stack) -> None:
    stack.compose("down", "--volumes")
    with step_that_raises(stack):
        stack.compose("build")
        result = stack.run("docker", "compose", "up", "--detach", "--wait")
        assert result.returncode != 0
        assert "didn't complete successfully" in result.stdout
        assert stack.inspect("api", "{{.State.Status}} {{.State.StartedAt}}") == "created 0001-01-01T00:00:00Z"
        # The steps before the broken one stand; of the broken one there is nothing.
        assert stack.revision() == HEAD
        assert "half_applied" not in stack.schema()
    stack.make("up")


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("DB_OWNER_PASS", "make rotate-secrets apply=1"),
        ("DB_PASS", "The database refuses the API's password (DB_PASS): the volume keeps the one that it was given."),
    ],
)
def test_a_password_changed_only_in_env_is_explained(stack: Stack, variable: str, said: str) -> None:
    # An API that cannot log in is given up after this time; by default after half a minute.
    override = stack.folder / "compose.override.yaml"
    override.write_text("services: { api: { healthcheck: { start_period: 3s, interval: 1s } } }\n")
    with stack.changed_env_file(**{variable: "a-new-one-that-the-volume-has-never-heard-of"}):
        result = stack.run("make", "up")
    override.unlink()
    assert result.returncode != 0
    assert said in result.stdout
    assert "never-heard-of" not in result.stdout
    stack.make("up")


def test_a_volume_of_another_version_is_explained(stack: Stack) -> None:
    stack.compose("exec", "-T", "db", "sh", "-c", 'echo 15 > "$PGDATA/PG_VERSION"')
    stack.compose("stop", "db")
    result = stack.run("make", "up")
    assert result.returncode != 0
    assert "error: the volume db-data holds the data of PostgreSQL 15, and " in result.stdout
    assert "make db-upgrade to=" in result.stdout
    stack.compose("down", "--volumes")
    stack.make("up")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("DB_PASS", "change-me", "DB_PASS is still the placeholder"),
        ("TOKEN_KEY", "change-me", "TOKEN_KEY is still the placeholder"),
        ("DB_OWNER_PASS", "", "DB_OWNER_PASS is not set"),
        # By the migrator, and by the API; tests/unit/test_settings.py has the others.
        ("DB_PORT", "abc", "DB_PORT: Input should be a valid integer"),
        ("TOKEN_MINUTES", "soon", "TOKEN_MINUTES: Input should be a valid integer"),
        ("API_PORT", "abc", "API_PORT=abc is not a port"),
    ],
)
def test_a_wrong_setting_is_named(stack: Stack, variable: str, value: str, said: str) -> None:
    environment = {"API_PORT": "abc"} if variable == "API_PORT" else {}
    with stack.changed_env_file(**{variable: value}):
        result = stack.run("make", "up", **environment)
    assert result.returncode != 0
    assert said in result.stdout, result.stdout
    assert "Traceback" not in result.stdout
    assert not value or variable == "API_PORT" or f"{variable}={value}" not in result.stdout


def test_plain_compose_names_a_missing_secret(stack: Stack) -> None:
    with stack.changed_env_file(TOKEN_KEY=""):
        result = stack.run("docker", "compose", "up", "--detach")
    assert result.returncode != 0
    assert "TOKEN_KEY" in result.stdout
    assert "make up" in result.stdout
