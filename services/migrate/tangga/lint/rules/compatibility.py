"""What the release that still runs may stumble over."""

from collections.abc import Collection, Iterator
from typing import Any

from pglast import ast
from pglast.enums import AlterTableType

from tangga.journal.writing import BREAKS
from tangga.lint.place import Place
from tangga.lint.rule import Example, Family, File, Rule, Values
from tangga.lint.statements import Statement
from tangga.lint.trees import name_of, only_command, renamed_by, tables_of
from tangga.lint.types import is_narrowing, type_of
from tangga.revision.swaps import beside

_IN_TWO_RELEASES = "add a column, let a release write both, fill it (safe.backfill), drop the old one later"
_READ_NO_LONGER = "let a release go out that no longer reads it; then drop it, and say so in lint_ignore"
_REASON = "release 1.4 was the last to read it; 1.5 runs everywhere"

RENAMED_COLUMN = Rule(
    "renaming-column",
    remedy=_IN_TWO_RELEASES,
    compatibility=True,
    examples=(
        Example(
            "rename of a column",
            'op.alter_column("orders", "name", new_column_name="title")',
            'safe.add_column("orders", sa.Column("title", sa.Text()))\n'
            'safe.backfill("orders", "title = name", where="title IS NULL")',
        ),
    ),
)
RENAMED_TABLE = Rule(
    "renaming-table",
    remedy="rename it and leave a view of the old name, in one step; drop the view in a later release",
    compatibility=True,
    examples=(
        Example(
            "rename of a table",
            'op.rename_table("orders", "purchases")',
            '@lint_ignore = {"renaming-table": "a view of the old name stands in for it until the next release"}\n'
            'op.rename_table("orders", "purchases")\n'
            'op.execute("CREATE VIEW orders AS SELECT * FROM purchases")',
        ),
    ),
)


def _label(statement: Statement, _: Place) -> Iterator[Values]:
    tree: Any = statement.tree
    if isinstance(tree, ast.AlterEnumStmt) and tree.oldVal is not None:
        yield {"label": tree.oldVal}


RENAMED_LABEL = Rule(
    "renaming-enum-label",
    why="the release that still runs writes '{label}', and compares with it: both fail",
    remedy="ADD VALUE for the new label; let a release know both, change the rows (safe.backfill), leave the old label",
    of_statement=_label,
    compatibility=True,
    examples=(
        Example(
            "rename of an enum's label",
            "op.execute(\"ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'\")",
            "op.execute(\"ALTER TYPE mood ADD VALUE 'blue' AFTER 'sad'\")",
        ),
    ),
)


def _renamed(place: Place, schemas: bool) -> Iterator[tuple[Statement, Values]]:
    for name, statement in place.renamed.items():
        # Made anew under the old name, it is there for those who name it.
        if name.startswith("schema ") == schemas and name not in place.named:
            yield statement, {"name": name.removeprefix("schema ")}


RENAMED_TYPE = Rule(
    "renaming-type",
    why="the release that still runs names the type {name} in its statements (casts of its parameters)",
    remedy="make a type of the new name beside it, and a column of that type; drop the old ones in a later release",
    of_step=lambda place: _renamed(place, schemas=False),
    compatibility=True,
    examples=(
        Example(
            "rename of a type",
            'op.execute("ALTER TYPE mood RENAME TO temper")',
            "op.execute(\"CREATE TYPE temper AS ENUM ('happy', 'sad')\")\n"
            'op.execute("ALTER TABLE customers ADD COLUMN temper temper")',
        ),
    ),
)
RENAMED_SCHEMA = Rule(
    "renaming-schema",
    why="the release that still runs looks for its tables in the schema {name}",
    remedy="make the new schema with views of the tables; move the tables when no release names the old one",
    of_step=lambda place: _renamed(place, schemas=True),
    compatibility=True,
    examples=(
        Example(
            "rename of a schema",
            'op.execute("ALTER SCHEMA public RENAME TO shop")',
            'op.execute("CREATE SCHEMA shop")\nop.execute("CREATE VIEW shop.orders AS SELECT * FROM public.orders")',
        ),
    ),
)


def _has_a_rule(statement: Statement, _place: Place, _names: Collection[str]) -> bool:
    """It is a label, a type or a schema: the rules above say what it means. Or it takes the place of the old one."""
    tree: Any = statement.tree
    if isinstance(tree, ast.AlterEnumStmt) or renamed_by(tree) is not None:
        return True
    return isinstance(tree, ast.RenameStmt) and beside(str(tree.newname)) in (
        tree.subname,
        getattr(tree.relation, "relname", None),
    )


RENAMED_OBJECT = Rule("renaming-object", is_false=_has_a_rule, compatibility=True)
MOVED_TABLE = Rule(
    "ban-set-schema",
    remedy="move it and leave a view of the old name, in one step; drop the view in a later release",
    compatibility=True,
)
DROPPED_COLUMN = Rule(
    "ban-drop-column",
    remedy=_READ_NO_LONGER,
    compatibility=True,
    examples=(
        Example(
            "drop of a column",
            'op.drop_column("orders", "phone")',
            f'@lint_ignore = {{"ban-drop-column": "{_REASON}"}}\nop.drop_column("orders", "phone")',
        ),
    ),
)


