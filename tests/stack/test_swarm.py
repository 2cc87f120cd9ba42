"""make swarm-deploy on a swarm of one node: never the API before the job, never a release that is not ready."""

import fcntl
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import TextIO

import pytest

from tests.databases import PATIENCE
from tests.stack.conftest import Stack, wait_for
from tests.stack.elsewhere import NAME, Elsewhere
from tests.stack.test_failures import write_step

# Whoever comes in through the network of the stack, as a proxy would: a new connection for each request.
TRAFFIC = """
import collections, http.client, signal, time
seen, end = collections.Counter(), []
signal.signal(signal.SIGTERM, lambda *_: end.append(1))
while not end:
    connection = http.client.HTTPConnection("api", 8000, timeout=5)
    try:
        connection.request("GET", "/posts?limit=1")
        seen[str(connection.getresponse().status)] += 1
    except OSError as error:
        seen[repr(error)] += 1
    connection.close()
    time.sleep(0.02)
print(dict(seen))
"""


@pytest.fixture(scope="module")
def swarm(
    make_stack: Callable[[str], Stack], tmp_path_factory: pytest.TempPathFactory, engine: TextIO
) -> Iterator[Stack]:
    """A swarm of this engine alone, left at the end, with a database beside it."""
    stack = make_stack("swarm")
    assert stack.ok("docker", "info", "--format", "{{.Swarm.LocalNodeState}}").strip() == "inactive", (
        "this engine is in a swarm already, and this test would end it"
    )
    others = named(stack)
    # Each engine that has ever been in a swarm keeps this one.
    bridge = ("docker", "network", "inspect", "docker_gwbridge")
    had_bridge = stack.run(*bridge).returncode == 0
    stack.make(".ready")
    assert "docker swarm init" in stack.run("make", "swarm-deploy").stdout
    stack.ok("docker", "swarm", "init", "--advertise-addr", "127.0.0.1")
    try:
        stack.ok("docker", "network", "create", "--driver", "overlay", "--attachable", stack.name)
        (stack.folder / "test.yaml").write_text(
            f"networks: {{ default: {{ name: {stack.name}, external: true }} }}\n"
            # Patient with a replica that serves: on a busy machine, its checks may get no answer for long.
            "services: { api: { healthcheck: { start_period: 60s, interval: 2s, timeout: 30s, retries: 30 } } }\n"
        )
        server = Elsewhere(stack, stack.name, tmp_path_factory.mktemp("elsewhere"))
        try:
            stack.set_env_file("DB_HOSTNAME", NAME)
            stack.set_env_file("DB_SSLROOTCERT", str(server.ca))
            stack.set_env_file("SWARM_MONITOR", "3s")
            server.make_roles(stack)
            yield stack
            stack.ok("docker", "stack", "rm", f"{stack.name}-swarm")
        finally:
            server.remove()
    finally:
        # When it leaves, the engine forgets the names of all containers on it, also of those of other workers.
        try:
            wait_for(lambda: _is_nobodys(engine), "the end of the other workers' tests", 3600)
        finally:
            stack.ok("docker", "swarm", "leave", "--force")
        if not had_bridge and stack.run(*bridge).returncode == 0:
            stack.ok("docker", "network", "rm", "docker_gwbridge")
        # Only a start brings the names back (moby/moby#45144).
        if still_there := others & named(stack):
            stack.ok("docker", "restart", *still_there)
        releases = stack.ok("docker", "image", "ls", "--quiet", f"{stack.name}-api:r*").split()
        stack.run("docker", "image", "rm", "--force", *releases)


