"""Our own rules: what hurts and squawk does not say.

A rule looks at one statement, knowing the tables before it (`Place`), or at a step as a whole. How to do it safely is
in REMEDIES, for squawk's rules too where tangga/safe/forms.py has an answer.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from pglast import ast
from pglast.enums import AlterTableType, ConstrType, ObjectType, VariableSetKind

from tangga.lint.schema import Schema, column_of, is_narrowing, name_of, type_of
from tangga.lint.statements import Statement

# squawk's rules that safe.py answers; for the others squawk's own help is given.
_INSTEAD_OF_SQUAWKS: Final = {
    "require-concurrent-index-creation": "safe.create_index builds it CONCURRENTLY, outside the step's transaction",
    "require-concurrent-index-deletion": "safe.drop_index drops it CONCURRENTLY, outside the step's transaction",
    "ban-concurrent-index-creation-in-transaction": "safe.create_index leaves the transaction first",
    "constraint-missing-not-valid": "safe.add_check or safe.add_foreign_key: NOT VALID now, VALIDATE after the commit",
    "adding-foreign-key-constraint": "safe.add_foreign_key: NOT VALID now, VALIDATE after the commit",
    "disallowed-unique-constraint": "safe.add_unique builds the index CONCURRENTLY, then makes the constraint of it",
    "adding-serial-primary-key-field": "build a unique index CONCURRENTLY (safe.create_index), then ADD CONSTRAINT ... "
    "PRIMARY KEY USING INDEX",
    "adding-not-nullable-field": "safe.set_not_null proves it by a validated CHECK, so that SET NOT NULL reads nothing",
    "adding-required-field": "safe.add_column(..., fill=..., keep_default=True): old rows get a constant, no rewrite",
    "adding-field-with-default": "add the column without the default (safe.add_column), fill it (safe.backfill), then "
    "SET DEFAULT",
    "changing-column-type": "add a column, let a release write both, fill it (safe.backfill), drop the old one later",
    "renaming-column": "add a column, let a release write both, fill it (safe.backfill), drop the old one later",
    "renaming-table": "rename it and leave a view of the old name, in one step; drop the view in a later release",
    "ban-drop-column": "let a release go out that no longer reads it; then drop it, and say so in lint_ignore",
    "ban-drop-table": "let a release go out that no longer reads it; then drop it, and say so in lint_ignore",
    "require-concurrent-partition-detach": "DETACH PARTITION ... CONCURRENTLY, in an autocommit_block",
    "prefer-robust-stmts": "outside a transaction, write what can be run again: IF NOT EXISTS, IF EXISTS",
    "ban-char-field": "text, with a CHECK if the length matters (safe.add_check)",
    "identifier-too-long": "give it a shorter name: PostgreSQL cuts it off, and two may become one",
    "ban-drop-not-null": "let a release go out that can read NULL; then drop it, and say so in lint_ignore",
    "ban-drop-constraint": "let a release go out that does without it; then drop it, and say so in lint_ignore",
    "ban-drop-default": "let a release go out that brings its own value; then drop it, and say so in lint_ignore",
    "require-concurrent-reindex": "REINDEX ... CONCURRENTLY, in an autocommit_block",
}
OWN: Final = {
    "inline-check": "add the column without it, then safe.add_check: NOT VALID now, VALIDATE after the commit",
    "stale-invalid-index": "safe.create_index, which drops an invalid index of that name first",
    "exclusion-constraint": "give the table it at birth; else make a new table with it, and move the rows in batches",
    "refresh-materialized-view": "REFRESH MATERIALIZED VIEW CONCURRENTLY (it needs a unique index)",
    "lock-table": "leave it out: each statement takes the lock that it needs; SELECT ... FOR UPDATE for rows",
    "attach-partition": "first a CHECK with the partition's bounds, in a step of its own (safe.add_check)",
    "vacuum-full": "plain VACUUM, in an autocommit_block; to give space back, pg_repack, outside the migrations",
    "cluster": "pg_repack, outside the migrations; an index that has the columns in that order often does it too",
    "set-tablespace": "a new partition or index there (CREATE INDEX CONCURRENTLY ... TABLESPACE); or pg_repack",
    "set-logged": "create the table as it shall be; an existing one is copied to a new one in batches (safe.backfill)",
    "timeouts-off": "give it the time that it needs, and a bound: statement_timeout = '2h' as the step's attribute",
    "adding-serial-field": "add a bigint column (safe.add_column), fill it (safe.backfill), then make it an identity",
    "new-required-column": "keep the default (safe.add_column: keep_default=True) until the old release is gone",
    "narrowing-type": "add a column, let a release write both, fill it (safe.backfill), drop the old one later",
    "enum-value-used-at-once": "a step of its own for ADD VALUE; use the value in the next",
    "truncate": "DELETE in batches, in a step of its own; say so in lint_ignore if the rows are really to go",
    "no-where": "safe.backfill goes through the table in batches; else say in WHERE which rows are meant",
    "data-with-schema": "a step of its own for the data; safe.backfill goes in batches and resumes after a kill",
    "unasked-data": "safe.create_index or safe.add_unique, which leave nothing behind; {plan} asks the data first",
    "hidden-sql": "write the statement out, or look yourself and say in lint_ignore what it does",
    "sequence-narrower": "ALTER SEQUENCE ... AS bigint in the same step",
    "doubled-name": "wrap the name in op.f(): the naming convention is then not applied a second time",
    "never-validated": 'name it in the step: validate_after_commit = ("table.constraint",)',
}

REMEDIES: Final = _INSTEAD_OF_SQUAWKS | OWN

# What the release that still runs may stumble over. A step that says so may do it: breaks_previous_release = "why".
COMPATIBILITY: Final = {
    "renaming-column", "renaming-table", "ban-drop-column", "ban-drop-table", "ban-drop-not-null",
    "ban-drop-constraint", "ban-drop-default", "new-required-column", "narrowing-type",
}  # fmt: skip

# True of the way up only: the way down takes things away by its nature, and no older release is waiting for it.
UPWARDS: Final = {"new-required-column", "narrowing-type", "doubled-name", "sequence-narrower", "never-validated"}

_DATA = (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt)
_NO_SCHEMA_CHANGE = (
    *_DATA, ast.SelectStmt, ast.CopyStmt, ast.TruncateStmt, ast.TransactionStmt, ast.VariableSetStmt, ast.LockStmt,
    ast.VacuumStmt, ast.ExplainStmt, ast.CommentStmt, ast.CallStmt, ast.DiscardStmt, ast.CheckPointStmt,
    ast.RefreshMatViewStmt,
)  # fmt: skip
_DOUBLED = re.compile(r"^(ck|fk|ix|pk|uq)_(?:.*_)?\1_")
_SHARE = 5  # LOCK TABLE's modes from SHARE (5) to ACCESS EXCLUSIVE (8) stop writers


class Problem(NamedTuple):
    """What a rule found; where is known by who asked."""

    rule: str
    why: str


@dataclass
class Place:
    """What is known when a rule looks at a statement: the tables before it, and what the step has done so far."""

    schema: Schema
    made: set[str] = field(default_factory=set)
    # Columns that the step has added with a default, to a table that was there, and where.
    added: dict[tuple[str, str], Statement] = field(default_factory=dict)
    changed_data: list[Statement] = field(default_factory=list)
    changes_schema: bool = False
    dropped_concurrently: set[str] = field(default_factory=set)
    enum_values: list[tuple[int | None, str]] = field(default_factory=list)
    widened: dict[tuple[str, str], Statement] = field(default_factory=dict)

    def is_new(self, relation: Any) -> bool:
        """Tell whether the step itself made the table: then nobody uses it, and it has no rows but the step's."""
        return relation is not None and name_of(relation) in self.made

    def note(self, statement: Statement) -> None:
        """Remember what the rest of the step needs to know about a statement."""
        tree = statement.tree
        if tree is None:
            return
        target = changed_by(tree)
        if target is not None and not self.is_new(target) and statement.helper is None:
            self.changed_data.append(statement)
        self.changes_schema |= not isinstance(tree, _NO_SCHEMA_CHANGE)
        match tree:
            case ast.CreateStmt(relation=relation):
                self.made.add(name_of(relation))
            case ast.CreateTableAsStmt(into=ast.IntoClause(rel=relation)):
                self.made.add(name_of(relation))
            case ast.AlterEnumStmt(newVal=str(value), oldVal=None):
                self.enum_values.append((statement.transaction, value))
            case ast.DropStmt(removeType=ObjectType.OBJECT_INDEX, concurrent=True, objects=objects):
                self.dropped_concurrently |= {parts[-1].sval for parts in objects or ()}
            case ast.AlterTableStmt(relation=relation, cmds=commands) if not self.is_new(relation):
                for command in commands or ():
                    if command.subtype == AlterTableType.AT_AddColumn:
                        column = column_of(command.def_)
                        if column.not_null and column.filled:
                            self.added[name_of(relation), command.def_.colname] = statement
                    elif command.subtype == AlterTableType.AT_AlterColumnType:
                        self.widened[name_of(relation), command.name] = statement