def _is_its_own(statement: Statement, place: Place, _: Collection[str]) -> bool:
    """The step itself made the tables."""
    return {*tables_of(statement.tree)} <= place.made


DROPPED_TABLE = Rule(
    "ban-drop-table",
    remedy=_READ_NO_LONGER,
    is_false=_is_its_own,
    compatibility=True,
    examples=(
        Example(
            "drop of a table",
            'op.drop_table("order_lines")',
            f'@lint_ignore = {{"ban-drop-table": "{_REASON}"}}\nop.drop_table("order_lines")',
        ),
    ),
)
DROPPED_NOT_NULL = Rule(
    "ban-drop-not-null",
    remedy="let a release go out that can read NULL; then drop it, and say so in lint_ignore",
    compatibility=True,
)


def _has_done_its_work(statement: Statement, place: Place, _: Collection[str]) -> bool:
    """A CHECK (x IS NOT NULL): by now, the column says the same."""
    name, command = only_command(statement.tree)
    if command is None:
        return False
    table = place.table(name)
    check = table.constraints.get(command.name)
    column = table.columns.get(check.proves_not_null) if check and check.proves_not_null else None
    return column is not None and column.not_null


DROPPED_CONSTRAINT = Rule(
    "ban-drop-constraint",
    remedy="let a release go out that does without it; then drop it, and say so in lint_ignore",
    is_false=_has_done_its_work,
    compatibility=True,
)


def _is_of_this_step(statement: Statement, place: Place, _: Collection[str]) -> bool:
    """The step itself gave that default to a new column: new-required-column says who misses it."""
    table, command = only_command(statement.tree)
    return command is not None and (table, command.name) in place.added


DROPPED_DEFAULT = Rule(
    "ban-drop-default",
    remedy="let a release go out that brings its own value; then drop it, and say so in lint_ignore",
    is_false=_is_of_this_step,
    compatibility=True,
)


def _required(place: Place) -> Iterator[tuple[Statement, Values]]:
    for (table, name), statement in place.added.items():
        column = place.column(table, name)
        if column and column.not_null and not column.filled:
            yield statement, {"column": f"{table}.{name}"}


REQUIRED_COLUMN = Rule(
    "new-required-column",
    why="the release that still runs does not know {column}, so its INSERTs fail",
    remedy="keep the default (safe.add_column: keep_default=True) until the old release is gone",
    of_step=_required,
    compatibility=True,
    examples=(
        Example(
            "new required column",
            'op.add_column("orders", sa.Column("city", sa.Text(), server_default="", nullable=False))\n'
            'op.alter_column("orders", "city", server_default=None)',
            'safe.add_column("orders", sa.Column("city", sa.Text(), nullable=False), fill="\'\'", keep_default=True)',
        ),
    ),
)


def _narrower(statement: Statement, place: Place) -> Iterator[Values]:
    for relation, command in place.altered(statement, AlterTableType.AT_AlterColumnType):
        column = place.column(name_of(relation), command.name)
        if column and is_narrowing(column.type, type_of(command.def_.typeName)):
            yield {}


NARROWING = Rule(
    "narrowing-type",
    why="old values may not fit, nor what the release that still runs writes",
    remedy=_IN_TWO_RELEASES,
    of_statement=_narrower,
    compatibility=True,
    examples=(
        Example(
            "narrowing type",
            'op.alter_column("bookings", "code", type_=sa.String(10))',
            'safe.add_column("bookings", sa.Column("short_code", sa.Text()))\n'
            'safe.add_check("ck_bookings_short_code", "bookings", "length(short_code) <= 10")\n'
            'safe.backfill("bookings", "short_code = left(code, 10)", where="short_code IS NULL")',
        ),
    ),
)


def _declared(file: File) -> Iterator[tuple[str, Values]]:
    if reason := file.attribute(BREAKS):
        yield BREAKS, {"reason": reason}


BREAKING = Rule(
    "breaks-previous-release",
    why="the release that runs cannot work with it: {reason}",
    remedy="spread it over two releases; or {outage}",
    of_file=_declared,
    compatibility=True,
)

FAMILY = Family(
    "Compatibility with the release that still runs",
    (
        RENAMED_COLUMN,
        RENAMED_TABLE,
        RENAMED_LABEL,
        RENAMED_TYPE,
        RENAMED_SCHEMA,
        RENAMED_OBJECT,
        MOVED_TABLE,
        DROPPED_COLUMN,
        DROPPED_TABLE,
        DROPPED_NOT_NULL,
        DROPPED_CONSTRAINT,
        DROPPED_DEFAULT,
        REQUIRED_COLUMN,
        NARROWING,
        BREAKING,
    ),
)
