"""Changes of a table that is in use, in forms that let reads and writes go on. For revisions:

    from tangga import safe

    def upgrade() -> None:
        safe.add_column("posts", sa.Column("kota", sa.String(), nullable=False), fill="''")
        safe.create_index("ix_posts_kota", "posts", ["kota"])

Each can be run again: it keeps what a killed run has done, if that is what was asked for; something else under the same
name is an error. All but `add_column` commit what stands before them in the step, so what stands there should be of
this module too, or in a step of its own. Each is undone by plain `op.*` in `downgrade`, an index by `drop_index`.
`--sql` prints the same statements, without the questions. A table that is not where a bare name is looked for has its
`schema`. docs/safe-operations.md shows each.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.exc import DBAPIError, IntegrityError

from tangga.connect import LOCK_NOT_AVAILABLE, sqlstate
from tangga.guard.blockers import Retries
from tangga.guard.steps import Steps
from tangga.safe.escaping import escaped
from tangga.safe.existing import (
    check_as_postgres_writes_it,
    empty_copy,
    has_constraint,
    index_as_postgres_writes_it,
    online,
    quoted,
    require_same,
    require_same_column,
    scalar,
)


def add_column(
    table: str,
    column: sa.Column[Any],
    *,
    fill: str | None = None,
    keep_default: bool = False,
    schema: str | None = None,
) -> None:
    """Add a column; old rows get `fill`, a constant in SQL ("''", "0", "now()"), without being rewritten.

    The default is dropped again, so that new rows must bring their own value, unless `keep_default`; a `server_default`
    of the column itself stays. Raises ValueError for what would fail or lock: NOT NULL without a value, a foreign key.
    """
    if not column.nullable and fill is None and column.server_default is None:
        raise ValueError(f"{table}.{column.name} is NOT NULL: old rows need a value (fill=...)")
    if column.foreign_keys or column.unique or column.index or column.primary_key:
        raise ValueError(f"{table}.{column.name}: add its key or index by a call of its own, afterwards")
    default = column.server_default
    if fill is not None:
        column.server_default = sa.DefaultClause(sa.text(fill))
    if online():
        require_same_column(quoted(table, schema), column)
    op.add_column(table, column, if_not_exists=True, schema=schema)
    if fill is not None and not keep_default:
        op.alter_column(table, column.name, server_default=default, schema=schema)


def add_foreign_key(
    name: str,
    table: str,
    referent: str,
    columns: Sequence[str],
    referent_columns: Sequence[str],
    *,
    ondelete: str | None = None,
    onupdate: str | None = None,
    deferrable: bool = False,
    initially: str | None = None,
    schema: str | None = None,
    referent_schema: str | None = None,
) -> None:
    """Add a foreign key NOT VALID, commit, and validate the old rows in another transaction."""
    target = quoted(referent, referent_schema)
    definition = f"FOREIGN KEY ({_list(columns)}) REFERENCES {target}({_list(referent_columns)})"
    for event, action in (("UPDATE", onupdate), ("DELETE", ondelete)):
        if action and action.upper() != "NO ACTION":
            definition += f" ON {event} {action.upper()}"
    definition += _deferring(deferrable, initially)
    if not has_constraint(quoted(table, schema), name, lambda: definition):
        op.create_foreign_key(
            op.f(name), table, referent, [*columns], [*referent_columns], ondelete=ondelete, onupdate=onupdate,
            deferrable=deferrable or None, initially=initially, source_schema=schema, referent_schema=referent_schema,
            postgresql_not_valid=True,
        )  # fmt: skip
    _validate(quoted(table, schema), name)


def add_check(name: str, table: str, condition: str, *, schema: str | None = None) -> None:
    """Add a CHECK NOT VALID, commit, and validate the old rows in another transaction."""
    check, of = escaped(condition), quoted(table, schema)
    if not has_constraint(of, name, lambda: check_as_postgres_writes_it(of, check)):
        op.create_check_constraint(op.f(name), table, sa.text(check), schema=schema, postgresql_not_valid=True)
    _validate(of, name)


def set_not_null(table: str, column: str, *, schema: str | None = None) -> None:
    """Make a column NOT NULL, proven by a CHECK that is validated first: the table is not read under the lock."""
    if online() and scalar(
        "SELECT attnotnull FROM pg_attribute WHERE attrelid = CAST(:table AS regclass) AND attname = :column",
        table=quoted(table, schema),
        column=column,
    ):
        return
    name = f"ck_{table}_{column}_not_null"[:63]
    add_check(name, table, f"{quoted(column)} IS NOT NULL", schema=schema)
    op.alter_column(table, column, nullable=False, schema=schema)
    op.drop_constraint(op.f(name), table, type_="check", schema=schema)


def add_unique(
    name: str,
    table: str,
    columns: Sequence[str],
    *,
    deferrable: bool = False,
    initially: str | None = None,
    schema: str | None = None,
) -> None:
    """Build a unique index CONCURRENTLY, then make it the constraint's."""
    of, deferring = quoted(table, schema), _deferring(deferrable, initially)
    if not has_constraint(of, name, lambda: f"UNIQUE ({_list(columns)}){deferring}"):
        create_index(name, table, columns, unique=True, schema=schema)
        op.execute(f"ALTER TABLE {of} ADD CONSTRAINT {quoted(name)} UNIQUE USING INDEX {quoted(name)}{deferring}")


