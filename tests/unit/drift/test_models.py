"""Where models and schema differ: the parts of the comparison that need no database."""

from typing import Any

import pytest
import sqlalchemy as sa

from tangga.drift.models import _words
from tangga.drift.within import Sides, _of_models, _undescribed, both, compared, differences, subject, table_of

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
    sides = both(found, {"public": "tangga_models", "Toko": "tangga_models_0"}, _quoted)
    assert (
        _of_models(sides.models, sides)
        == _of_models(sides.steps, sides)
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
    assert [*differences(models, steps)] == [
        ("check constraint posts.ck", "CHECK (x)", "CHECK (y)"),
        ("column posts.a", "text", None),
        ("index users.ix", None, "ON (a)"),
    ]


@pytest.mark.parametrize(
    ("line", "about", "table"),
    [
        ("column Toko.barang.id: type: a in the models", "Toko.barang.id", "Toko.barang"),
        ("check constraint posts.ck: CHECK", "posts.ck", "posts"),
        ("table posts: in the models", "posts", ""),
        ("type mood: sad in the models", "type mood", ""),
    ],
)
def test_what_a_line_is_about(line: str, about: str, table: str) -> None:
    assert (subject(line), table_of(line)) == (about, table)


BESIDE = {"public": "tangga_models"}
MOOD = "CREATE TYPE public.mood AS ENUM (\n    'sad'\n);"
PEOPLE = {
    "table tangga_models.people": "CREATE TABLE tangga_models.people (\n);",
    "table people": "CREATE TABLE public.people (\n);",
    "column tangga_models.people.id": "integer",
    "column people.id": "integer",
}


def test_an_enum_that_no_model_names_is_seen_if_nobody_else_can_use_it() -> None:
    seen = compared(PEOPLE | {"type mood": MOOD, "column people.feels": "public.mood"}, BESIDE, _quoted)
    assert ("type mood", None, MOOD) in seen.found
    # A table of somebody else's, a function, a model's own type of another name for it.
    for used in ({"column audit.feels": "public.mood"}, {"function f": "CREATE FUNCTION f(public.mood)"}):
        assert compared(PEOPLE | {"type mood": MOOD} | used, BESIDE, _quoted).found == []
    beside = {"column tangga_models.people.feels": "public.mood", "column people.feels": "public.mood"}
    assert compared(PEOPLE | {"type mood": MOOD} | beside, BESIDE, _quoted).found == []
    # Not in a schema of the models.
    other = {"type shop.mood": MOOD.replace("public", "shop")}
    assert compared(PEOPLE | other, BESIDE, _quoted).found == []


def test_a_sequence_of_the_models_is_compared_and_another_is_named() -> None:
    made = {"sequence tangga_models.bills": "CREATE SEQUENCE tangga_models.bills\n    START WITH 1;"}
    there = {"sequence bills": "CREATE SEQUENCE public.bills\n    START WITH 1;"}
    assert compared(PEOPLE | made | there, BESIDE, _quoted).found == []
    [found] = compared(PEOPLE | made, BESIDE, _quoted).found
    assert (found.name, found.steps) == ("sequence bills", None)
    seen = compared(PEOPLE | there, BESIDE, _quoted)
    assert (seen.found, seen.undescribed) == ([], ["sequence bills"])


def test_what_no_model_describes_is_named() -> None:
    there = {
        "table people": "", "column people.id": "integer", "function touch()": "", "trigger people.touch": "",
        "view adults": "", "table events_2026": "", "sequence people_id_seq": "CREATE SEQUENCE x",
        "sequence owned by people_id_seq": "", "sequence ids": "ALTER TABLE people ALTER id ADD GENERATED",
        "grant on table people": "", "comment on extension pg_trgm": "", "extension pg_trgm": "",
    }  # fmt: skip
    named = ["function touch()", "trigger people.touch", "view adults", "table events_2026", "extension pg_trgm"]
    assert [*_undescribed(Sides({}, there, {"people"}))] == named
