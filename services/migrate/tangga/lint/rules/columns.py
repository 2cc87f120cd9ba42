"""Columns that are added to a table that has rows: what has to be written into each of them."""

from collections.abc import Collection, Iterator
from typing import Final

from pglast.enums import AlterTableType

from tangga.lint.place import Place
from tangga.lint.rule import Example, Family, Rule, Values
from tangga.lint.schema import column_of
from tangga.lint.statements import Statement
from tangga.lint.trees import only_command

_NUMBERED: Final = (
    'safe.add_column("orders", sa.Column("number", sa.BigInteger()))\n'
    'op.execute("CREATE SEQUENCE orders_number_seq OWNED BY orders.number")\n'
    'op.alter_column("orders", "number", server_default=sa.text("nextval(\'orders_number_seq\')"))\n'
    'safe.backfill("orders", "number = nextval(\'orders_number_seq\')", where="number IS NULL")'
)

REQUIRED = Rule(
    "adding-required-field",
    remedy="safe.add_column(..., fill=..., keep_default=True): old rows get a constant, no rewrite",
    downwards=True,
    examples=(
        Example(
            "ADD COLUMN NOT NULL without default",
            'op.add_column("orders", sa.Column("city", sa.Text(), nullable=False))',
            'safe.add_column("orders", sa.Column("city", sa.Text(), nullable=False), fill="\'\'", keep_default=True)',
        ),
    ),
)
WITH_DEFAULT = Rule(
    "adding-field-with-default",
    remedy="add the column without the default (safe.add_column), fill it (safe.backfill), then SET DEFAULT",
    downwards=True,
    examples=(
        Example(
            "volatile default",
            'op.add_column("orders", sa.Column("code", sa.Uuid(), server_default=sa.text("gen_random_uuid()")))',
            'safe.add_column("orders", sa.Column("code", sa.Uuid()))\n'
            'op.alter_column("orders", "code", server_default=sa.text("gen_random_uuid()"))\n'
            'safe.backfill("orders", "code = gen_random_uuid()", where="code IS NULL")',
        ),
        Example(
            "stored generated column",
            'op.add_column("orders", sa.Column("size", sa.BigInteger(), sa.Computed("length(name)")))',
            'op.execute("CREATE VIEW orders_with_size AS SELECT id, length(name) AS size FROM orders")',
        ),
        Example(
            "identity on an existing table",
            'op.execute("ALTER TABLE orders ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY")',
            _NUMBERED,
        ),
    ),
)


def _serial(statement: Statement, place: Place) -> Iterator[Values]:
    for _, command in place.altered(statement, AlterTableType.AT_AddColumn):
        if column_of(command.def_).sequence:
            yield {}


SERIAL = Rule(
    "adding-serial-field",
    why="every row gets a number: the table is rewritten while nobody can read it",
    remedy="add a bigint column (safe.add_column), fill it (safe.backfill), then make it an identity",
    of_statement=_serial,
    downwards=True,
    examples=(
        Example(
            "serial on an existing table",
            'op.execute("ALTER TABLE orders ADD COLUMN number bigserial")',
            _NUMBERED,
        ),
    ),
)


def _is_added_serial(statement: Statement, _: Place, __: Collection[str]) -> bool:
    """The rule above says the worse thing about it."""
    command = only_command(statement.tree)[1]
    return (
        command is not None
        and command.subtype == AlterTableType.AT_AddColumn
        and column_of(command.def_).sequence is not None
    )


IDENTITY = Rule(
    "prefer-identity",
    on_request=True,
    is_false=_is_added_serial,
    examples=(
        Example(
            "serial",
            'op.create_table("tags", sa.Column("id", sa.BigInteger(), primary_key=True))',
            'op.create_table("tags", sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True))',
        ),
    ),
)

FAMILY = Family("Columns", (REQUIRED, WITH_DEFAULT, SERIAL, IDENTITY))
