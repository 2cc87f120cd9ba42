"""make deploy and make undeploy: nobody notices them, and a release that is no good is one that never was."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.load.unnoticed import Unnoticed
from tests.migrations.staircase import HEAD
from tests.stack.conftest import Stack, killing_docker, wait_for

SECONDS = float(os.environ.get("TRAFFIC_SECONDS", "0"))  # of traffic, at least, for each thing that nobody may notice
NEXT = "b10000000001"
# The step of the next release.
COLUMN = (
    'op.add_column("posts", sa.Column("catatan", sa.Text(), nullable=True))',
    'op.drop_column("posts", "catatan")',
)
NOTHING = 'op.execute("SELECT 1")'


@contextmanager
def _changed(stack: Stack, file: str, old: str, new: str) -> Iterator[None]:
    path = stack.folder / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    try:
        yield
    finally:
        path.write_text(text)


@pytest.fixture
def stack(production: Stack) -> Iterator[Stack]:
    """The stack in production, at head, with the tree as it is in the repository."""
    yield production
    if production.revision() != HEAD:
        production.make("undeploy", "yes=1")
    for planted in production.folder.glob("migrations/versions/*_planted.py"):
        planted.unlink()


def _replicas(stack: Stack) -> set[str]:
    return set(stack.compose("ps", "--all", "--quiet", "api").split())


def _log(stack: Stack) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (stack.folder / ".deploy/log.jsonl").read_text().splitlines()]


@contextmanager
def _http2(stack: Stack) -> Iterator[list[str]]:
    """Requests over HTTP/2, on one connection for as long as the proxy lets it; what was answered, when it is over."""
    answers: list[str] = []
    curl = subprocess.Popen(
        # A line at a time: what it has not handed on when it is ended is lost.
        ["stdbuf", "-oL", "curl", "--insecure", "--silent", "--http2", "--rate", "600/m", "--output", "/dev/null", "--write-out",
         "%{http_version} %{http_code} %{errormsg}\n", f"{stack.url}/posts/[1-2000]?[1-50]"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield answers
    finally:
        curl.terminate()
        assert curl.stdout is not None
        answers += curl.stdout.read().splitlines()
        curl.wait()


def test_nobody_notices_a_deploy_an_undeploy_new_secrets_or_a_reload(stack: Stack) -> None:
    before, first = _replicas(stack), stack.setting("TAG")
    stack.plant(NEXT, *COLUMN)
    with Unnoticed(stack) as traffic, _http2(stack) as answers:
        stack.make("deploy")
        second = stack.setting("TAG")
        assert stack.revision() == NEXT
        assert not _replicas(stack) & before
        traffic.wait(SECONDS)
        undone = stack.make("undeploy")
        assert stack.revision() == HEAD
        traffic.wait(2 * SECONDS)
        stack.make("proxy-reload")
        traffic.wait(3 * SECONDS)
        stack.make("rotate-secrets")
        traffic.go_on()
        traffic.wait(4 * SECONDS)
    print(f"HTTP/2: {len(answers)} requests")
    traffic.check()
    assert set(answers[:-5]) == {"2 200 "}  # the last ones were cut off by us
    assert stack.setting("TAG") == first
    assert f"Forward again: make deploy tag={second}" in undone
    assert [(one["action"], one["from"], one["to"], one["revision"], one["outcome"]) for one in _log(stack)[-4:]] == [
        ("deploy", first, second, NEXT, "ok"),
        ("undeploy", second, first, HEAD, "ok"),
        ("proxy-reload", "", "", "", "ok"),
        ("rotate-secrets", "", "", "", "ok"),
    ]


# What is wrong with a release, and how the operator is told.
_NO_GOOD: dict[str, tuple[str, str, str, str]] = {
    "is never ready": (
        "services/api/health/schema.py",
        'return Found("ready", "The database is at the revision that',
        'return Found("behind", "Planted: not at the revision that',
        "does not become ready: /readyz: Planted: not at the revision that this image expects.",
    ),
    "crashes": (
        "services/api/main.py",
        "\nfrom collections",
        '\nraise RuntimeError("planted")\nfrom collections',
        "does not become ready: it crashes: ",
    ),
}


def _refused(stack: Stack, *arguments: str, **env: str) -> str:
    """Run a deploy that must fail and leave everything as it was; return what it printed."""
    before = _replicas(stack), stack.setting("TAG"), stack.revision()
    result = stack.run("make", *arguments, **env)
    assert result.returncode != 0, result.stdout
    assert (_replicas(stack), stack.setting("TAG"), stack.revision()) == before, result.stdout
    assert (_log(stack)[-1]["action"], _log(stack)[-1]["outcome"]) == (arguments[0], "failed")
    assert _log(stack)[-1]["reason"]
    return result.stdout


def test_a_release_that_is_no_good_is_one_that_never_was(stack: Stack) -> None:
    with Unnoticed(stack) as traffic:
        for file, old, new, reason in _NO_GOOD.values():
            with _changed(stack, file, old, new):
                printed = _refused(stack, "deploy", DEPLOY_TIMEOUT="30")
            assert reason in printed
            assert "The old release goes on serving." in printed
        stack.plant(NEXT, 'op.execute("SELECT 1 / 0")', NOTHING)
        printed = _refused(stack, "deploy")
        assert "the migration failed: step b10000000001" in printed
        assert "division by zero" in printed
        assert "The old release goes on serving." in printed
        # Steps that would break it do not even run.
        stack.plant(NEXT, 'op.drop_column("posts", "no_hp")', 'op.add_column("posts", sa.Column("no_hp", sa.String()))')
        assert "pending steps would hurt the release that runs" in _refused(stack, "deploy")
        stack.plant(NEXT, NOTHING, NOTHING, attributes='breaks_previous_release = "planted"')
        assert "cannot work with it: planted" in _refused(stack, "deploy")
        assert "there is no image" in _refused(stack, "deploy", "tag=no-such-release")
    traffic.check()


# At one of these commands of docker, or right after it, a deploy is killed, with everything that it has started.
_MOMENTS = (
    ("compose up --no-start", ""),
    ("network disconnect", ""),
    ("network connect", 'docker "$@"'),  # one of two is in rotation
    ("stop ", ""),
    ("rm --force", ""),
)


def test_a_deploy_that_was_killed_hurts_nobody_and_the_next_one_cleans_up(stack: Stack, tmp_path: Path) -> None:
    again = f"tag={stack.setting('TAG')}"
    with Unnoticed(stack) as traffic:
        for moment, first in _MOMENTS:
            path = killing_docker(tmp_path, moment, first)
            killed = stack.run("setsid", "--wait", "make", "deploy", again, PATH=path)
            assert killed.returncode != 0, killed.stdout
            traffic.go_on()
        printed = stack.make("deploy", again)
        assert "Note: deploy, started by" in printed
        # One with the same tag is not gone back to, so it is not the one before.
        assert f"The one before it, {stack.setting('TAG')}" not in printed
        assert (_log(stack)[-1]["from"], _log(stack)[-1]["outcome"]) == ("", "ok")
        assert "was killed." in printed
    traffic.check()
    assert len(_replicas(stack)) == 2
    assert stack.compose("ps", "--all", "--format", "{{.Health}}", "api").split() == ["healthy"] * 2
    assert [one["reason"] for one in _log(stack)[-6:]] == ["killed"] * 5 + [""]


def test_who_goes_back_is_told_what_would_be_lost(stack: Stack) -> None:
    first = stack.setting("TAG")
    stack.plant(NEXT, *COLUMN)
    with subprocess.Popen(["make", "deploy"], cwd=stack.folder, env=stack.env, stdout=subprocess.DEVNULL) as deploy:
        lock = stack.folder / ".deploy/lock"
        wait_for(lambda: lock.exists() and lock.read_text() != "", "the lock")
        for other in ("deploy", "undeploy", "rotate-secrets", "proxy-reload"):
            refused = stack.run("make", other)
            assert refused.returncode != 0
            assert "deploy is under way: started by" in refused.stdout
    assert deploy.returncode == 0
    second = stack.setting("TAG")
    stack.log_in()
    stack.sql("INSERT INTO posts (nama, umur, alamat, owner_id, catatan) SELECT 'x', 1, '', max(id), 'y' FROM users")
    printed = _refused(stack, "undeploy")
    assert "yes=1" in printed
    # The schema may stay: the older release is ready, one step ahead of it.
    stack.make("undeploy", "schema=keep")
    assert (stack.setting("TAG"), stack.revision()) == (first, NEXT)
    assert "by steps that this image can work with; it was made for " + HEAD in stack.get("/readyz").json()["detail"]
    stack.make("deploy", f"tag={second}")
    stack.make("undeploy", "yes=1")
    assert (stack.setting("TAG"), stack.revision()) == (first, HEAD)
    assert stack.get("/readyz").status_code == 200


def test_a_proxy_of_older_files_is_not_deployed_to(stack: Stack) -> None:
    # It would see none of the new replicas, and nobody would say which of the old ones serve.
    network, proxy, before = f"{stack.name}_rotation", stack.container("proxy"), _replicas(stack)
    stack.ok("docker", "network", "disconnect", network, proxy)
    try:
        refused = stack.run("make", "deploy")
        assert refused.returncode != 0
        assert f"the proxy is not on the network {network}" in refused.stdout
        assert _replicas(stack) == before
    finally:
        stack.ok("docker", "network", "connect", network, proxy)
    wait_for(lambda: stack.get("/readyz").status_code == 200, "the API, through the proxy")
