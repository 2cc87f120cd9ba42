"""Names that are not what was meant."""

import re
from collections.abc import Iterator
from typing import Any

from pglast import ast

from tangga.lint.place import Place
from tangga.lint.rule import Example, Family, Rule, Values
from tangga.lint.statements import Statement
from tangga.lint.trees import commands_of

_DOUBLED = re.compile(r"^(ck|fk|ix|pk|uq)_(?:.*_)?\1_")


def _names_of(tree: Any) -> list[str | None]:
    """Return the names of the constraints, or of the index, that a statement makes."""
    if isinstance(tree, ast.IndexStmt):
        return [tree.idxname]
    parts = tree.tableElts or () if isinstance(tree, ast.CreateStmt) else [part.def_ for part in commands_of(tree)]
    return [part.conname for part in parts if isinstance(part, ast.Constraint)]


def _doubled(statement: Statement, _: Place) -> Iterator[Values]:
    for name in _names_of(statement.tree):
        if name and _DOUBLED.match(name):
            yield {"name": name}


DOUBLED_NAME = Rule(
    "doubled-name",
    why="the naming convention was applied twice: {name}",
    remedy="wrap the name in op.f(): the naming convention is then not applied a second time",
    of_statement=_doubled,
    examples=(
        Example(
            "name that the naming convention doubles",
            'op.create_check_constraint("ck_orders_quantity", "orders", "quantity > 0", postgresql_not_valid=True)',
            'safe.add_check("ck_orders_quantity", "orders", "quantity > 0")',
        ),
    ),
)
TOO_LONG = Rule(
    "identifier-too-long",
    remedy="give it a shorter name: PostgreSQL cuts it off, and two may become one",
    examples=(
        Example(
            "identifier over 63 characters",
            f'op.execute("ALTER TABLE orders ADD COLUMN {"telephone_number_" * 4} text")',
            'safe.add_column("orders", sa.Column("telephone_number", sa.Text()))',
        ),
    ),
)

FAMILY = Family("Names", (DOUBLED_NAME, TOO_LONG))
