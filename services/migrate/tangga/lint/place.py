"""What is known when a rule looks at a statement: the tables before it, and what the step has done so far."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pglast import ast
from pglast.enums import AlterTableType, ObjectType

from tangga.catalogue.ours import UNNAMED, title
from tangga.lint.schema import Column, Schema, Table, column_of
from tangga.lint.statements import Statement
from tangga.lint.trees import DATA, changed_by, commands_of, dropped_names, name_of, names_of, renamed_by

_NO_SCHEMA_CHANGE = (
    *DATA, ast.SelectStmt, ast.CopyStmt, ast.TruncateStmt, ast.TransactionStmt, ast.VariableSetStmt, ast.LockStmt,
    ast.VacuumStmt, ast.ExplainStmt, ast.CommentStmt, ast.CallStmt, ast.DiscardStmt, ast.CheckPointStmt,
    ast.RefreshMatViewStmt,
)  # fmt: skip


@dataclass
class Place:
    """The tables before a statement, and the step so far."""

    schema: Schema
    made: set[str] = field(default_factory=set)
    # Columns that the step has added with a default, to a table that was there, and where.
    added: dict[tuple[str, str], Statement] = field(default_factory=dict)
    changed_data: list[Statement] = field(default_factory=list)
    changes_schema: bool = False
    dropped_concurrently: set[str] = field(default_factory=set)
    enum_values: list[tuple[int | None, str]] = field(default_factory=list)
    widened: dict[tuple[str, str], Statement] = field(default_factory=dict)
    # Types, and schemas ("schema x"), that the step has made; and those that it has renamed, and where.
    named: set[str] = field(default_factory=set)
    renamed: dict[str, Statement] = field(default_factory=dict)
    # Tables, and schemas ("schema x"), that the rest of the step drops.
    to_drop: set[str] = field(default_factory=set)

    def is_new(self, relation: Any) -> bool:
        """Tell whether the step itself made the table: then nobody uses it, and it has no rows but the step's."""
        return relation is not None and name_of(relation) in self.made

    def is_passing(self, table: str) -> bool:
        """Tell whether nobody minds what is done to a table: the step itself made it, or drops it in the end."""
        return table in self.made or table in self.to_drop or f"schema {table.partition('.')[0]}" in self.to_drop

    def are_new(self, relations: Sequence[Any] | None) -> bool:
        """Tell whether the step itself made all of these tables."""
        return all(self.is_new(relation) for relation in relations or ())

    def table(self, name: str) -> Table:
        """Return a table; an empty one if no step made it."""
        return self.schema.get(name, Table())

    def column(self, table: str, name: str) -> Column | None:
        """Return a column; None if it is not there."""
        return self.table(table).columns.get(name)

    def altered(self, statement: Statement, *kinds: AlterTableType) -> Iterator[tuple[Any, Any]]:
        """Yield table and command of an ALTER TABLE that has commands of these kinds; none of a table that is new."""
        tree: Any = statement.tree
        for command in commands_of(tree):
            if command.subtype in kinds and not self.is_new(tree.relation):
                yield tree.relation, command

    def note(self, statement: Statement) -> None:
        """Remember what the rest of the step needs to know about a statement."""
        tree = statement.tree
        if tree is None:
            return
        target = changed_by(tree)
        if target is not None and not self.is_new(target) and statement.helper is None:
            self.changed_data.append(statement)
        self.changes_schema |= not isinstance(tree, _NO_SCHEMA_CHANGE)
        if note := _NOTES.get(type(tree)):
            note(self, statement, tree)


def _note_table(place: Place, _: Statement, tree: Any) -> None:
    place.made.add(name_of(tree.relation if isinstance(tree, ast.CreateStmt) else tree.into.rel))


def _note_enum_value(place: Place, statement: Statement, tree: Any) -> None:
    if tree.newVal is not None and tree.oldVal is None:
        place.enum_values.append((statement.transaction, tree.newVal))


def _note_name(place: Place, _: Statement, tree: Any) -> None:
    if isinstance(tree, ast.CreateSchemaStmt):
        place.named.add(f"schema {tree.schemaname}")
    else:
        place.named.add(name_of(tree.typevar) if isinstance(tree, ast.CompositeTypeStmt) else names_of(tree)[0])


def _note_rename(place: Place, statement: Statement, tree: Any) -> None:
    if tree.renameType == ObjectType.OBJECT_TABLE and place.is_new(tree.relation):
        place.made.add(title(tree.relation.schemaname or UNNAMED, tree.newname))
    elif (name := renamed_by(tree)) and name not in place.named:
        place.renamed[name] = statement


def _note_dropped_index(place: Place, _: Statement, tree: Any) -> None:
    if tree.removeType == ObjectType.OBJECT_INDEX and tree.concurrent:
        place.dropped_concurrently |= {parts[-1].sval for parts in tree.objects or ()}


def _note_columns(place: Place, statement: Statement, _: Any) -> None:
    for relation, command in place.altered(statement, AlterTableType.AT_AddColumn):
        column = column_of(command.def_)
        if column.not_null and column.filled:
            place.added[name_of(relation), command.def_.colname] = statement
    for relation, command in place.altered(statement, AlterTableType.AT_AlterColumnType):
        place.widened[name_of(relation), command.name] = statement


_NOTES: Final[dict[type[ast.Node], Callable[[Place, Statement, Any], None]]] = {
    ast.CreateStmt: _note_table,
    ast.CreateTableAsStmt: _note_table,
    ast.AlterEnumStmt: _note_enum_value,
    ast.CompositeTypeStmt: _note_name,
    ast.CreateDomainStmt: _note_name,
    ast.CreateEnumStmt: _note_name,
    ast.CreateSchemaStmt: _note_name,
    ast.RenameStmt: _note_rename,
    ast.DropStmt: _note_dropped_index,
    ast.AlterTableStmt: _note_columns,
}


def dropped_by(tree: ast.Node | None) -> set[str]:
    """Return the tables, and schemas ("schema x"), that a statement drops."""
    if not isinstance(tree, ast.DropStmt):
        return set()
    if tree.removeType == ObjectType.OBJECT_SCHEMA:
        return {f"schema {name}" for name in dropped_names(tree)}
    return {*dropped_names(tree)} if tree.removeType == ObjectType.OBJECT_TABLE else set()
