"""One operation at a time, its line in the log, and how a cause is handed on."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.unit.scripts.operations import REPOSITORY

LIBRARIES = "lib/ui.sh lib/json.sh lib/exits.sh lib/steps.sh lib/operation.sh"


def _run(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    sourced = "".join(f". {REPOSITORY}/scripts/{each}; " for each in LIBRARIES.split())
    return subprocess.run(
        ["bash", "-Eeuo", "pipefail", "-c", sourced + script],
        cwd=folder, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def _log(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / ".deploy/log.jsonl").read_text().splitlines()]


def test_what_an_operation_was_stands_in_the_log(tmp_path: Path) -> None:
    ended = _run(tmp_path, "with_deploy_lock deploy; operation_from=v1 operation_to='a \"b\" \\' operation_revision=0b")
    assert (ended.returncode, ended.stderr) == (0, "")
    [line] = _log(tmp_path)
    assert {key: line[key] for key in ("action", "from", "to", "revision", "outcome", "reason")} == {
        "action": "deploy", "from": "v1", "to": 'a "b" \\', "revision": "0b", "outcome": "ok", "reason": "",
    }  # fmt: skip
    assert sorted(path.name for path in (tmp_path / ".deploy").iterdir()) == ["lock", "log.jsonl"]
    assert (tmp_path / ".deploy/lock").read_text() == ""


FAILURES = {
    "die 'no room' 'make some'": "no room",
    "f() { die 'of a function'; }; x=$(f)": "of a function",
    "(die 'of a part') || exit 7": "of a part",
    'bash -c \'. "$0/scripts/lib/ui.sh"; die "of a script"\' "$ROOT"': "of a script",
    "f() { die 'of a step'; }; step --or 'it failed' label f": "it failed: of a step",
    "f() { echo 'error: of a container' >&2; exit 3; }; asked f": "of a container",
    "f() { echo 'last words'; exit 3; }; step --or 'it failed' label f": "it failed: last words",
    "note_refusal 'said already'; exit 11": "said already",
    "false": "ended with status 1",
}


@pytest.mark.parametrize("script", FAILURES)
def test_why_an_operation_has_failed_stands_in_the_log(script: str, tmp_path: Path) -> None:
    ended = _run(tmp_path, f"ROOT={REPOSITORY}; with_deploy_lock restore; {script}; echo went on")
    assert ended.returncode != 0
    assert "went on" not in ended.stdout
    [line] = _log(tmp_path)
    assert (line["outcome"], line["reason"]) == ("failed", FAILURES[script])
    assert ended.stderr.count("error: ") <= 1


def test_a_cause_that_was_got_over_is_not_that_of_the_next_failure(tmp_path: Path) -> None:
    script = "f() { die 'the first'; }; g() { echo 'the second'; exit 1; }; attempt f; step --or 'it failed' label g"
    ended = _run(tmp_path, script)
    assert "error: it failed: the second" in ended.stderr


def test_the_remedy_of_a_step_is_handed_on_with_its_cause(tmp_path: Path) -> None:
    ended = _run(tmp_path, "f() { die 'no room' 'make some'; }; told label f")
    assert ended.stderr.splitlines()[1:] == ["error: no room", "   do: make some"]
    assert not list(tmp_path.iterdir())


def test_a_second_operation_is_refused_and_says_which_one_is_under_way(tmp_path: Path) -> None:
    outer = 'with_deploy_lock deploy; bash -c "$INNER" || echo "refused $?"'
    sourced = "".join(f". {REPOSITORY}/scripts/{each}; " for each in LIBRARIES.split())
    ended = _run(tmp_path, f"export INNER='set -Eeuo pipefail; {sourced} with_deploy_lock restore; echo both'; {outer}")
    assert "both" not in ended.stdout
    assert "refused 1" in ended.stdout
    assert "error: deploy is under way: started by " in ended.stderr
    assert [line["action"] for line in _log(tmp_path)] == ["deploy"]


def test_one_that_was_killed_is_noted_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".deploy").mkdir()
    (tmp_path / ".deploy/lock").write_text("restore 2026-01-01T00:00:00Z somebody 1\n")
    ended = _run(tmp_path, "with_deploy_lock deploy")
    assert ended.stdout == "Note: restore, started by somebody at 2026-01-01T00:00:00Z, was killed.\n"
    first, second = _log(tmp_path)
    assert (first["action"], first["outcome"], first["reason"]) == ("restore", "failed", "killed")
    assert (second["action"], second["outcome"]) == ("deploy", "ok")


def test_what_was_made_is_cleaned_up_whatever_the_end(tmp_path: Path) -> None:
    ended = _run(tmp_path, "clean_up() { echo cleaned; false; }; with_deploy_lock deploy; die 'no room'")
    assert ended.stdout == "cleaned\n"
    assert "what this run has left could not all be removed" in ended.stderr
    assert _log(tmp_path)[0]["reason"] == "no room"
