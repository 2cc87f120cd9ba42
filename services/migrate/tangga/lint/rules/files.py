"""The revision as a whole: what can be seen of it, whether it goes down again, where it stands, what it excuses."""

from collections.abc import Collection, Iterator
from typing import Any, Final

from pglast import ast
from pglast.enums import AlterTableType

from tangga.lint.place import Place
from tangga.lint.rule import Example, Family, File, Function, Rule, Values
from tangga.lint.statements import Statement
from tangga.lint.trees import only_command

# The revision that all examples come after (lint/examples.py).
GROUND: Final = "2f6c1a9be804"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 120 else line[:117] + "..."


def _unseen(statement: Statement, _: Place) -> Iterator[Values]:
    if statement.unseen:
        yield {"what": _short(statement.unseen)}


HIDDEN_SQL = Rule(
    "hidden-sql",
    why="the linter cannot see what this does: {what}",
    remedy="write the statement out, or look yourself and say in lint_ignore what it does",
    of_statement=_unseen,
    downwards=True,
    examples=(
        Example(
            "SQL that a DO block puts together while it runs",
            "op.execute(\"DO $$ BEGIN EXECUTE 'DROP TABLE ' || 'old_' || 'orders'; END $$\")",
            '@lint_ignore = {"ban-drop-table": "nobody uses it"}\nop.execute("DROP TABLE IF EXISTS old_orders")',
        ),
    ),
)


def _not_printed(function: Function) -> Iterator[tuple[int, Values]]:
    step = function.step
    if function.refuses:
        return
    if step.problem:
        what = f"cannot be printed without a database, so nobody can check it: {step.problem}"
        yield step.problem_line, {"what": what}
    elif step.does_something and not step.printed:
        yield step.line, {"what": "does something, but prints nothing without a database: nobody can check it"}


NOT_RENDERED = Rule(
    "not-rendered",
    why="it {what}",
    remedy="print it without a database too (op.execute); else say in lint_ignore what it does",
    of_function=_not_printed,
    downwards=True,
)


def _undeclared(function: Function) -> Iterator[tuple[int, Values]]:
    if function.refuses and not function.irreversible:
        yield function.step.problem_line, {"problem": function.step.problem or ""}


IRREVERSIBLE_UNDECLARED = Rule(
    "irreversible-undeclared",
    why="downgrade ends in {problem}",
    remedy='declare it in the step: irreversible = "reason"',
    of_function=_undeclared,
    downwards=True,
)


def _does_not_go_down(function: Function) -> Iterator[tuple[int, Values]]:
    step = function.step
    does_nothing = not (step.printed or step.problem or step.does_something)
    if step.missing and step.direction == "down":
        yield step.line, {"what": "is not there, so going down fails"}
    elif step.direction == "down" and function.goes_up and does_nothing:
        declared = "passes in silence, though declared irreversible"
        yield step.line, {"what": declared if function.irreversible else "does not undo what upgrade does"}


NO_DOWNGRADE = Rule(
    "no-downgrade",
    why="downgrade {what}",
    remedy='write it; or declare why not, irreversible = "reason", and raise in downgrade',
    of_function=_does_not_go_down,
    downwards=True,
)


def _does_not_go_up(function: Function) -> Iterator[tuple[int, Values]]:
    if function.step.missing and function.step.direction == "up":
        yield function.step.line, {}


NO_UPGRADE = Rule(
    "no-upgrade",
    why="upgrade is not there, so going up fails",
    remedy="write it; a step that does nothing says pass",
    of_function=_does_not_go_up,
)


def _one_of_several(file: File) -> Iterator[tuple[str, Values]]:
    if file.script.revision in file.heads and len(file.heads) > 1:
        yield "revision", {"count": str(len(file.heads)), "heads": ", ".join(sorted(file.heads))}


SEVERAL_HEADS = Rule(
    "several-heads",
    why="`upgrade head` does not know where to go: there are {count} heads, {heads}",
    remedy="put one on top of the other: {reparent}; or join them: {merge}",
    of_file=_one_of_several,
    examples=(
        Example(
            "more than one head",
            f'@down_revision = "{GROUND}"  # as another step has\nop.execute("ANALYZE orders")',
            '# {reparent} puts it onto the other head; {merge} joins the two\nop.execute("ANALYZE orders")',
        ),
    ),
)


def _can_be_repeated(statement: Statement, place: Place, _: Collection[str]) -> bool:
    """Outside of a transaction a step that was cut off is run again from its start: this then does not fail."""
    if statement.helper is not None or statement.transaction is not None:
        return True
    tree: Any = statement.tree
    if isinstance(tree, ast.IndexStmt):
        return str(tree.idxname) in place.dropped_concurrently
    _, command = only_command(tree)
    return command is not None and command.subtype == AlterTableType.AT_ValidateConstraint


ROBUST = Rule(
    "prefer-robust-stmts",
    remedy="outside a transaction, write what can be run again: IF NOT EXISTS, IF EXISTS",
    is_false=_can_be_repeated,
    downwards=True,
)
SYNTAX = Rule("syntax-error", downwards=True)
UNCOMMITTED = Rule("ban-uncommitted-transaction", downwards=True)
NESTED = Rule("transaction-nesting", downwards=True)

# Found by lint/exceptions.py.
UNUSED_EXCEPTION = Rule(
    "unused-exception",
    why="no finding in this file is called {rule}",
    remedy="take it out of lint_ignore",
)
WITHOUT_REASON = Rule(
    "exception-without-reason",
    why="the exception for {rule} gives no reason",
    remedy="write the reason into lint_ignore, for the one who reads it in a year",
)
NO_EXCEPTIONS = Rule(
    "exceptions-unreadable",
    why="lint_ignore is {what}, so nothing is excused",
    remedy='write it as lint_ignore = {"rule": "reason"}',
)
# Found by lint/database.py.
EDITED = Rule(
    "edited-after-applied",
    why="the file is not what this database was migrated with",
    remedy="put the file back as it was (git log shows it), and write a new step for the difference",
    of_the_database=True,
)

FAMILY = Family(
    "The revision as a whole",
    (
        HIDDEN_SQL,
        NOT_RENDERED,
        IRREVERSIBLE_UNDECLARED,
        NO_DOWNGRADE,
        NO_UPGRADE,
        SEVERAL_HEADS,
        ROBUST,
        SYNTAX,
        UNCOMMITTED,
        NESTED,
        UNUSED_EXCEPTION,
        WITHOUT_REASON,
        NO_EXCEPTIONS,
        EDITED,
    ),
)