def changed_by(tree: ast.Node | None) -> Any:
    """Return the table whose rows a statement changes; None if it changes none."""
    if isinstance(tree, _DATA):
        return tree.relation
    if isinstance(tree, ast.SelectStmt) and tree.withClause is not None:
        for part in tree.withClause.ctes or ():
            if isinstance(part.ctequery, _DATA):
                return part.ctequery.relation
    if isinstance(tree, ast.CopyStmt) and tree.is_from:
        return tree.relation
    return None


def of_statement(statement: Statement, place: Place) -> Iterator[Problem]:
    """Apply the rules for single statements."""
    if statement.unseen:
        yield Problem("hidden-sql", f"the linter cannot see what this does: {_short(statement.unseen)}")
    tree = statement.tree
    yield from _names(tree)
    for transaction, value in place.enum_values:
        if transaction is not None and transaction == statement.transaction and f"'{value}'" in statement.sql:
            yield Problem("enum-value-used-at-once", f"'{value}' cannot be used in the transaction that adds it")
    match tree:
        case ast.AlterTableStmt(relation=relation, cmds=commands):
            for command in commands or ():
                if not place.is_new(relation):
                    yield from _alter_table(relation, command, place)
        case ast.IndexStmt(concurrent=True, idxname=name) if statement.helper is None:
            if name not in place.dropped_concurrently:
                why = (
                    "a build that was cut off leaves an invalid index, and the next try fails on it or (IF NOT EXISTS)"
                )
                yield Problem("stale-invalid-index", f"{why} takes it for the real one")
        case ast.RefreshMatViewStmt(concurrent=False):
            yield Problem("refresh-materialized-view", "nobody can read the view until it is built anew")
        case ast.LockStmt(relations=relations, mode=int(mode)) if mode >= _SHARE:
            if not all(place.is_new(relation) for relation in relations or ()):
                yield Problem(
                    "lock-table", "writers (and with ACCESS EXCLUSIVE readers) wait until the step is committed"
                )
        case ast.VacuumStmt(is_vacuumcmd=True, options=options):
            if any(option.defname == "full" for option in options or ()):
                yield Problem("vacuum-full", "the table is rewritten while nobody can read it")
        case ast.ClusterStmt():
            yield Problem("cluster", "the table is rewritten while nobody can read it")
        case ast.AlterTableMoveAllStmt():
            yield Problem("set-tablespace", "each table is copied while nobody can read it")
        case ast.VariableSetStmt(name="lock_timeout" | "statement_timeout" as name) if (
            _switches_off(tree) and not statement.helper
        ):
            yield Problem("timeouts-off", f"without {name} the step may hold everybody up for as long as it likes")
        case ast.TruncateStmt(relations=relations):
            if not all(place.is_new(relation) for relation in relations or ()):
                yield Problem("truncate", "all rows go, and nobody can read the table until the step is committed")
        case (
            ast.UpdateStmt(relation=relation, whereClause=where) | ast.DeleteStmt(relation=relation, whereClause=where)
        ):
            if _is_everything(where) and not place.is_new(relation) and statement.helper is None:
                yield Problem(
                    "no-where", "every row is changed in one transaction; its locks hold writers up until the end"
                )
    if isinstance(tree, ast.IndexStmt) and tree.unique and not place.is_new(tree.relation) and statement.helper is None:
        yield Problem(
            "unasked-data",
            "if the table holds duplicates it fails after the whole scan, and CONCURRENTLY leaves an invalid index",
        )


