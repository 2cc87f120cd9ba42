"""Alembic's operations as lines: what goes with its table, what comes first, what is asked; no database."""

from typing import Any

import sqlalchemy as sa
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext

from tangga.revision.rewriter import Rewriter, flat, in_order
from tangga.revision.types import render_item

models = sa.MetaData()
books = sa.Table(
    "books", models,
    sa.Column("id", sa.BigInteger, primary_key=True), sa.Column("title", sa.Text), sa.Column("pages", sa.Integer),
    sa.Index("ix_books_title", "title"), sa.UniqueConstraint("pages", name="uq_books_pages"),
)  # fmt: skip
loans = sa.Table(
    "loans", models, sa.Column("book_id", sa.ForeignKey("books.id", name="fk_loans_book_id_books")),
)  # fmt: skip
INDEX = next(iter(books.indexes))


def lines(*operations: ops.MigrateOperation) -> list[str]:
    """Return what is written, in its order."""
    migration = MigrationContext.configure(
        dialect_name="postgresql",
        opts={"sqlalchemy_module_prefix": "sa.", "alembic_module_prefix": "op.", "user_module_prefix": None},
    )
    options: dict[str, Any] = dict(migration.opts, render_item=render_item)
    context = AutogenContext(migration, models, options)
    written = in_order([*Rewriter(flat(operations), [models]).lines()])
    return [line for each in written for line in each.lines(context)]


def _without_breaks(line: str) -> str:
    return " ".join(line.split())


def test_what_is_in_a_table_goes_with_it_and_those_that_refer_to_others_go_first() -> None:
    found = lines(
        ops.DropIndexOp.from_index(INDEX), ops.DropTableOp.from_table(books), ops.DropTableOp.from_table(loans)
    )
    assert found == ["op.drop_table('loans')", "op.drop_table('books')"]


def test_what_is_on_a_column_goes_with_it() -> None:
    unique = next(each for each in books.constraints if isinstance(each, sa.UniqueConstraint))
    found = lines(
        ops.ModifyTableOps("books", [ops.DropIndexOp.from_index(INDEX), ops.DropConstraintOp.from_constraint(unique)]),
        ops.DropColumnOp.from_column_and_tablename(None, "books", books.c.title),
    )
    assert found == [
        "op.drop_constraint('uq_books_pages', 'books', type_='unique')",
        "op.drop_column('books', 'title')",
    ]


def test_what_commits_stands_before_what_cannot_be_run_twice() -> None:
    created, index = lines(ops.CreateIndexOp.from_index(INDEX), ops.CreateTableOp.from_table(loans))
    assert _without_breaks(created).startswith("op.create_table('loans',")
    assert _without_breaks(created).endswith("if_not_exists=True )")
    assert index == "safe.create_index('ix_books_title', 'books', ['title'])"
    # With nothing after it that commits, it is as it always was.
    assert "if_not_exists" not in lines(ops.CreateTableOp.from_table(loans))[0]


def test_a_constraint_of_the_same_name_takes_the_others_place() -> None:
    key = next(iter(loans.foreign_key_constraints))
    found = lines(ops.DropConstraintOp.from_constraint(key), ops.CreateForeignKeyOp.from_constraint(key))
    new = "fk_loans_book_id_books_new"
    assert found == [
        f"safe.add_foreign_key('{new}', 'loans', 'books', ['book_id'], ['id'])",
        "op.drop_constraint(op.f('fk_loans_book_id_books'), 'loans', type_='foreignkey')",
        f"op.execute('ALTER TABLE loans RENAME CONSTRAINT {new} TO fk_loans_book_id_books')",
    ]


def _added(column: sa.Column[Any]) -> list[str]:
    return lines(ops.AddColumnOp.from_column_and_tablename(None, "books", column))


def test_a_column_gets_what_old_rows_need() -> None:
    assert _added(sa.Column("note", sa.Text)) == [
        "safe.add_column('books', sa.Column('note', sa.Text(), nullable=True))"
    ]
    said, line = _added(sa.Column("note", sa.Text, nullable=False))
    assert said.startswith("# Old rows of books get '': is that right?")
    assert line.endswith("nullable=False), fill=\"''\", keep_default=True)")
    asked, stop, _ = _added(sa.Column("key", sa.Uuid, nullable=False))
    assert asked == "# books.key is NOT NULL and of type UUID: what do old rows get?"
    assert stop.startswith("raise NotImplementedError(")
    # A value of its own for each row: never while the table is rewritten.
    each = _added(sa.Column("key", sa.Uuid, server_default=sa.text("gen_random_uuid()"), nullable=False))
    assert each[1:] == [
        "op.execute('ALTER TABLE books ALTER COLUMN key SET DEFAULT gen_random_uuid()')",
        "safe.backfill('books', 'key = gen_random_uuid()', where='key IS NULL', key='id', name='books.key')",
        "safe.set_not_null('books', 'key')",
    ]


def test_a_suspected_rename_is_a_question_both_ways() -> None:
    old, new = sa.Column("name", sa.Text), sa.Column("heading", sa.Text)
    dropped = ops.DropColumnOp.from_column_and_tablename(None, "books", old)
    found = lines(dropped, ops.AddColumnOp.from_column_and_tablename(None, "books", new))
    assert "# op.alter_column('books', 'name', new_column_name='heading')" in found
    assert all(line.startswith("#") for line in found[:-1])
    assert found[-1].startswith("raise NotImplementedError('books.name -> books.heading: ")
    # Another type is another column.
    other = ops.AddColumnOp.from_column_and_tablename(None, "books", sa.Column("heading", sa.Integer))
    assert not any("raise" in line for line in lines(dropped, other))


class AutoString(sa.TypeDecorator[str]):
    """What SQLModel gives a text."""

    impl = sa.String
    cache_ok = True


AutoString.__module__ = "sqlmodel.sql.sqltypes"


def test_a_step_needs_no_sqlmodel_and_makes_enums_itself() -> None:
    assert _added(sa.Column("note", AutoString(50))) == [
        "safe.add_column('books', sa.Column('note', sa.String(length=50), nullable=True))"
    ]
    kind = sa.Enum("small", "large", name="size")
    [line] = _added(sa.Column("size", kind))
    assert "postgresql.ENUM('small', 'large', name='size', create_type=False)" in line
