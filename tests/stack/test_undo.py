"""make rollback says what it would lose, asks, and saves it; make restore-data puts it back. On 100,000 rows."""

import json
import os
import pty
import subprocess
import time

import pytest

from tests.migrations.staircase import V5, V6
from tests.stack.conftest import Stack, wait_for
from tests.support.pages import differs

POSTS = 100_000
# A row-by-row comparison: rows that the table lacks, and rows that it has too many.
DIFFERENT = (
    "SELECT (SELECT count(*) FROM (TABLE before EXCEPT ALL TABLE posts) AS lost),"
    " (SELECT count(*) FROM (TABLE posts EXCEPT ALL TABLE before) AS other)"
)
FULL = """
services:
  migrate:
    volumes: !reset []
    tmpfs: ["/saved:size=64k,uid=10001"]
"""


@pytest.fixture(scope="module")
def filled(stack: Stack) -> Stack:
    # The step that is taken back here is v6.
    stack.make("downgrade", f"to={V6}")
    stack.sql("INSERT INTO users (email, password) SELECT n || '@x.id', 'x' FROM generate_series(1, 100) n")
    stack.sql(
        "INSERT INTO posts (nama, umur, alamat, owner_id, no_hp) SELECT 'nama ' || n, n % 90, 'Jalan ' || n,"
        f" (SELECT min(id) FROM users) + n % 100, '+62 8' || md5(n::text) FROM generate_series(1, {POSTS}) n"
    )
    # Not in public, so that the schema is the stack's own.
    stack.sql("CREATE SCHEMA test; CREATE TABLE test.before AS TABLE posts")
    return stack


def _different(stack: Stack) -> str:
    return stack.sql(f"SET search_path = public, test; {DIFFERENT}")


def _state(stack: Stack) -> tuple[str, str, str]:
    return stack.revision(), stack.schema(), _different(stack)


def test_rollback_without_yes_is_refused_where_nobody_can_be_asked(filled: Stack) -> None:
    before = _state(filled)
    result = filled.run("make", "rollback")
    assert result.returncode != 0
    assert "Error 11" in result.stdout
    assert not differs("docs/undo.md", "$ make rollback to=b25a1c6f7e13\n", result.stdout)
    assert (
        f"step {V6} (v6 tambah kolom no_hp) would lose:\n  posts.no_hp       100,000 rows  dropped columns"
        in result.stdout
    )
    assert "nothing was changed\n   do: add yes=1" in result.stdout
    assert _state(filled) == before
    assert filled.run("make", "downgrade", f"to={V5}").returncode != 0
    assert _state(filled) == before


def test_rollback_asks_on_a_terminal(filled: Stack) -> None:
    before = _state(filled)
    for answer in ("", "Tangga"):
        code, output = _on_a_terminal(filled, answer, "make", "rollback")
        assert code != 0
        assert "Error 11" in output
        assert "100,000 rows" in output
        assert _state(filled) == before
    code, output = _on_a_terminal(filled, "tangga", "make", "rollback")
    assert code == 0, output
    assert filled.revision() == V5
    filled.make("migrate", f"to={V6}")
    filled.make("restore-data")
    assert _different(filled) == "0|0"


def test_every_value_comes_back_row_by_row(filled: Stack) -> None:
    output = filled.make("rollback", "yes=1")
    assert "migrate: saved posts.no_hp: 100,000 rows (dropped columns)" in output
    assert filled.revision() == V5
    # A container is gone with its step; the volume stays.
    filled.make("migrate", f"to={V6}")
    assert _different(filled) == f"{POSTS}|{POSTS}"
    assert "posts.no_hp  dropped columns  100,000   100,000" in filled.make("restore-data")
    assert _different(filled) == "0|0"
    assert "already restored on" in filled.make("restore-data")


def test_with_the_disk_full_the_rollback_does_not_happen(filled: Stack) -> None:
    before = _state(filled)
    assert before[2] == "0|0"
    override = filled.folder / "compose.override.yaml"
    override.write_text(FULL)
    try:
        result = filled.run("make", "rollback", "yes=1")
    finally:
        override.unlink()
    assert "Error 3" in result.stdout, result.stdout
    what, remedy = result.stdout.split("\nerror: ")[1].splitlines()[:2]
    assert what == (
        f"step {V6} (v6 tambah kolom no_hp) would lose data, and saving it in /saved failed: "
        "No space left on device; the step was not run"
    )
    assert not differs("docs/undo.md", "error: ", f"error: {what}\n{remedy}\n")
    assert _state(filled) == before


def test_steps_that_lose_nothing_ask_nothing(filled: Stack) -> None:
    filled.sql("UPDATE posts SET no_hp = NULL")
    output = filled.make("rollback", "to=-2")
    assert "saved" not in output
    filled.make("migrate", f"to={V6}")


def test_a_program_can_read_what_would_be_lost(filled: Stack) -> None:
    result = filled.run(
        "docker",
        "compose",
        "--progress",
        "quiet",
        "run",
        "--rm",
        "-T",
        "migrate",
        "alembic",
        "losses",
        "base",
        "--json",
    )
    assert result.returncode == 11
    steps = json.loads(result.stdout[result.stdout.index("[") :])
    lost = {loss["table"]: loss["rows"] for step in steps for loss in step["losses"] if loss["kind"] == "dropped-table"}
    assert lost == {"public.posts": POSTS, "public.users": 100}


def _on_a_terminal(stack: Stack, answer: str, *command: str) -> tuple[int, str]:
    """Run a command on a terminal, answer its question, and return its exit code and what was shown."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, cwd=stack.folder, env=stack.env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    shown = b""

    def read() -> bytes:
        nonlocal shown
        try:
            shown += os.read(ours, 65536)
        except (BlockingIOError, OSError):
            time.sleep(0.05)
        return shown

    wait_for(lambda: b"to go on: " in read(), "the question")
    os.write(ours, f"{answer}\n".encode())
    wait_for(lambda: bool(read()) and process.poll() is not None, "the end")
    read()
    os.close(ours)
    return process.returncode, shown.decode().replace("\r\n", "\n")
