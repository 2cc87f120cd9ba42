"""What a syntax tree is about: the name of a table, the commands of an ALTER TABLE, whose rows are changed."""

from typing import Any

from pglast import ast
from pglast.enums import AlterTableType, ObjectType

from tangga.catalogue.ours import UNNAMED, title

# Statements that change rows.
DATA = (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt)


def name_of(relation: Any) -> str:
    """Return what people call a table."""
    return title(relation.schemaname or UNNAMED, str(relation.relname))


def dropped_names(tree: Any) -> list[str]:
    """Return what a DROP of tables, indexes or schemas names, as people call it."""
    named = [[part.sval for part in (parts if isinstance(parts, tuple) else (parts,))] for parts in tree.objects or ()]
    return [".".join(names if names[0] != UNNAMED else names[1:]) for names in named]


def names_of(tree: Any) -> list[str]:
    """Return what a statement about a type names, as people call it."""
    parts = getattr(tree, "typeName", None) or getattr(tree, "domainname", None) or ()
    return [title(*([UNNAMED, *(part.sval for part in parts)][-2:]))] if parts else []


def renamed_by(tree: Any) -> str | None:
    """Return the type, or the schema ("schema x"), whose name a statement takes away; None of any other statement."""
    if isinstance(tree, ast.RenameStmt):
        if tree.renameType == ObjectType.OBJECT_SCHEMA:
            return f"schema {tree.subname}"
        if tree.renameType in (ObjectType.OBJECT_TYPE, ObjectType.OBJECT_DOMAIN):
            parts: Any = tree.object
            return title(*([UNNAMED, *(part.sval for part in parts)][-2:]))
    return None


def tables_of(tree: Any) -> list[str]:
    """Return the tables that a statement alters, renames or drops, or whose index it builds."""
    if isinstance(tree, ast.DropStmt) and tree.removeType == ObjectType.OBJECT_TABLE:
        return dropped_names(tree)
    if isinstance(tree, ast.AlterTableStmt | ast.RenameStmt | ast.IndexStmt) and tree.relation is not None:
        return [name_of(tree.relation)]
    return []


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
