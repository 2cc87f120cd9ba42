"""squawk, run once for all steps, a file for each. rules/ says, by its rules' names, in which cases it is wrong.

Never all steps in one file: a table that an earlier step made would count as new, and everything about it as harmless.
"""

import json
import subprocess
import sys
import tempfile
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tangga.exits import STEP_FAILED, Stop
from tangga.lint.finding import Problem
from tangga.lint.statements import Statement
from tangga.remedies import say

# The release whose rules hold.
_POSTGRESQL = "17"
# Every step has them: guard/steps.py.
_PREAMBLE = ["SET lock_timeout = '5s';", "SET statement_timeout = '900s';", "BEGIN;"]


def alarms(steps: Sequence[Sequence[Statement]]) -> list[dict[int, list[Problem]]]:
    """Return for each step what squawk says: number of the statement -> problems, with squawk's help as the remedy.

    Raises Stop if squawk cannot be run.
    """
    found: list[dict[int, list[Problem]]] = [{} for _ in steps]
    with tempfile.TemporaryDirectory(prefix="lint-") as folder:
        starts = [_write(Path(folder, f"{number}.sql"), statements) for number, statements in enumerate(steps)]
        for alarm in _run(Path(folder), len(steps)) if steps else ():
            number = int(Path(alarm["file"]).stem)
            at = bisect_right(starts[number], alarm["line"]) - 1
            if at >= 0:
                found[number].setdefault(at, []).append(_problem(alarm))
    return found


def _problem(alarm: dict[str, Any]) -> Problem:
    rule = alarm["rule_name"]
    help_ = _sentence(alarm.get("help") or "") or f"see https://squawkhq.com/docs/{rule}"
    return Problem(rule, _sentence(alarm["message"]), help_)


def _write(file: Path, statements: Sequence[Statement]) -> list[int]:
    """Write the step as squawk shall see it; return the line (from 0) at which each statement starts."""
    lines = [*_PREAMBLE]
    starts = []
    for statement in statements:
        starts.append(len(lines))
        # An exception stands in the revision, with a reason; not in a comment of the SQL.
        sql = statement.sql.replace("squawk-ignore", "squawk ignore").rstrip(";")
        lines += f"{sql}\n;".splitlines()
    file.write_text("\n".join([*lines, "COMMIT;", ""]))
    return starts


def _run(folder: Path, count: int) -> list[dict[str, Any]]:
    # It comes beside Python; a program that was started by its path has that folder not on the PATH.
    beside = Path(sys.executable).with_name("squawk")
    command = [
        str(beside) if beside.exists() else "squawk",
        "--reporter=json",
        f"--pg-version={_POSTGRESQL}",
        *(f"{number}.sql" for number in range(count)),
    ]
    try:
        finished = subprocess.run(  # noqa: S603 - a fixed program, on files of ours
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    except FileNotFoundError:
        raise Stop("squawk is not installed here", say("no-squawk"), STEP_FAILED) from None
    # 0: nothing found; 1: something found.
    if finished.returncode not in (0, 1) or not finished.stdout.strip():
        reason = (finished.stderr or finished.stdout).strip().partition("\n")[0]
        raise Stop(f"squawk failed: {reason}", "run it by hand: squawk --version", STEP_FAILED)
    found: list[dict[str, Any]] = json.loads(finished.stdout)
    return found


def _sentence(text: str) -> str:
    return " ".join(text.replace("`", "").split()).rstrip(".")