def of_step(place: Place, after: Schema) -> Iterator[tuple[Statement, Problem]]:
    """Apply the rules for a step as a whole, when all of its statements have been seen."""
    if place.changes_schema:
        for statement in place.changed_data:
            why = "the locks of the schema change are held until the commit, however long the data takes"
            yield statement, Problem("data-with-schema", why)
    for (table, name), statement in place.added.items():
        column = after[table].columns.get(name) if table in after else None
        if column and column.not_null and not column.filled:
            why = f"the release that still runs does not know {table}.{name}, so its INSERTs fail"
            yield statement, Problem("new-required-column", why)
    for (table, name), statement in place.widened.items():
        column = after[table].columns.get(name) if table in after else None
        if column and (column.sequence, column.type.name) in (("int4", "int8"), ("int2", "int4"), ("int2", "int8")):
            why = f"the sequence of {table}.{name} stays {column.sequence}: it still ends where the old type did"
            yield statement, Problem("sequence-narrower", why)


def _alter_table(relation: Any, command: Any, place: Place) -> Iterator[Problem]:
    kind, definition = command.subtype, command.def_
    if kind == AlterTableType.AT_AddColumn:
        if any(constraint.contype == ConstrType.CONSTR_CHECK for constraint in definition.constraints or ()):
            yield Problem("inline-check", "every row is checked while nobody can read the table")
        if column_of(definition).sequence:
            yield Problem(
                "adding-serial-field", "every row gets a number: the table is rewritten while nobody can read it"
            )
    elif kind == AlterTableType.AT_AlterColumnType:
        table = place.schema.get(name_of(relation))
        column = table.columns.get(command.name) if table else None
        if column and is_narrowing(column.type, type_of(definition.typeName)):
            why = "old values may not fit, nor what the release that still runs writes"
            yield Problem("narrowing-type", why)
    elif kind == AlterTableType.AT_AddConstraint and definition.contype == ConstrType.CONSTR_EXCLUSION:
        why = "its index is built while writers wait, and there is neither CONCURRENTLY nor NOT VALID for it"
        yield Problem("exclusion-constraint", why)
    elif kind == AlterTableType.AT_AttachPartition and not place.is_new(definition.name):
        partition = place.schema.get(name_of(definition.name))
        checks = partition.constraints.values() if partition else ()
        if not any(check.kind == ConstrType.CONSTR_CHECK and check.valid for check in checks):
            yield Problem(
                "attach-partition", "the partition is read whole, while nobody can use it, to prove its bounds"
            )
    elif kind == AlterTableType.AT_SetTableSpace:
        yield Problem("set-tablespace", "the table is copied while nobody can read it")
    elif kind in (AlterTableType.AT_SetLogged, AlterTableType.AT_SetUnLogged):
        yield Problem("set-logged", "the table is rewritten while nobody can read it")


