"""Several migrators at once, a migrator killed, a database that goes away: with real containers and real signals."""

import re
import subprocess
from collections.abc import Iterator

import pytest

from tangga.guard.lock import LOCK_KEY
from tests.databases import PATIENCE
from tests.migrations.staircase import HEAD, REVISIONS
from tests.stack.conftest import Stack, wait_for
from tests.stack.test_failures import write_step


def test_eight_migrators_at_once_on_an_empty_database(stack: Stack) -> None:
    expected = stack.schema()
    stack.compose("down", "--volumes")
    stack.compose("up", "--detach", "--wait", "db")
    command = ["docker", "compose", "run", "--rm", "--no-deps", "-T", "migrate"]
    # All of them are there before the first one can begin.
    with stack.session(f"SELECT pg_advisory_lock({LOCK_KEY})"):
        migrators = [
            subprocess.Popen(
                command, cwd=stack.folder, env=stack.env, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
            for _ in range(8)
        ]  # fmt: skip
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_try_advisory%' AND pid <> pg_backend_pid()"
        )
        wait_for(lambda: stack.sql(waiting, user="postgres") == "8", "eight to wait for the lock")
    logs = [migrator.communicate(timeout=2 * PATIENCE)[0] for migrator in migrators]
    assert [migrator.returncode for migrator in migrators] == [0] * 8, "\n".join(logs)
    assert stack.schema() == expected
    assert stack.revision() == HEAD
    # Each step ran once, whoever ran it; the others waited, and said for whom.
    assert "\n".join(logs).count("Running upgrade") == len(REVISIONS)
    assert all(re.search(r"waiting for the migration lock \(\d+ s\): held by pid \d+ from [\d.]+", log) for log in logs)
    assert all("got the migration lock after" in log for log in logs)


@pytest.fixture
def slow_step(stack: Stack) -> Iterator[None]:
    """A step that makes a table, fills it slowly, and makes another."""
    body = 'op.execute("SELECT pg_sleep(1200)")\n    op.execute("CREATE TABLE second (id integer)")'
    file = write_step(stack, "badc0de00010", body)
    yield
    file.unlink()


@pytest.mark.usefixtures("slow_step")
def test_a_migrator_killed_in_mid_step_leaves_whole_steps(stack: Stack) -> None:
    stack.compose("build", "migrate")
    before = stack.schema()
    running = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tangga-migrate' AND query LIKE '%pg_sleep(1200)%' AND state = 'active'"
    migrator = subprocess.Popen(
        ["docker", "compose", "run", "--name", f"{stack.name}-killed", "--no-deps", "-T", "migrate"],
        cwd=stack.folder, env=stack.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for(lambda: stack.sql(running, user="postgres") == "1", "the step to run")
    stack.ok("docker", "kill", "--signal", "KILL", f"{stack.name}-killed")
    migrator.wait(timeout=PATIENCE)
    stack.ok("docker", "rm", "--force", f"{stack.name}-killed")
    # PostgreSQL notices within client_connection_check_interval (1 s), not after the statement's twenty minutes.
    wait_for(lambda: stack.sql(running, user="postgres") == "0", "the killed migrator's session to end")
    assert stack.schema() == before
    assert stack.revision() == HEAD

    step = next(file for file in stack.steps() if "badc0de00010" in file.name)
    step.write_text(step.read_text().replace("pg_sleep(1200)", "pg_sleep(0)"))
    stack.make("migrate")
    assert stack.revision() == "badc0de00010"
    assert "CREATE TABLE public.second" in stack.schema()
    stack.make("rollback")
    assert stack.revision() == HEAD
    stack.sql("DROP TABLE second")


def test_the_api_survives_a_restart_of_the_database(stack: Stack) -> None:
    stack.compose("down", "--volumes")
    stack.make("up")
    api = stack.inspect("api", "{{.Id}} {{.State.StartedAt}}")
    stack.log_in()
    assert stack.get("/posts").status_code == 200

    stack.compose("stop", "db")
    seen = {path: stack.get(path) for path in ("/posts", "/readyz", "/healthz")}
    assert seen["/posts"].status_code == 503
    assert seen["/posts"].headers["Retry-After"]
    assert seen["/readyz"].status_code == 503
    assert seen["/readyz"].json()["reason"] == "unreachable"
    assert seen["/healthz"].status_code == 200

    stack.compose("start", "db")
    db = stack.container("db")
    accepting = ["docker", "exec", db, "pg_isready", "--quiet", "--host=127.0.0.1"]
    wait_for(lambda: stack.run(*accepting).returncode == 0, "the database to be back")
    wait_for(lambda: stack.get("/posts").status_code == 200, "the API to answer again")
    assert stack.get("/users/1").status_code == 200
    assert stack.inspect("api", "{{.Id}} {{.State.StartedAt}}") == api


def test_the_api_survives_a_killed_database(stack: Stack) -> None:
    stack.get("/posts")
    stack.compose("kill", "--signal", "KILL", "db")
    # The engine may already be starting it again (restart: unless-stopped does not apply to a kill by hand).
    assert stack.get("/posts").status_code in (200, 503)
    stack.compose("up", "--detach", "--wait", "db")
    wait_for(lambda: stack.get("/posts").status_code == 200, "the API to answer again")
    # How soon, and how long each takes from then on: `make loadtest`.
    assert [stack.get("/posts").status_code for _ in range(20)] == [200] * 20
