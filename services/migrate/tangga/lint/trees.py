"""What a syntax tree is about: the name of a table, the commands of an ALTER TABLE, whose rows are changed."""

from typing import Any

from pglast import ast
from pglast.enums import AlterTableType

# Statements that change rows.
DATA = (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt)


def name_of(relation: Any) -> str:
    """Return a table's name, with its schema unless that is public."""
    schema = relation.schemaname
    return f"{schema}.{relation.relname}" if schema and schema != "public" else str(relation.relname)


def commands_of(tree: ast.Node | None) -> tuple[Any, ...]:
    """Return the commands of an ALTER TABLE; () of any other statement."""
    return tuple(tree.cmds or ()) if isinstance(tree, ast.AlterTableStmt) else ()


def only_command(tree: Any) -> tuple[str, Any]:
    """Return table and command of an ALTER TABLE that has just one command; "" and None of any other statement."""
    commands = commands_of(tree)
    return (name_of(tree.relation), commands[0]) if len(commands) == 1 else ("", None)


def changed_by(tree: ast.Node | None) -> Any:
    """Return the table whose rows a statement changes; None if it changes none."""
    if isinstance(tree, DATA):
        return tree.relation
    if isinstance(tree, ast.SelectStmt) and tree.withClause is not None:
        for part in tree.withClause.ctes or ():
            if isinstance(part.ctequery, DATA):
                return part.ctequery.relation
    if isinstance(tree, ast.CopyStmt) and tree.is_from:
        return tree.relation
    return None


def added_not_valid(tree: Any) -> list[tuple[str, str]]:
    """Return the constraints (table, name) that a statement adds NOT VALID."""
    added = [command.def_ for command in commands_of(tree) if command.subtype == AlterTableType.AT_AddConstraint]
    return [(name_of(tree.relation), node.conname) for node in added if node.skip_validation and node.conname]
