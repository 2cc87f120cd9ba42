"""Locks that readers or writers wait for while the table is worked on as a whole."""

import re
from collections.abc import Iterator
from typing import Any, Final

from pglast import ast
from pglast.enums import AlterTableType, ConstrType, VariableSetKind

from tangga.guard.steps import TIMEOUTS
from tangga.lint.place import Place
from tangga.lint.rule import Example, Family, File, Rule, Values
from tangga.lint.statements import Statement
from tangga.lint.trees import name_of

_SHARE = 5  # LOCK TABLE's modes from SHARE (5) to ACCESS EXCLUSIVE (8) stop writers
_OUTSIDE: Final = "with op.get_context().autocommit_block():\n    "
_ATTACH: Final = (
    "op.execute(\"ALTER TABLE events ATTACH PARTITION events_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')\")"
)


def _lock(statement: Statement, place: Place) -> Iterator[Values]:
    tree: Any = statement.tree
    if isinstance(tree, ast.LockStmt) and int(tree.mode or 0) >= _SHARE and not place.are_new(tree.relations):
        yield {}


LOCK_TABLE = Rule(
    "lock-table",
    why="writers (and with ACCESS EXCLUSIVE readers) wait until the step is committed",
    remedy="leave it out: each statement takes the lock that it needs; SELECT ... FOR UPDATE for rows",
    of_statement=_lock,
    downwards=True,
    examples=(
        Example(
            "LOCK TABLE",
            'op.execute("LOCK TABLE orders")',
            'op.execute("SELECT FROM orders WHERE id = 1 FOR UPDATE")',
        ),
    ),
)


def is_zero(duration: str) -> bool:
    """Tell whether a duration in PostgreSQL's notation means: no limit."""
    digits = re.match(r"\s*([\d.]*)", duration)
    return digits is not None and digits[1] != "" and float(digits[1]) == 0


def _switches_off(tree: ast.VariableSetStmt) -> bool:
    if tree.kind != VariableSetKind.VAR_SET_VALUE:
        return True
    match tree.args:
        case [ast.A_Const(val=ast.Integer(ival=value))]:
            return not value
        case [ast.A_Const(val=ast.String(sval=value))]:
            return is_zero(value or "")
    return False


def _timeouts_set_off(statement: Statement, _: Place) -> Iterator[Values]:
    tree = statement.tree
    if isinstance(tree, ast.VariableSetStmt) and tree.name in TIMEOUTS and not statement.helper and _switches_off(tree):
        yield {"name": tree.name}


def _timeouts_declared_off(file: File) -> Iterator[tuple[str, Values]]:
    for name in TIMEOUTS:
        if is_zero(file.attribute(name)):
            yield name, {"name": name}


TIMEOUTS_OFF = Rule(
    "timeouts-off",
    why="without {name} the step may hold everybody up for as long as it likes",
    remedy="give it the time that it needs, and a bound: statement_timeout = '2h' as the step's attribute",
    of_statement=_timeouts_set_off,
    of_file=_timeouts_declared_off,
    downwards=True,
    examples=(
        Example(
            "no time-outs",
            'op.execute("SET statement_timeout = 0")',
            '@statement_timeout = "2h"\nop.execute("ANALYZE orders")',
        ),
    ),
)


def _refresh(statement: Statement, _: Place) -> Iterator[Values]:
    if isinstance(statement.tree, ast.RefreshMatViewStmt) and not statement.tree.concurrent:
        yield {}


REFRESH = Rule(
    "refresh-materialized-view",
    why="nobody can read the view until it is built anew",
    remedy="REFRESH MATERIALIZED VIEW CONCURRENTLY (it needs a unique index)",
    of_statement=_refresh,
    downwards=True,
    examples=(
        Example(
            "REFRESH MATERIALIZED VIEW",
            'op.execute("REFRESH MATERIALIZED VIEW popular")',
            'op.execute("REFRESH MATERIALIZED VIEW CONCURRENTLY popular")',
        ),
    ),
)


def _vacuum_full(statement: Statement, _: Place) -> Iterator[Values]:
    tree = statement.tree
    if isinstance(tree, ast.VacuumStmt) and any(option.defname == "full" for option in tree.options or ()):
        yield {}


