"""Where models and schema differ: the parts of the comparison that need no database."""

from typing import Any

import pytest
import sqlalchemy as sa

from tangga.drift.models import _sides, _subject, _table, _within, _words

posts = sa.Table("posts", sa.MetaData(), sa.Column("id", sa.Integer), sa.Index("ix_id", "id"))
barang = sa.Table("barang", sa.MetaData(), sa.Column("id", sa.Integer), schema="Toko")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("add_table", barang), "table Toko.barang: in the models, not in the schema"),
        (("remove_table", posts), "table posts: in the schema, not in the models"),
        (("add_column", "Toko", "barang", barang.c.id), "column Toko.barang.id: in the models, not in the schema"),
        (("remove_column", None, "posts", posts.c.id), "column posts.id: in the schema, not in the models"),
        (("add_index", next(iter(posts.indexes))), "index posts.ix_id: in the models, not in the schema"),
        (
            ("modify_type", None, "posts", "id", {}, sa.BigInteger(), sa.Numeric(6, 2)),
            "column posts.id: type: NUMERIC(6, 2) in the models, BIGINT in the schema",
        ),
        (
            ("modify_default", "Toko", "barang", "id", {}, None, sa.DefaultClause(sa.text("now()"))),
            "column Toko.barang.id: default: now() in the models, none in the schema",
        ),
        (
            ("modify_nullable", None, "posts", "id", {}, True, False),
            "column posts.id: nullable: False in the models, True in the schema",
        ),
    ],
)
def test_what_alembic_found_is_said_in_words(change: tuple[Any, ...], words: str) -> None:
    assert _words(change) == words


def test_the_models_tables_are_compared_as_if_they_stood_in_the_schema() -> None:
    found = {
        "table tangga_models.posts": "CREATE TABLE tangga_models.posts (\n);",
        "column tangga_models.posts.nama": "text DEFAULT 'x' NOT NULL",
        "index tangga_models.posts.ix": "CREATE INDEX ix ON tangga_models.posts USING btree (nama);",
        "table tangga_models_0.barang": "CREATE TABLE",
        "constraint tangga_models_0.barang.fk": "FOREIGN KEY (id) REFERENCES tangga_models.posts(id)",
        "column posts.nama": "text",
        "index posts.ix": "CREATE INDEX ix ON public.posts USING btree (nama);",
        "constraint Toko.barang.fk": "FOREIGN KEY (id) REFERENCES public.posts(id)",
        # Of no model: nobody compares them.
        "column audit.id": "integer",
        "function touch()": "CREATE FUNCTION",
    }
    expected, there = _sides(found, {"public": "tangga_models", "Toko": "tangga_models_0"}, _quoted)
    assert (
        expected
        == there
        == {
            "column posts.nama": "text",  # Alembic compares defaults, and NOT NULL
            "index posts.ix": "CREATE INDEX ix ON public.posts USING btree (nama);",
            "constraint Toko.barang.fk": "FOREIGN KEY (id) REFERENCES public.posts(id)",
        }
    )


def _quoted(name: str) -> str:
    return name if name.islower() else f'"{name}"'


def test_the_same_under_another_name_is_no_difference() -> None:
    models = {"index posts.ix_a": "ON (a)", "check constraint posts.ck": "CHECK (x)", "column posts.a": "text"}
    steps = {"index posts.ix_b": "ON (a)", "check constraint posts.ck": "CHECK (y)", "index users.ix": "ON (a)"}
    assert [*_within(models, steps)] == [
        ("check constraint posts.ck", "CHECK (x)", "CHECK (y)"),
        ("column posts.a", "text", None),
        ("index users.ix", None, "ON (a)"),
    ]


@pytest.mark.parametrize(
    ("line", "subject", "table"),
    [
        ("column Toko.barang.id: type: a in the models", "Toko.barang.id", "Toko.barang"),
        ("check constraint posts.ck: CHECK", "posts.ck", "posts"),
        ("table posts: in the models", "posts", ""),
        ("type mood: sad in the models", "type mood", ""),
    ],
)
def test_what_a_line_is_about(line: str, subject: str, table: str) -> None:
    assert (_subject(line), _table(line)) == (subject, table)
