"""Rows: changed where they are meant, a batch at a time, and not while the structure is changed."""

from collections.abc import Iterator
from typing import Any

from pglast import ast

from tangga.lint.place import Place
from tangga.lint.rule import Example, Family, Rule, Values
from tangga.lint.statements import Statement


def _truncate(statement: Statement, place: Place) -> Iterator[Values]:
    tree = statement.tree
    if isinstance(tree, ast.TruncateStmt) and not place.are_new(tree.relations):
        yield {}


TRUNCATE = Rule(
    "truncate",
    why="all rows go, and nobody can read the table until the step is committed",
    remedy="DELETE in batches, in a step of its own; say so in lint_ignore if the rows are really to go",
    of_statement=_truncate,
    downwards=True,
    examples=(
        Example(
            "TRUNCATE",
            'op.execute("TRUNCATE order_lines")',
            "op.execute(\"DELETE FROM order_lines WHERE order_id IN (SELECT id FROM orders WHERE name LIKE 'test%')\")",
        ),
    ),
)
TRUNCATE_CASCADE = Rule(
    "ban-truncate-cascade",
    downwards=True,
    examples=(
        Example(
            "TRUNCATE ... CASCADE",
            'op.execute("TRUNCATE orders CASCADE")',
            "op.execute(\"DELETE FROM orders WHERE created_at < '2020-01-01'\")",
        ),
    ),
)


def _is_everything(where: Any) -> bool:
    match where:
        case None:
            return True
        case ast.A_Const(val=ast.Boolean(boolval=True)):
            return True
    return False


def _every_row(statement: Statement, place: Place) -> Iterator[Values]:
    tree: Any = statement.tree
    if not isinstance(tree, ast.UpdateStmt | ast.DeleteStmt) or statement.helper is not None:
        return
    if _is_everything(tree.whereClause) and not place.is_new(tree.relation):
        yield {}


NO_WHERE = Rule(
    "no-where",
    why="every row is changed in one transaction; its locks hold writers up until the end",
    remedy="safe.backfill goes through the table in batches; else say in WHERE which rows are meant",
    of_statement=_every_row,
    downwards=True,
    examples=(
        Example(
            "UPDATE without WHERE",
            "op.execute(\"UPDATE orders SET phone = ''\")",
            'safe.backfill("orders", "phone = \'\'", where="phone IS NULL")',
        ),
        Example(
            "DELETE without WHERE",
            'op.execute("DELETE FROM order_lines")',
            'op.execute("DELETE FROM order_lines WHERE order_id = 1")',
        ),
    ),
)


def _with_schema(place: Place) -> Iterator[tuple[Statement, Values]]:
    for statement in place.changed_data if place.changes_schema else ():
        yield statement, {}


DATA_WITH_SCHEMA = Rule(
    "data-with-schema",
    why="the locks of the schema change are held until the commit, however long the data takes",
    remedy="a step of its own for the data; safe.backfill goes in batches and resumes after a kill",
    of_step=_with_schema,
    downwards=True,
    examples=(
        Example(
            "backfill in the DDL's transaction",
            'op.add_column("orders", sa.Column("city", sa.Text()))\n'
            "op.execute(\"UPDATE orders SET city = '' WHERE city IS NULL\")",
            'safe.add_column("orders", sa.Column("city", sa.Text()))\n'
            'safe.backfill("orders", "city = \'\'", where="city IS NULL")',
        ),
    ),
)

FAMILY = Family("Rows", (TRUNCATE, TRUNCATE_CASCADE, NO_WHERE, DATA_WITH_SCHEMA))
