"""Indexes: built and dropped so that reads and writes go on, and so that a build that is cut off leaves nothing."""

from collections.abc import Collection, Iterator
from typing import Any, Final

from pglast import ast

from tangga.lint.place import Place
from tangga.lint.rule import Example, Family, Rule, Values
from tangga.lint.statements import Statement
from tangga.lint.trees import dropped_names

_OUTSIDE: Final = "with op.get_context().autocommit_block():\n    "

CREATE_INDEX = Rule(
    "require-concurrent-index-creation",
    remedy="safe.create_index builds it CONCURRENTLY, outside the step's transaction",
    downwards=True,
    examples=(
        Example(
            "CREATE INDEX",
            'op.create_index("ix_orders_name", "orders", ["name"])',
            'safe.create_index("ix_orders_name", "orders", ["name"])',
        ),
    ),
)


def _of_a_table_that_goes(statement: Statement, place: Place, _: Collection[str]) -> bool:
    """The tables of all these indexes are the step's own, or dropped in the same step: autogenerate writes both."""
    indexes = dropped_names(statement.tree)
    tables = [[name for name, table in place.schema.items() if index in table.indexes] for index in indexes]
    return all(found and all(place.is_passing(name) for name in found) for found in tables)


DROP_INDEX = Rule(
    "require-concurrent-index-deletion",
    remedy="safe.drop_index drops it CONCURRENTLY, outside the step's transaction",
    is_false=_of_a_table_that_goes,
    downwards=True,
    examples=(Example("DROP INDEX", 'op.drop_index("ix_orders_quantity")', 'safe.drop_index("ix_orders_quantity")'),),
)
REINDEX = Rule(
    "require-concurrent-reindex",
    remedy="REINDEX ... CONCURRENTLY, in an autocommit_block",
    downwards=True,
    examples=(
        Example(
            "REINDEX",
            'op.execute("REINDEX TABLE orders")',
            f'{_OUTSIDE}op.execute("REINDEX TABLE CONCURRENTLY orders")',
        ),
    ),
)
IN_TRANSACTION = Rule(
    "ban-concurrent-index-creation-in-transaction",
    remedy="safe.create_index leaves the transaction first",
    downwards=True,
    examples=(
        Example(
            "CONCURRENTLY in a transaction",
            'op.create_index("ix_orders_name", "orders", ["name"], postgresql_concurrently=True)',
            'safe.create_index("ix_orders_name", "orders", ["name"])',
        ),
    ),
)


def _over_an_invalid_one(statement: Statement, place: Place) -> Iterator[Values]:
    tree: Any = statement.tree
    concurrent = isinstance(tree, ast.IndexStmt) and tree.concurrent and statement.helper is None
    if concurrent and tree.idxname not in place.dropped_concurrently:
        yield {}


STALE_INVALID_INDEX = Rule(
    "stale-invalid-index",
    why=(
        "a build that was cut off leaves an invalid index, and the next try fails on it or (IF NOT EXISTS) takes it "
        "for the real one"
    ),
    remedy="safe.create_index, which drops an invalid index of that name first",
    of_statement=_over_an_invalid_one,
    downwards=True,
    examples=(
        Example(
            "CONCURRENTLY over an invalid index that was left behind",
            f'{_OUTSIDE}op.create_index("ix_orders_name", "orders", ["name"], '
            "postgresql_concurrently=True, if_not_exists=True)",
            f'{_OUTSIDE}op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_orders_name")\n'
            '    op.create_index("ix_orders_name", "orders", ["name"], postgresql_concurrently=True)',
        ),
    ),
)


def _without_asking(statement: Statement, place: Place) -> Iterator[Values]:
    tree: Any = statement.tree
    if isinstance(tree, ast.IndexStmt) and tree.unique and statement.helper is None and not place.is_new(tree.relation):
        yield {}


UNASKED_DATA = Rule(
    "unasked-data",
    why="if the table holds duplicates it fails after the whole scan, and CONCURRENTLY leaves an invalid index",
    remedy="safe.create_index or safe.add_unique, which leave nothing behind; {plan} asks the data first",
    of_statement=_without_asking,
    downwards=True,
    examples=(
        Example(
            "unique index over duplicates",
            f'{_OUTSIDE}op.execute("DROP INDEX CONCURRENTLY IF EXISTS ux_orders_name")\n'
            '    op.execute("CREATE UNIQUE INDEX CONCURRENTLY ux_orders_name ON orders (name)")',
            'safe.create_index("ux_orders_name", "orders", ["name"], unique=True)',
        ),
    ),
)

# Found by lint/database.py.
INVALID_INDEX = Rule(
    "invalid-index",
    why="{index} on {table} is invalid, its build was cut off: it serves no query, yet slows writes",
    remedy="DROP INDEX CONCURRENTLY, then build it again: safe.create_index does both",
    of_the_database=True,
)

FAMILY = Family(
    "Indexes",
    (CREATE_INDEX, DROP_INDEX, REINDEX, IN_TRANSACTION, STALE_INVALID_INDEX, UNASKED_DATA, INVALID_INDEX),
)
