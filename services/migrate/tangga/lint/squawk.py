"""squawk, run once for all steps, a file for each; and its false alarms, each known by its case.

Never all steps in one file: a table that an earlier step made would count as new, and everything about it as harmless.
"""

import json
import subprocess
import tempfile
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pglast import ast
from pglast.enums import AlterTableType, ConstrType

from tangga.exits import STEP_FAILED, Stop
from tangga.lint.rules import Place, Problem
from tangga.lint.schema import column_of, is_free, name_of, type_of
from tangga.lint.statements import Statement
from tangga.remedies import say

# The release whose rules hold.
_POSTGRESQL = "17"
# Every step has them: guard/steps.py.
_PREAMBLE = ["SET lock_timeout = '5s';", "SET statement_timeout = '900s';", "BEGIN;"]

# The way down takes things away by its nature, and is no place for style: these hold there too.
DOWNWARDS: Final = {
    "adding-field-with-default", "adding-foreign-key-constraint", "adding-not-nullable-field", "adding-required-field",
    "adding-serial-primary-key-field", "ban-concurrent-index-creation-in-transaction", "ban-truncate-cascade",
    "ban-uncommitted-transaction", "changing-column-type", "constraint-missing-not-valid",
    "disallowed-unique-constraint", "prefer-robust-stmts", "require-concurrent-index-creation",
    "require-concurrent-index-deletion",
    "require-concurrent-partition-detach", "require-concurrent-reindex", "syntax-error", "transaction-nesting",
}  # fmt: skip


def alarms(steps: Sequence[Sequence[Statement]]) -> list[dict[int, list[tuple[Problem, str]]]]:
    """Return for each step what squawk says: number of the statement -> problems, each with squawk's help.

    Raises Stop if squawk cannot be run.
    """
    found: list[dict[int, list[tuple[Problem, str]]]] = [{} for _ in steps]
    with tempfile.TemporaryDirectory(prefix="lint-") as folder:
        starts = [_write(Path(folder, f"{number}.sql"), statements) for number, statements in enumerate(steps)]
        for alarm in _run(Path(folder), len(steps)) if steps else ():
            number = int(Path(alarm["file"]).stem)
            at = bisect_right(starts[number], alarm["line"]) - 1
            if at >= 0:
                problem = Problem(alarm["rule_name"], _sentence(alarm["message"]))
                remedy = _sentence(alarm.get("help") or "") or f"see https://squawkhq.com/docs/{problem.rule}"
                found[number].setdefault(at, []).append((problem, remedy))
    return found


def is_false(alarm: Problem, statement: Statement, place: Place, others: set[str]) -> bool:
    """Tell whether squawk is wrong here, because it does not know the earlier steps, or our session.

    `others` are the rules that it names for the same statement.
    """
    tree = statement.tree
    if alarm.rule == "prefer-robust-stmts":
        return statement.helper is not None or statement.transaction is not None or _can_be_repeated(tree, place)
    if not isinstance(tree, ast.AlterTableStmt):
        return False
    commands: Any = tree.cmds or ()
    table = place.schema.get(name_of(tree.relation))
    if alarm.rule in ("changing-column-type", "prefer-text-field"):
        changes = [(table and table.columns.get(command.name), command) for command in commands]
        if any(command.subtype != AlterTableType.AT_AlterColumnType for command in commands):
            return False
        if alarm.rule == "prefer-text-field":
            return all(column and column.type.name == "varchar" for column, _ in changes)
        return all(column and is_free(column.type, type_of(command.def_.typeName)) for column, command in changes)
    if len(commands) != 1:
        return False
    [command] = commands
    if alarm.rule == "constraint-missing-not-valid":
        # There is no NOT VALID for a unique or exclusion constraint; and a foreign key has a rule of its own.
        named_better = {
            "adding-foreign-key-constraint",
            "disallowed-unique-constraint",
            "adding-serial-primary-key-field",
        }
        is_exclusion = getattr(command.def_, "contype", None) == ConstrType.CONSTR_EXCLUSION
        return is_exclusion or bool(named_better & others)
    if alarm.rule == "adding-not-nullable-field":
        checks = table.constraints.values() if table else ()
        return any(check.valid and check.proves_not_null == command.name for check in checks)
    if alarm.rule == "ban-drop-constraint":
        # A CHECK (x IS NOT NULL) that has done its work: the column says the same.
        check = table.constraints.get(command.name) if table else None
        column = table.columns.get(check.proves_not_null) if table and check and check.proves_not_null else None
        return column is not None and column.not_null
    if alarm.rule == "ban-drop-default":
        # The default that the step itself gave to a new column: our own rule says who misses it.
        return (name_of(tree.relation), command.name) in place.added
    if alarm.rule == "prefer-identity":
        # Our own rule says the worse thing about it.
        return command.subtype == AlterTableType.AT_AddColumn and column_of(command.def_).sequence is not None
    return False


def _can_be_repeated(tree: ast.Node | None, place: Place) -> bool:
    """Outside of a transaction a step that was cut off is run again from its start: what then does not fail."""
    match tree:
        case ast.IndexStmt(idxname=name):
            return name in place.dropped_concurrently
        case ast.AlterTableStmt(cmds=[ast.AlterTableCmd(subtype=AlterTableType.AT_ValidateConstraint)]):
            return True
    return False


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
    command = [
        "squawk",
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