VACUUM_FULL = Rule(
    "vacuum-full",
    why="the table is rewritten while nobody can read it",
    remedy="plain VACUUM, in an autocommit_block; to give space back, pg_repack, outside the migrations",
    of_statement=_vacuum_full,
    downwards=True,
    examples=(
        Example(
            "VACUUM FULL",
            f'{_OUTSIDE}op.execute("VACUUM FULL orders")',
            f'{_OUTSIDE}op.execute("VACUUM orders")',
        ),
    ),
)


def _cluster(statement: Statement, _: Place) -> Iterator[Values]:
    if isinstance(statement.tree, ast.ClusterStmt):
        yield {}


CLUSTER = Rule(
    "cluster",
    why="the table is rewritten while nobody can read it",
    remedy="pg_repack, outside the migrations; an index that has the columns in that order often does it too",
    of_statement=_cluster,
    downwards=True,
    examples=(
        Example(
            "CLUSTER",
            'op.execute("CLUSTER orders USING ix_orders_quantity")',
            'safe.create_index("ix_orders_quantity_id", "orders", ["quantity", "id"])',
        ),
    ),
)


def _set_tablespace(statement: Statement, place: Place) -> Iterator[Values]:
    if isinstance(statement.tree, ast.AlterTableMoveAllStmt):
        yield {"which": "each"}
    for _ in place.altered(statement, AlterTableType.AT_SetTableSpace):
        yield {"which": "the"}


SET_TABLESPACE = Rule(
    "set-tablespace",
    why="{which} table is copied while nobody can read it",
    remedy="a new partition or index there (CREATE INDEX CONCURRENTLY ... TABLESPACE); or pg_repack",
    of_statement=_set_tablespace,
    downwards=True,
    examples=(
        Example(
            "SET TABLESPACE",
            'op.execute("ALTER TABLE orders SET TABLESPACE pg_default")',
            'op.execute("CREATE TABLE events_2024 PARTITION OF events '
            "FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') TABLESPACE pg_default\")",
        ),
    ),
)


def _set_logged(statement: Statement, place: Place) -> Iterator[Values]:
    for _ in place.altered(statement, AlterTableType.AT_SetLogged, AlterTableType.AT_SetUnLogged):
        yield {}


SET_LOGGED = Rule(
    "set-logged",
    why="the table is rewritten while nobody can read it",
    remedy="create the table as it shall be; an existing one is copied to a new one in batches (safe.backfill)",
    of_statement=_set_logged,
    downwards=True,
    examples=(
        Example(
            "SET LOGGED",
            'op.execute("ALTER TABLE drafts SET LOGGED")',
            'op.execute("CREATE TABLE kept_drafts (LIKE drafts)")',
        ),
    ),
)


def _attach(statement: Statement, place: Place) -> Iterator[Values]:
    for _, command in place.altered(statement, AlterTableType.AT_AttachPartition):
        partition = command.def_.name
        checks = place.table(name_of(partition)).constraints.values()
        proven = any(check.kind == ConstrType.CONSTR_CHECK and check.valid for check in checks)
        if not proven and not place.is_new(partition):
            yield {}


ATTACH_PARTITION = Rule(
    "attach-partition",
    why="the partition is read whole, while nobody can use it, to prove its bounds",
    remedy="first a CHECK with the partition's bounds, in a step of its own (safe.add_check)",
    of_statement=_attach,
    downwards=True,
    examples=(
        Example(
            "ATTACH PARTITION",
            _ATTACH,
            _ATTACH,
            first='safe.add_check("ck_events_2026", "events_2026", "at >= \'2026-01-01\' AND at < \'2027-01-01\'")',
        ),
    ),
)

DETACH_PARTITION = Rule(
    "require-concurrent-partition-detach",
    remedy="DETACH PARTITION ... CONCURRENTLY, in an autocommit_block",
    downwards=True,
    examples=(
        Example(
            "DETACH PARTITION",
            'op.execute("ALTER TABLE events DETACH PARTITION events_2025")',
            '@lint_ignore = {"prefer-robust-stmts": "nothing else is in the step; cut off, it is ended by FINALIZE"}\n'
            f'{_OUTSIDE}op.execute("ALTER TABLE events DETACH PARTITION events_2025 CONCURRENTLY")',
        ),
    ),
)

FAMILY = Family(
    "Locks",
    (
        LOCK_TABLE,
        TIMEOUTS_OFF,
        REFRESH,
        ATTACH_PARTITION,
        DETACH_PARTITION,
        VACUUM_FULL,
        CLUSTER,
        SET_TABLESPACE,
        SET_LOGGED,
    ),
)