def _is_nobodys(engine: TextIO) -> bool:
    """Take the lock that all workers share for this one alone, if that can be."""
    try:
        fcntl.flock(engine, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def named(stack: Stack) -> set[str]:
    """Return the running containers that others find by name: those on networks of their own."""
    networks = stack.ok(
        "docker", "network", "ls", "--quiet", "--filter", "driver=bridge", "--filter", "type=custom"
    ).split()
    return {one for network in networks for one in stack.ok("docker", "ps", "-q", "-f", f"network={network}").split()}


def tasks(stack: Stack, service: str) -> list[dict[str, object]]:
    """What the swarm knows of a service's tasks, the newest first."""
    name = f"{stack.name}-swarm_{service}"
    ids = stack.ok("docker", "service", "ps", "--quiet", "--no-trunc", name).split()
    found: list[dict[str, object]] = json.loads(stack.ok("docker", "inspect", *ids))
    return sorted(found, key=lambda task: str(task["CreatedAt"]), reverse=True)


def serving(stack: Stack) -> set[object]:
    return {task["ID"] for task in tasks(stack, "api") if task["DesiredState"] == "running"}


def wait_for_these(stack: Stack, wanted: set[object]) -> None:
    try:
        wait_for(lambda: serving(stack) == wanted, "the tasks from before")
    except AssertionError:
        print(stack.ok("docker", "service", "ps", "--no-trunc", f"{stack.name}-swarm_api"))
        raise


def release(stack: Stack, tag: str) -> subprocess.CompletedProcess[str]:
    return stack.run("make", "swarm-deploy", TAG=tag)


def test_roll_out_failures_and_all(swarm: Stack) -> None:
    assert "deploy/external-db.yaml" in release(swarm, "r1").stdout
    swarm.set_env_file("COMPOSE_FILE", "compose.yaml:deploy/external-db.yaml:test.yaml")
    assert "TAG=latest" in swarm.run("make", "swarm-deploy").stdout
    pooled = swarm.run("make", "swarm-deploy", COMPOSE_FILE="compose.yaml:deploy/external-db.yaml:deploy/pooler.yaml")
    assert "MIGRATE_DB_HOSTNAME" in pooled.stdout
    assert release(swarm, "r1").returncode == 0
    secrets = [swarm.setting(name) for name in ("DB_PASS", "DB_OWNER_PASS", "TOKEN_KEY")]
    shown = swarm.ok("docker", "service", "inspect", f"{swarm.name}-swarm_api", f"{swarm.name}-swarm_migrate")
    assert not [secret for secret in secrets if secret in shown]

    with subprocess.Popen(
        ["docker", "run", "--rm", "--network", swarm.name, f"{swarm.name}-api:r1", "python3", "-c", TRAFFIC],
        stdout=subprocess.PIPE, text=True,
    ) as traffic:  # fmt: skip
        try:
            first = serving(swarm)
            assert len(first) == 2
            write_step(swarm, "aaaaaaaaaaaa", 'op.execute("SELECT pg_sleep(2)")')
            second = release(swarm, "r2")
            assert second.returncode == 0, second.stdout
            assert not first & serving(swarm)
            job = tasks(swarm, "migrate")[0]["Status"]
            assert isinstance(job, dict)
            assert job["State"] == "complete"
            api = [task for task in tasks(swarm, "api") if task["DesiredState"] == "running"]
            assert min(str(task["CreatedAt"]) for task in api) > job["Timestamp"]

            # A step that fails: the API is not touched.
            before = serving(swarm)
            broken = write_step(swarm, "bbbbbbbbbbbb", "pass", after="aaaaaaaaaaaa")
            third = release(swarm, "r3")
            assert third.returncode != 0
            assert "the migration did not complete" in third.stdout
            assert 'relation "half_applied" already exists' in third.stdout
            assert serving(swarm) == before
            broken.unlink()

            # A release that never gets ready, and one that does not even start: rolled back.
            routes = swarm.folder / "services/api/health/routes.py"
            good = routes.read_text()
            test = swarm.folder / "test.yaml"
            test.write_text(test.read_text().replace("60s", "20s"))  # sooner known to be unhealthy
            for tag, bad, why in (
                ("r4", good.replace('found.state == "ready"', 'found.state == "never"'), "the revision that this image expects"),
                ("r5", "raise RuntimeError('broken release')\n", "task: non-zero exit"),
            ):  # fmt: skip
                routes.write_text(bad)
                failed = release(swarm, tag)
                assert failed.returncode != 0
                assert "rolled back (rollback_completed)" in failed.stdout, failed.stdout
                assert why in failed.stdout
                wait_for_these(swarm, before)
            routes.write_text(good)
        finally:
            traffic.send_signal(signal.SIGTERM)
            seen, _ = traffic.communicate(timeout=2 * PATIENCE)
    counted = json.loads(seen.replace("'", '"'))
    assert set(counted) == {"200"}
    assert counted["200"] > 100
