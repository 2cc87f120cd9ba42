"""What the tables look like before a statement: found by replaying the statements of the earlier steps.

Only what the rules ask for: types, NOT NULL, defaults, constraints. Values are immutable, so that a step's state can be
kept by copying a dictionary.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from pglast import ast, parse_sql
from pglast.enums import AlterTableType, ConstrType, NullTestType, ObjectType

SERIALS = {
    "smallserial": "int2",
    "serial2": "int2",
    "serial": "int4",
    "serial4": "int4",
    "bigserial": "int8",
    "serial8": "int8",
}


@dataclass(frozen=True)
class Type:
    """A type as PostgreSQL names it inside (int4, varchar), with what stands in brackets after it."""

    name: str
    modifiers: tuple[int, ...] = ()


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

    def with_column(self, name: str, column: Column | None) -> "Table":
        """Return the table with that column changed, added, or (None) without it."""
        others = {key: value for key, value in self.columns.items() if key != name}
        return replace(self, columns=others if column is None else {**others, name: column})

    def with_constraint(self, name: str, constraint: Constraint | None) -> "Table":
        """Return the table with that constraint changed, added, or (None) without it."""
        others = {key: value for key, value in self.constraints.items() if key != name}
        return replace(self, constraints=others if constraint is None else {**others, name: constraint})


Schema = dict[str, Table]


def name_of(relation: Any) -> str:
    """Return a table's name, with its schema unless that is public."""
    schema = relation.schemaname
    return f"{schema}.{relation.relname}" if schema and schema != "public" else str(relation.relname)


def type_of(name: Any) -> Type:
    """Return a type from its tree."""
    modifiers = tuple(
        int(part.val.ival or 0)
        for part in name.typmods or ()
        if isinstance(part, ast.A_Const) and isinstance(part.val, ast.Integer)
    )
    return Type(name.names[-1].sval + "[]" * len(name.arrayBounds or ()), modifiers)


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


def apply(schema: Schema, tree: ast.Node | None) -> None:
    """Change `schema` as the statement would."""
    match tree:
        case ast.CreateStmt(relation=relation, tableElts=elements):
            schema[name_of(relation)] = _created(elements or ())
        case ast.AlterTableStmt(relation=relation, cmds=commands):
            table = schema.get(name_of(relation), Table())
            for command in commands or ():
                table = _altered(table, command)
            schema[name_of(relation)] = table
        case ast.DropStmt(removeType=ObjectType.OBJECT_TABLE, objects=objects):
            for parts in objects or ():
                names = [part.sval for part in parts]
                schema.pop(".".join(names if names[0] != "public" else names[1:]), None)
        case ast.RenameStmt(renameType=ObjectType.OBJECT_TABLE, relation=relation, newname=str(new)):
            if (table_ := schema.pop(name_of(relation), None)) is not None:
                schema[new] = table_
        case ast.RenameStmt(renameType=ObjectType.OBJECT_COLUMN, relation=relation, subname=str(old), newname=str(new)):
            table = schema.get(name_of(relation), Table())
            if column := table.columns.get(old):
                schema[name_of(relation)] = table.with_column(old, None).with_column(new, column)
        case ast.AlterSeqStmt(sequence=sequence, options=options):
            _retype_sequence(schema, name_of(sequence), options or ())


def _created(elements: Any) -> Table:
    table = Table()
    for element in elements:
        if isinstance(element, ast.ColumnDef):
            table = table.with_column(str(element.colname), column_of(element))
        elif isinstance(element, ast.Constraint):
            table = _constrained(table, element)
    return table


def _constrained(table: Table, node: Any) -> Table:
    if node.contype == ConstrType.CONSTR_PRIMARY:
        for key in node.keys or ():
            if column := table.columns.get(key.sval):
                table = table.with_column(key.sval, replace(column, not_null=True))
    return table.with_constraint(node.conname, constraint_of(node)) if node.conname else table


def _altered(table: Table, command: Any) -> Table:
    name, kind, definition = command.name, command.subtype, command.def_
    column = table.columns.get(name)
    if kind == AlterTableType.AT_AddColumn:
        return table.with_column(definition.colname, column_of(definition))
    if kind == AlterTableType.AT_AddConstraint:
        return _constrained(table, definition)
    if kind == AlterTableType.AT_DropConstraint:
        return table.with_constraint(name, None)
    if kind == AlterTableType.AT_ValidateConstraint and name in table.constraints:
        return table.with_constraint(name, replace(table.constraints[name], valid=True))
    if kind == AlterTableType.AT_DropColumn:
        return table.with_column(name, None)
    if column is None:
        return table
    changes = {
        AlterTableType.AT_AlterColumnType: lambda: replace(column, type=type_of(definition.typeName)),
        AlterTableType.AT_SetNotNull: lambda: replace(column, not_null=True),
        AlterTableType.AT_DropNotNull: lambda: replace(column, not_null=False),
        AlterTableType.AT_ColumnDefault: lambda: replace(column, filled=definition is not None),
        AlterTableType.AT_AddIdentity: lambda: replace(column, filled=True),
    }
    return table.with_column(name, changes[kind]()) if kind in changes else table


def _retype_sequence(schema: Schema, sequence: str, options: Any) -> None:
    """ALTER SEQUENCE ... AS type: the sequence of a serial column is named after table and column."""
    for option in options:
        if option.defname == "as":
            for table_name, table in schema.items():
                for name, column in table.columns.items():
                    if column.sequence and sequence == f"{table_name}_{name}_seq":
                        schema[table_name] = table.with_column(name, replace(column, sequence=type_of(option.arg).name))
                        return


# Wider, and every value stays what it is; but the table is rewritten.
_LOSSLESS = {
    "int2": {"int4", "int8", "numeric"},
    "int4": {"int8", "numeric"},
    "int8": {"numeric"},
    "float4": {"float8"},
    "bpchar": {"varchar", "text"},
}


def is_free(old: Type, new: Type) -> bool:
    """Tell whether changing one type to the other is a change of the catalogue only: no rewrite, no scan."""
    if old == new:
        return True
    text = {"varchar", "text"}
    if old.name in text and new.name in text:
        return not new.modifiers or (bool(old.modifiers) and new.modifiers >= old.modifiers)
    if old.name != new.name:
        return (old.name, new.name) == ("cidr", "inet")
    if old.name == "numeric":
        same_scale = len(old.modifiers) > 0 and (*old.modifiers, 0)[1] == (*new.modifiers, 0, 0)[1]
        return not new.modifiers or (same_scale and new.modifiers[0] >= old.modifiers[0])
    if old.name in ("varbit", "timestamp", "timestamptz", "time", "timetz"):
        return not new.modifiers or (bool(old.modifiers) and new.modifiers >= old.modifiers)
    return False


def is_narrowing(old: Type, new: Type) -> bool:
    """Tell whether values that fit (or mean something) in the old type may not in the new one."""
    return not is_free(old, new) and (new.modifiers != () or new.name not in _LOSSLESS.get(old.name, ()))


def apply_text(schema: Schema, sql: str) -> None:
    """Change `schema` as the statements of a text would."""
    for raw in parse_sql(sql):
        apply(schema, raw.stmt)


def added_not_valid(tree: ast.Node | None) -> list[tuple[str, str]]:
    """Return the constraints (table, name) that a statement adds NOT VALID."""
    if not isinstance(tree, ast.AlterTableStmt):
        return []
    added = [command.def_ for command in tree.cmds or () if command.subtype == AlterTableType.AT_AddConstraint]
    return [(name_of(tree.relation), node.conname) for node in added if node.skip_validation and node.conname]
