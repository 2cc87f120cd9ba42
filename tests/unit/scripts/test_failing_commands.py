"""No step passes for done that was not: of each operation, each call of Docker fails in turn.

The real scripts run, in a copy of what they need, with fake_docker first on PATH: an engine on which all goes well, but
for the n-th call. Whatever n is, the operation must end with an error that names the cause, without a ✓ for the step in
which it was, with .env and secrets as before or a word on how it stands, and a line in the log. What may go wrong
without ending the operation stands in its `tolerated`, with the reason.
"""

import dataclasses
import itertools
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.scripts.operations import (
    OPERATIONS,
    PLANTED,
    REPOSITORY,
    ROLES,
    SECRETS,
    Operation,
    Outcome,
    place,
    run,
    run_again,
)


def _wrong(operation: Operation, before: dict[str, str], got: Outcome, well: Outcome, number: int) -> Iterator[str]:
    """Say what is wrong with the outcome of a run whose call of this number has failed."""
    ticks, command = got.calls[number - 1]
    if got.code == 0 and any(re.search(pattern, command) for pattern in operation.tolerated):
        if got.ticks < well.ticks:
            yield "it did less than without the failure"
        return
    if got.code == 0:
        yield "exit 0"
    if got.ticks > ticks:
        yield "a ✓ after the failure"
    if not re.search(rf"^error: .*{PLANTED} {number}\.", got.printed, re.M):
        yield "the cause is not in the error"
    if not re.search(r"^   do: \S", got.printed, re.M):
        yield "no remedy"
    if any(secret in got.printed for secret in SECRETS.values()):
        yield "a secret is printed"
    if got.files != before and not re.search(operation.stands, got.printed):
        yield f"files have changed: {[name for name in got.files | before if got.files.get(name) != before.get(name)]}"
    last = got.log[-1] if got.log else {"outcome": "", "reason": ""}
    if got.locked and (last["outcome"] != "failed" or last["reason"].startswith("ended with status")):
        yield f"the log says: {last}"


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_call_that_fails_ends_the_operation_with_its_cause(
    name: str, well: Callable[[str], Outcome], tmp_path: Path
) -> None:
    operation = OPERATIONS[name]

    def wrong(number: int) -> str:
        folder = tmp_path / str(number)
        before, got = run(folder, operation, FAIL_AT=str(number))
        found = "; ".join(_wrong(operation, before, got, well(name), number))
        shutil.rmtree(folder)
        return found and f"{number} ({got.calls[number - 1][1][:70]}): {found}\n{got.printed}"

    counted = itertools.takewhile(lambda call: not re.search(operation.before, call[1]), well(name).calls)
    positions = range(1, len(list(counted)) + 1)
    with ThreadPoolExecutor(4) as pool:
        found = [text for text in pool.map(wrong, positions) if text]
    print(f"{name}: {len(positions)} positions")
    assert not found, f"{len(found)} of {len(positions)}:\n" + "\n".join(found)


def _passwords(folder: Path) -> tuple[list[str], list[str]]:
    """Return those in .env and those of the database."""
    settings = dict(line.split("=", 1) for line in (folder / ".env").read_text().splitlines())
    database = [(folder / f"fake/password-{role}").read_text() for role in ROLES.values()]
    return [settings[name] for name in ROLES], database


@pytest.mark.parametrize("name", ["rotate-secrets", "rotate-secrets in production"])
@pytest.mark.parametrize("after", ["", "1"], ids=["before it is done", "when it is done"])
def test_env_has_no_password_that_the_database_refuses(
    name: str, after: str, well: Callable[[str], Outcome], tmp_path: Path
) -> None:
    operation = OPERATIONS[name]
    for number in range(1, len(well(name).calls) + 1):
        folder = tmp_path / str(number)
        _, got = run(folder, operation, FAIL_AT=str(number), FAIL_AFTER=after)
        assert got.code != 0
        env, database = _passwords(folder)
        assert env == database or "which goes on with them" in got.printed, got.printed
        _, again = run_again(folder, operation)
        assert again.code == 0, again.printed
        env, database = _passwords(folder)
        assert env == database
        assert not set(env) & set(SECRETS.values())
        assert ".env.rotating" not in again.files


def test_an_update_that_was_rolled_back_is_not_done_because_the_swarm_did_not_answer(
    well: Callable[[str], Outcome], tmp_path: Path
) -> None:
    """What the swarm runs then is the release before, and it is whole."""
    operation = dataclasses.replace(
        OPERATIONS["swarm-deploy"], prepare=lambda folder: (folder / "fake/rolled-back").touch()
    )
    number = place(well("swarm-deploy"), "UpdateStatus")
    _, got = run(tmp_path / "swarm", operation, FAIL_AT=number)
    assert got.code != 0
    assert "the swarm has rolled back (rollback_completed)" in got.printed
    assert "✓ api" not in got.printed


@pytest.mark.parametrize("how", ["{} || true", "if {}; then :; fi", "! {}", "f() {{ {}; }}; f || true"])
@pytest.mark.parametrize("helper", ["step x true", "told x true", "try x true", "asked true", "listed x true"])
def test_a_step_in_a_condition_is_refused(helper: str, how: str) -> None:
    """There errexit is off in whatever it calls."""
    script = f"set -Eeuo pipefail; . scripts/lib/common.sh; {how.format(helper)}"
    result = subprocess.run(["bash", "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "in a condition, where errexit is off" in result.stderr


def test_a_function_ends_at_its_first_line_that_fails() -> None:
    script = "set -Eeuo pipefail; . scripts/lib/common.sh; f() { false; echo went on; }; step --or 'it failed' x f"
    result = subprocess.run(["bash", "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.splitlines()[1:] == [
        "error: it failed: it says nothing, exit 1",
        "   do: mend that, then try again",
    ]
