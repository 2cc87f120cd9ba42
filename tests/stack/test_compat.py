"""The API tests of the last release, on the schema of this one."""

import re
from collections.abc import Callable, Iterator

import pytest

from tests.stack.conftest import Stack
from tests.stack.test_failures import write_step

# The API tests that this release has: all of them take as long as the tier of the API.
TESTS = {"test_connections.py", "test_posts.py", "test_votes.py"}


@pytest.fixture(scope="module")
def released(make_stack: Callable[[str], Stack]) -> Iterator[Stack]:
    """A repository with one release, v1.0.0, and nothing newer; no stack is running."""
    stack = make_stack("compat")
    for file in (stack.folder / "tests/api").glob("test_*.py"):
        if file.name not in TESTS:
            file.unlink()
    stack.ok("git", "init", "--quiet")
    stack.ok("git", "add", "--all")
    author = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
    stack.ok("git", *author, "commit", "--quiet", "--message", "release")
    stack.ok("git", "tag", "v1.0.0")
    stack.ok("scripts/prepare/env.sh")
    stack.ok("scripts/prepare/images.sh")
    yield stack
    stack.run(
        "docker", "compose", "--profile", "*", "down", "--rmi", "local", COMPOSE_PROJECT_NAME=f"{stack.name}-compat"
    )


def test_a_step_that_the_last_release_can_live_with(released: Stack) -> None:
    file = write_step(released, "badc0de00020", 'op.execute("ALTER TABLE posts ADD COLUMN kota varchar")')
    try:
        output = released.make("compat")
    finally:
        file.unlink()
    assert "v1.0.0 works on the new schema" in output
    assert " passed" in output


def test_a_step_that_breaks_the_last_release(released: Stack) -> None:
    file = write_step(released, "badc0de00021", 'op.execute("ALTER TABLE posts DROP COLUMN no_hp")')
    try:
        result = released.run("scripts/compat.sh", "v1.0.0")
    finally:
        file.unlink()
    assert result.returncode == 12, result.stdout
    # Which tests come first depends on what there is; they are named, one a line.
    assert re.search(r"^    \| tests/api/test_\w+\.py::test_\w+", result.stdout, re.M), result.stdout
    assert "the code of v1.0.0 breaks on the new schema" in result.stdout
    assert "column posts.no_hp does not exist" in result.stdout
    assert 'do: keep what v1.0.0 uses until no release that runs uses it: "Rename, drop"' in result.stdout
    # Nothing is left of it.
    assert released.ok("docker", "ps", "--all", "--quiet", "--filter", f"name={released.name}-compat") == ""


def test_without_a_release_it_says_how_to_name_one(released: Stack) -> None:
    released.ok("git", "tag", "--delete", "v1.0.0")
    result = released.run("scripts/compat.sh")
    released.ok("git", "tag", "v1.0.0")
    assert result.returncode == 1
    assert "there is no tag, so no last release" in result.stdout
    assert "make compat ref=" in result.stdout


def test_a_name_that_git_does_not_know(released: Stack) -> None:
    result = released.run("scripts/compat.sh", "v9.9.9")
    assert result.returncode == 1
    assert 'git knows no "v9.9.9"' in result.stdout


def test_a_release_that_is_older_than_this_command(released: Stack) -> None:
    released.ok("git", "rm", "--quiet", "--cached", "tests/api/conftest.py")
    tree = released.ok("git", "write-tree").strip()
    released.ok("git", "reset", "--quiet")
    old = released.ok(
        "git", "-c", "user.name=Test", "-c", "user.email=test@example.com", "commit-tree", tree, "-m", "old"
    ).strip()
    result = released.run("scripts/compat.sh", old)
    assert result.returncode == 1
    assert "is older than make compat: its tests cannot be given a database" in result.stdout
