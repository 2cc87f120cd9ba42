"""Types: changes of one, and those that are regretted later."""

from collections.abc import Collection, Iterator
from typing import Any

from pglast.enums import AlterTableType

from tangga.lint.place import Place
from tangga.lint.rule import Example, Family, Rule, Values
from tangga.lint.schema import Column
from tangga.lint.statements import Statement
from tangga.lint.trees import commands_of, name_of
from tangga.lint.types import is_free, type_of

# The type of a sequence, and the type that its column has by now.
_OUTGROWN = {("int4", "int8"), ("int2", "int4"), ("int2", "int8")}


def _type_changes(statement: Statement, place: Place) -> list[tuple[Column | None, Any]]:
    """Return the columns, as they are, with the commands, of an ALTER TABLE that changes types and nothing else."""
    tree: Any = statement.tree
    commands = commands_of(tree)
    if any(command.subtype != AlterTableType.AT_AlterColumnType for command in commands):
        return []
    return [(place.column(name_of(tree.relation), command.name), command) for command in commands]


def _is_free(statement: Statement, place: Place, _: Collection[str]) -> bool:
    """The type widens without a rewrite."""
    changes = _type_changes(statement, place)
    return bool(changes) and all(column and is_free(column.type, type_of(it.def_.typeName)) for column, it in changes)


TYPE_CHANGE = Rule(
    "changing-column-type",
    remedy="add a column, let a release write both, fill it (safe.backfill), drop the old one later",
    is_false=_is_free,
    downwards=True,
    examples=(
        Example(
            "type change",
            'op.alter_column("orders", "quantity", type_=sa.BigInteger())',
            'safe.add_column("orders", sa.Column("new_quantity", sa.BigInteger()))\n'
            'safe.backfill("orders", "new_quantity = quantity", where="new_quantity IS NULL")',
        ),
        Example(
            "type change that reads every row (varchar to numeric); widening is safe",
            'op.execute("ALTER TABLE bookings ALTER COLUMN code TYPE numeric USING code::numeric")',
            'op.alter_column("bookings", "code", type_=sa.String(40))\n'
            'op.alter_column("bookings", "code", type_=sa.Text())\n'
            'op.alter_column("bookings", "price", type_=sa.Numeric(12, 2))',
        ),
    ),
)


def _was_varchar(statement: Statement, place: Place, _: Collection[str]) -> bool:
    changes = _type_changes(statement, place)
    return bool(changes) and all(column and column.type.name == "varchar" for column, _ in changes)


TEXT = Rule("prefer-text-field", is_false=_was_varchar, on_request=True)


def _outgrown(place: Place) -> Iterator[tuple[Statement, Values]]:
    for (table, name), statement in place.widened.items():
        column = place.column(table, name)
        if column and column.sequence and (column.sequence, column.type.name) in _OUTGROWN:
            yield statement, {"column": f"{table}.{name}", "type": column.sequence}


SEQUENCE = Rule(
    "sequence-narrower",
    why="the sequence of {column} stays {type}: it still ends where the old type did",
    remedy="ALTER SEQUENCE ... AS bigint in the same step",
    of_step=_outgrown,
    examples=(
        Example(
            "sequence narrower than its column",
            '@lint_ignore = {"changing-column-type": "a few hundred rows"}\n'
            'op.alter_column("labels", "id", type_=sa.BigInteger())',
            '@lint_ignore = {"changing-column-type": "a few hundred rows"}\n'
            'op.alter_column("labels", "id", type_=sa.BigInteger())\n'
            'op.execute("ALTER SEQUENCE labels_id_seq AS bigint")',
        ),
    ),
)


def _used_at_once(statement: Statement, place: Place) -> Iterator[Values]:
    for transaction, value in place.enum_values:
        if transaction is not None and transaction == statement.transaction and f"'{value}'" in statement.sql:
            yield {"value": value}


ENUM_VALUE = Rule(
    "enum-value-used-at-once",
    why="'{value}' cannot be used in the transaction that adds it",
    remedy="a step of its own for ADD VALUE; use the value in the next",
    of_statement=_used_at_once,
    downwards=True,
    examples=(
        Example(
            "enum value used in the transaction that adds it",
            "op.execute(\"ALTER TYPE mood ADD VALUE 'calm' AFTER 'happy'\")\n"
            "op.execute(\"UPDATE customers SET mood = 'calm' WHERE mood IS NULL\")",
            "op.execute(\"UPDATE customers SET mood = 'calm' WHERE mood IS NULL\")",
            first="op.execute(\"ALTER TYPE mood ADD VALUE 'calm' AFTER 'happy'\")",
        ),
    ),
)
SMALLINT = Rule("prefer-bigint-over-smallint", on_request=True)
INT = Rule(
    "prefer-bigint-over-int",
    on_request=True,
    examples=(
        Example(
            "32-bit key",
            'op.execute("CREATE TABLE tags (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY)")',
            'op.create_table("tags", sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True))',
        ),
    ),
)
CHAR = Rule(
    "ban-char-field",
    remedy="text, with a CHECK if the length matters (safe.add_check)",
    examples=(
        Example(
            "char(n)",
            'op.add_column("orders", sa.Column("code", sa.CHAR(5)))',
            'safe.add_column("orders", sa.Column("code", sa.Text()))',
        ),
    ),
)
TIMESTAMP = Rule(
    "prefer-timestamp-tz",
    examples=(
        Example(
            "timestamp without time zone",
            'op.add_column("orders", sa.Column("edited_at", sa.DateTime()))',
            'safe.add_column("orders", sa.Column("edited_at", sa.DateTime(timezone=True)))',
        ),
    ),
)

FAMILY = Family("Types", (TYPE_CHANGE, TEXT, SEQUENCE, ENUM_VALUE, INT, SMALLINT, CHAR, TIMESTAMP))
