"""make deploy and make undeploy: nobody notices them, and a release that is no good is one that never was."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.load.unnoticed import Unnoticed
from tests.stack.conftest import Stack
from tests.stack.test_failures import HEAD

SECONDS = float(os.environ.get("TRAFFIC_SECONDS", "0"))  # of traffic, at least, for each thing that nobody may notice
NEXT = "b10000000001"
_STEP = '''"""v10 tambah catatan"""

import sqlalchemy as sa
from alembic import op

revision: str = "{revision}"
down_revision: str | None = "{head}"
branch_labels: str | None = None
depends_on: str | None = None
{attribute}

def upgrade() -> None:
    {up}


def downgrade() -> None:
    {down}
'''


def _write_step(
    stack: Stack,
    up: str = 'op.add_column("posts", sa.Column("catatan", sa.Text(), nullable=True))',
    down: str = 'op.drop_column("posts", "catatan")',
    attribute: str = "",
) -> None:
    file = stack.folder / f"migrations/versions/20270101_0000_{NEXT}_v10.py"
    file.write_text(_STEP.format(revision=NEXT, head=HEAD, up=up, down=down, attribute=attribute))


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
    step = production.folder / f"migrations/versions/20270101_0000_{NEXT}_v10.py"
    if production.revision() != HEAD:
        production.make("undeploy", "yes=1")
    step.unlink(missing_ok=True)


def _replicas(stack: Stack) -> set[str]:
    return set(stack.compose("ps", "--all", "--quiet", "api").split())


def _log(stack: Stack) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (stack.folder / ".deploy/log.jsonl").read_text().splitlines()]


@contextmanager
def _http2(stack: Stack) -> Iterator[list[str]]:
    """Requests over HTTP/2, many at a time on one connection; what was answered, when it is over."""
    answers: list[str] = []
    curl = subprocess.Popen(
        ["curl", "--insecure", "--silent", "--http2", "--parallel", "--parallel-max", "5", "--rate", "600/m", "--output",
         "/dev/null", "--write-out", "%{http_version} %{http_code} %{errormsg}\n", f"{stack.url}/posts/[1-2000]"],
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
    _write_step(stack)
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
        time.sleep(2)
        traffic.wait(4 * SECONDS)
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