def _names(tree: ast.Node | None) -> Iterator[Problem]:
    names = []
    match tree:
        case ast.CreateStmt(tableElts=elements):
            names = [element.conname for element in elements or () if isinstance(element, ast.Constraint)]
        case ast.AlterTableStmt(cmds=commands):
            names = [command.def_.conname for command in commands or () if isinstance(command.def_, ast.Constraint)]
        case ast.IndexStmt(idxname=name):
            names = [name]
    for name in names:
        if name and _DOUBLED.match(name):
            yield Problem("doubled-name", f"the naming convention was applied twice: {name}")


def _switches_off(tree: Any) -> bool:
    if tree.kind != VariableSetKind.VAR_SET_VALUE:
        return True
    match tree.args:
        case [ast.A_Const(val=ast.Integer(ival=value))]:
            return not value
        case [ast.A_Const(val=ast.String(sval=value))]:
            return is_zero(value or "")
    return False


def is_zero(duration: str) -> bool:
    """Tell whether a duration in PostgreSQL's notation means: no limit."""
    digits = re.match(r"\s*([\d.]*)", duration)
    return digits is not None and digits[1] != "" and float(digits[1]) == 0


def _is_everything(where: Any) -> bool:
    match where:
        case None:
            return True
        case ast.A_Const(val=ast.Boolean(boolval=True)):
            return True
    return False


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 120 else line[:117] + "..."
