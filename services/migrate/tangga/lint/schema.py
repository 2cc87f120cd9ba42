"""What the tables look like before a statement: found by replaying the statements of the earlier steps.

Only what the rules ask for: types, NOT NULL, defaults, constraints. Values are immutable, so that a step's state can be
kept by copying a dictionary.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pglast import ast, parse_sql
from pglast.enums import AlterTableType, ConstrType, NullTestType, ObjectType

from tangga.catalogue.ours import UNNAMED, title
from tangga.lint.trees import dropped_names, name_of
from tangga.lint.types import SERIALS, Type, type_of


@dataclass(frozen=True)
class Column:
    """A column."""

    type: Type
    not_null: bool = False
    # Whether an INSERT may leave it out though it is NOT NULL: a default, an identity, a sequence, an expression.
    filled: bool = False
    # The type of the sequence that a serial column owns.
    sequence: str | None = None


@dataclass(frozen=True)
class Constraint:
    """A constraint."""

    kind: ConstrType
    valid: bool
    # CHECK (column IS NOT NULL): that column.
    proves_not_null: str | None = None


@dataclass(frozen=True)
class Table:
    """A table."""

    columns: dict[str, Column] = field(default_factory=dict)
    constraints: dict[str, Constraint] = field(default_factory=dict)
    indexes: frozenset[str] = frozenset()

    def with_column(self, name: str, column: Column | None) -> "Table":
        """Return the table with that column changed, added, or (None) without it."""
        others = {key: value for key, value in self.columns.items() if key != name}
        return replace(self, columns=others if column is None else {**others, name: column})

    def with_constraint(self, name: str, constraint: Constraint | None) -> "Table":
        """Return the table with that constraint changed, added, or (None) without it."""
        others = {key: value for key, value in self.constraints.items() if key != name}
        return replace(self, constraints=others if constraint is None else {**others, name: constraint})


Schema = dict[str, Table]


def apply(schema: Schema, tree: ast.Node | None) -> None:
    """Change `schema` as the statement would."""
    if change := _CHANGES.get(type(tree)):
        change(schema, tree)


def apply_text(schema: Schema, sql: str) -> None:
    """Change `schema` as the statements of a text would; raises pglast.Error if it cannot be parsed."""
    for raw in parse_sql(sql):
        apply(schema, raw.stmt)


def column_of(definition: Any) -> Column:
    """Return a column from its definition."""
    kinds = {constraint.contype for constraint in definition.constraints or ()}
    type_ = type_of(definition.typeName)
    serial = SERIALS.get(type_.name)
    filled = {ConstrType.CONSTR_DEFAULT, ConstrType.CONSTR_IDENTITY, ConstrType.CONSTR_GENERATED}
    not_null = {ConstrType.CONSTR_NOTNULL, ConstrType.CONSTR_PRIMARY, ConstrType.CONSTR_IDENTITY}
    return Column(
        type=Type(serial) if serial else type_,
        not_null=bool(kinds & not_null) or serial is not None,
        filled=bool(kinds & filled) or serial is not None,
        sequence=serial,
    )


def constraint_of(node: Any) -> Constraint:
    """Return a constraint from its tree."""
    proves = None
    match node.raw_expr:
        case ast.NullTest(
            nulltesttype=NullTestType.IS_NOT_NULL, arg=ast.ColumnRef(fields=[*_, ast.String(sval=column)])
        ):
            proves = column
    return Constraint(node.contype, not node.skip_validation, proves)


# Statements ----------------------------------------------------------------------------------------------------------


def _create(schema: Schema, tree: Any) -> None:
    table = Table()
    for element in tree.tableElts or ():
        if isinstance(element, ast.ColumnDef):
            table = table.with_column(str(element.colname), column_of(element))
        elif isinstance(element, ast.Constraint):
            table = _constrained(table, element)
    schema[name_of(tree.relation)] = table


def _alter(schema: Schema, tree: Any) -> None:
    table = schema.get(name_of(tree.relation), Table())
    for command in tree.cmds or ():
        table = _altered(table, command)
    schema[name_of(tree.relation)] = table


def _index(schema: Schema, tree: Any) -> None:
    name = name_of(tree.relation)
    if tree.idxname:
        table = schema.get(name, Table())
        schema[name] = replace(
            table, indexes=table.indexes | {title(tree.relation.schemaname or UNNAMED, tree.idxname)}
        )


def _drop(schema: Schema, tree: Any) -> None:
    if tree.removeType == ObjectType.OBJECT_TABLE:
        for name in dropped_names(tree):
            schema.pop(name, None)
    elif tree.removeType == ObjectType.OBJECT_INDEX:
        gone = {*dropped_names(tree)}
        for name, table in schema.items():
            schema[name] = replace(table, indexes=table.indexes - gone) if table.indexes & gone else table


def _rename(schema: Schema, tree: Any) -> None:
    if tree.renameType == ObjectType.OBJECT_TABLE:
        if (table := schema.pop(name_of(tree.relation), None)) is not None:
            schema[tree.newname] = table
    elif tree.renameType == ObjectType.OBJECT_COLUMN:
        table = schema.get(name_of(tree.relation), Table())
        if column := table.columns.get(tree.subname):
            schema[name_of(tree.relation)] = table.with_column(tree.subname, None).with_column(tree.newname, column)


def _alter_sequence(schema: Schema, tree: Any) -> None:
    """ALTER SEQUENCE ... AS type: the sequence of a serial column is named after table and column."""
    types = [type_of(option.arg).name for option in tree.options or () if option.defname == "as"]
    for table, name, column in _serial_columns(schema) if types else ():
        if name_of(tree.sequence) == f"{table}_{name}_seq":
            schema[table] = schema[table].with_column(name, replace(column, sequence=types[0]))
            return


def _serial_columns(schema: Schema) -> Iterator[tuple[str, str, Column]]:
    for table_name, table in schema.items():
        for name, column in table.columns.items():
            if column.sequence:
                yield table_name, name, column


_CHANGES: Final[dict[type[ast.Node | None], Callable[[Schema, Any], None]]] = {
    ast.CreateStmt: _create,
    ast.AlterTableStmt: _alter,
    ast.DropStmt: _drop,
    ast.IndexStmt: _index,
    ast.RenameStmt: _rename,
    ast.AlterSeqStmt: _alter_sequence,
}


# The commands of ALTER TABLE -----------------------------------------------------------------------------------------


def _altered(table: Table, command: Any) -> Table:
    if change := _OF_THE_TABLE.get(command.subtype):
        return change(table, command)
    column = table.columns.get(command.name)
    if column and (alter := _OF_A_COLUMN.get(command.subtype)):
        return table.with_column(command.name, alter(column, command))
    return table


def _constrained(table: Table, node: Any) -> Table:
    if node.contype == ConstrType.CONSTR_PRIMARY:
        for key in node.keys or ():
            if column := table.columns.get(key.sval):
                table = table.with_column(key.sval, replace(column, not_null=True))
    return table.with_constraint(node.conname, constraint_of(node)) if node.conname else table


def _validated(table: Table, command: Any) -> Table:
    constraint = table.constraints.get(command.name)
    return table.with_constraint(command.name, replace(constraint, valid=True)) if constraint else table


_OF_THE_TABLE: Final[dict[AlterTableType, Callable[[Table, Any], Table]]] = {
    AlterTableType.AT_AddColumn: lambda table, it: table.with_column(it.def_.colname, column_of(it.def_)),
    AlterTableType.AT_DropColumn: lambda table, it: table.with_column(it.name, None),
    AlterTableType.AT_AddConstraint: lambda table, it: _constrained(table, it.def_),
    AlterTableType.AT_DropConstraint: lambda table, it: table.with_constraint(it.name, None),
    AlterTableType.AT_ValidateConstraint: _validated,
}
_OF_A_COLUMN: Final[dict[AlterTableType, Callable[[Column, Any], Column]]] = {
    AlterTableType.AT_AlterColumnType: lambda column, it: replace(column, type=type_of(it.def_.typeName)),
    AlterTableType.AT_SetNotNull: lambda column, _: replace(column, not_null=True),
    AlterTableType.AT_DropNotNull: lambda column, _: replace(column, not_null=False),
    AlterTableType.AT_ColumnDefault: lambda column, it: replace(column, filled=it.def_ is not None),
    AlterTableType.AT_AddIdentity: lambda column, _: replace(column, filled=True),
}
