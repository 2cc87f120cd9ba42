"""`make check`, `make verify` and `make squash` in a real stack, each with its scratch server beside it."""

import re

from tangga.exits import DRIFT, FINDINGS
from tests.migrations.staircase import HEAD, V4, V5
from tests.stack.conftest import Stack


def _scratch_is_gone(stack: Stack) -> bool:
    return stack.compose("--profile", "scratch", "ps", "--all", "--quiet", "scratch").strip() == ""


def test_check_finds_what_was_done_by_hand(stack: Stack) -> None:
    clean = stack.make("check")
    assert re.search(r"^no drift: \d+ objects compared in \d", clean, re.MULTILINE), clean
    stack.sql("ALTER TABLE posts ALTER published SET DEFAULT false")
    drifted = stack.run("make", "check")
    assert f"Error {DRIFT}" in drifted.stdout
    line = "column posts.published: boolean DEFAULT true NOT NULL -> boolean DEFAULT false NOT NULL"
    assert line in drifted.stdout.splitlines()
    stack.sql("ALTER TABLE posts ALTER published SET DEFAULT true")
    assert "no drift" in stack.make("check")
    assert _scratch_is_gone(stack)


def test_verify_passes_and_catches_a_planted_fault(stack: Stack) -> None:
    before = stack.schema()
    passed = stack.make("verify", "rows=10")
    assert "verified: up, down and up again, printed SQL, models" in passed
    file = stack.plant("plant0000001", "op.execute('CREATE SEQUENCE IF NOT EXISTS tickets')")
    try:
        failed = stack.run("make", "verify", "rows=10")
    finally:
        file.unlink()
    assert f"Error {FINDINGS}" in failed.stdout
    assert (
        f"fault: plant0000001 (migrations/versions/{file.name}): after down, sequence tickets: extra" in failed.stdout
    )
    # The live database was not touched.
    assert stack.schema() == before
    assert _scratch_is_gone(stack)


def test_squash_folds_and_the_database_has_nothing_to_do(stack: Stack) -> None:
    kept = {file: file.read_text() for file in stack.steps()}
    before = stack.schema()
    try:
        said = stack.make("squash", f"to={V5}")
        assert f"folded: 5 steps into migrations/versions/20261122_1654_{V5}_baseline.py" in said
        assert [file.name.split("_")[2] for file in stack.steps()][:: len(kept) - 5] == [V5, HEAD]
        # The new file belongs to whoever called make.
        assert stack.steps()[0].stat().st_uid == stack.folder.stat().st_uid
        stack.make("migrate")
        assert (stack.revision(), stack.schema()) == (HEAD, before)
        assert "no drift" in stack.make("check")
    finally:
        for file in stack.steps():
            file.unlink()
        for file, text in kept.items():
            file.write_text(text)
    stack.make("rollback", f"to={V4}", "yes=1")
    refused = stack.run("make", "squash", f"to={V5}")
    assert f"the database is at {V4}, below {V5}: it still needs the steps" in refused.stdout
    assert stack.steps() == sorted(kept)
    stack.make("migrate")