def create_index(
    name: str,
    table: str,
    columns: Sequence[str | sa.TextClause],
    *,
    unique: bool = False,
    where: str | None = None,
    using: str | None = None,
    include: Sequence[str] = (),
    schema: str | None = None,
    **more: Any,
) -> None:
    """Build an index CONCURRENTLY. One of this name that an interrupted build left INVALID is dropped first.

    An expression among the columns is given as `sa.text("lower(nama)")`, and so is a column with its operator class:
    `sa.text("nama text_pattern_ops")`. `more` are other options of `op.create_index`: `postgresql_with`.
    """
    options: dict[str, Any] = {"unique": unique, **more}
    if where is not None:
        options["postgresql_where"] = sa.text(escaped(where))
    if using is not None:
        options["postgresql_using"] = using
    if include:
        options["postgresql_include"] = [*include]
    if online():
        valid = scalar(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)", name=quoted(name, schema)
        )
        if valid:
            there = index_as_postgres_writes_it(name, quoted(table, schema))
            with empty_copy(quoted(table, schema)) as copy:
                op.create_index(op.f(name), copy, [*columns], **options)
                wanted = index_as_postgres_writes_it(name, copy)
            require_same(f"index {name}", there, wanted)
            return
        if valid is False:
            drop_index(name, schema=schema)
    with _beside_others(f"index {name} on {table}"):
        try:
            op.create_index(op.f(name), table, [*columns], postgresql_concurrently=True, schema=schema, **options)
        except IntegrityError:  # duplicates: what was built so far would only cost
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {quoted(name, schema)}")
            raise


def drop_index(name: str, *, schema: str | None = None) -> None:
    """Drop an index CONCURRENTLY, if it is there."""
    with _beside_others(f"index {name}"):
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {quoted(name, schema)}")


def _deferring(deferrable: bool, initially: str | None) -> str:
    """Say when a constraint is checked, as PostgreSQL says it."""
    late = (initially or "").upper() == "DEFERRED"
    return " DEFERRABLE INITIALLY DEFERRED" if late else " DEFERRABLE" if deferrable else ""


def _validate(table: str, name: str) -> None:
    try:
        with _beside_others(f"constraint {name} of {table}"):
            op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {quoted(name)}")
    except IntegrityError:
        # Old rows violate it, so the step fails; then the constraint goes too: alembic_version says it is not there.
        with Steps.of(op.get_context()).repeatable(), op.get_context().autocommit_block():
            op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {quoted(name)}")
        raise


@contextmanager
def _beside_others(what: str) -> Iterator[None]:
    """Commit, and run the body outside a transaction, without hurry.

    These statements wait for transactions that are older than they, and nobody who reads or writes waits for them. So
    they get all the time that a step may be tried for, not just `lock_timeout`; and a large table takes what it takes.
    """
    ctx = op.get_context()
    steps = Steps.of(ctx)
    limit = max(steps.settings.lock_retry_for, steps.settings.lock_timeout)
    with steps.repeatable(), ctx.autocommit_block():
        op.execute(f"SET lock_timeout = '{int(limit * 1000)}ms'")
        op.execute("SET statement_timeout = 0")
        began = time.monotonic()
        try:
            yield
        except DBAPIError as error:
            if sqlstate(error) == LOCK_NOT_AVAILABLE:
                Retries(0, began).pause(f"{what} was not finished", steps.blockers(began))
            if not error.connection_invalidated:
                steps.reset_timeouts()
            raise
        steps.reset_timeouts()


def _list(names: Sequence[str]) -> str:
    return ", ".join(map(quoted, names))
