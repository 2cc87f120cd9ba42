"""Models and schema: what Alembic does not compare is seen on the scratch server; what is equal does not differ."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.dialects import postgresql

from tangga.drift import models as comparison
from tangga.scratch.server import Scratch
from tests.migrations.proving import scratch

# The steps' tables.
SCHEMA = """
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE SCHEMA "Shop";
CREATE TABLE people (
    id serial CONSTRAINT pk_people PRIMARY KEY,
    name varchar NOT NULL DEFAULT 'nobody',
    born timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    feels mood NOT NULL,
    code text COLLATE "C",
    total integer GENERATED ALWAYS AS (length('x') + 1) STORED,
    lasts interval(3),
    span int4range,
    CONSTRAINT ck_people_name CHECK (name <> ''),
    CONSTRAINT uq_people_code UNIQUE (code) DEFERRABLE,
    CONSTRAINT ex_people_span EXCLUDE USING gist (span WITH &&)
);
CREATE INDEX ix_people_name ON people (name) WHERE code IS NOT NULL;
CREATE INDEX ix_people_code ON people USING hash (code);
CREATE INDEX ix_people_born ON people (born) INCLUDE (name);
CREATE INDEX ix_people_like ON people (name text_pattern_ops);
CREATE TABLE "Shop".items (
    id serial CONSTRAINT pk_items PRIMARY KEY,
    person_id integer NOT NULL CONSTRAINT fk_items_person_id_people REFERENCES people (id),
    price numeric NOT NULL CONSTRAINT ck_items_price CHECK (price > 0)
);
CREATE INDEX ix_items_price ON "Shop".items (price) WHERE price > 9;
CREATE SCHEMA elsewhere;
CREATE TABLE elsewhere.ledger (id integer)
"""


def people(**changed: Any) -> sa.MetaData:
    """Return models that say the same as SCHEMA, but for what was changed."""
    metadata = sa.MetaData()
    what: dict[str, Any] = {
        "labels": ("sad", "ok"), "made by": True, "collation": "C", "computed": "length('x') + 1", "precision": 3,
        "check": "name <> ''", "operator": "&&", "deferrable": True, "where": "code IS NOT NULL", "using": "hash",
        "include": ["name"], "ops": {"name": "text_pattern_ops"}, "price": "price > 0", "above": "price > 9",
    } | {name.replace("_", " "): value for name, value in changed.items()}  # fmt: skip
    sa.Table(
        "people", metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String, nullable=False, server_default="nobody"),
        sa.Column("born", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column(
            "feels", postgresql.ENUM(*what["labels"], name="mood", create_type=what["made by"]), nullable=False,
        ),
        sa.Column("code", sa.Text(collation=what["collation"])),
        sa.Column("total", sa.Integer, sa.Computed(what["computed"], persisted=True)),
        sa.Column("lasts", postgresql.INTERVAL(precision=what["precision"])),
        sa.Column("span", postgresql.INT4RANGE),
        sa.PrimaryKeyConstraint("id", name="pk_people"),
        sa.CheckConstraint(what["check"], name="ck_people_name"),
        sa.UniqueConstraint("code", name="uq_people_code", deferrable=what["deferrable"]),
        postgresql.ExcludeConstraint(("span", what["operator"]), name="ex_people_span"),
        sa.Index("ix_people_name", "name", postgresql_where=sa.text(str(what["where"]))),
        sa.Index("ix_people_code", "code", postgresql_using=what["using"]),
        sa.Index("ix_people_born", "born", postgresql_include=what["include"]),
        sa.Index("ix_people_like", "name", postgresql_ops=what["ops"]),
    )  # fmt: skip
    sa.Table(
        "items", metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("person_id", sa.ForeignKey("people.id", name="fk_items_person_id_people"), nullable=False),
        sa.Column("price", sa.Numeric, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_items"),
        sa.CheckConstraint(what["price"], name="ck_items_price"),
        sa.Index("ix_items_price", "price", postgresql_where=sa.text(str(what["above"]))),
        schema="Shop",
    )  # fmt: skip
    return metadata


@pytest.fixture(scope="module")
def steps() -> Iterator[tuple[Scratch, Engine]]:
    server = scratch()
    with server.database() as engine:
        with engine.begin() as connection:
            connection.exec_driver_sql(SCHEMA)
        yield server, engine


def _compare(steps: tuple[Scratch, Engine], metadata: sa.MetaData, **told: Any) -> comparison.Compared:
    server, engine = steps
    with engine.connect() as connection:
        return comparison.compare(connection, lambda: server.dump(engine), [metadata], told)


def test_models_that_say_the_same_do_not_differ(steps: tuple[Scratch, Engine]) -> None:
    """Also in a schema of their own; another schema is nobody's business here, and now() is CURRENT_TIMESTAMP."""
    assert _compare(steps, people()) == ([], None)
    # What was made for it is gone.
    with steps[1].connect() as connection:
        assert not connection.scalar(sa.text("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'tangga_models%'"))


def test_what_env_py_leaves_out_of_a_comparison_is_left_out_of_this_one(steps: tuple[Scratch, Engine]) -> None:
    """A model of a view; and an index of a view that has the name of another one, so that it cannot be made."""
    metadata = people()
    sa.Table(
        "people_view", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String),
        sa.Index("ix_people_name", "name"), info={"view": True},
    )  # fmt: skip

    def include(what: Any, *_: Any) -> bool:
        return not what.info.get("view")

    differences, note = _compare(steps, metadata)
    assert differences == [
        "table people_view: in the models, not in the schema",
        "index people_view.ix_people_name: in the models, not in the schema",
    ]
    assert note is not None
    assert 'relation "ix_people_name" already exists' in note
    assert _compare(steps, metadata, include_object=include) == ([], None)
    # By its name, a table of the steps too; what is not left out is compared.
    metadata.remove(metadata.tables["people"])
    metadata.remove(metadata.tables["Shop.items"])
    assert any(line.startswith("table people: in the schema") for line in _compare(steps, metadata)[0])
    left = _compare(steps, metadata, include_object=include, include_name=lambda name, *_: name != "people")
    assert not [line for line in left.differences if line.startswith("table people: ")]


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "enum label added": ({"labels": ("sad", "ok", "happy")}, "type mood: sad, ok, happy in the models, sad, ok in"),
    "enum label renamed": ({"labels": ("sad", "fine")}, "type mood: sad, fine in the models, sad, ok in the schema"),
    "enum that a step makes": ({"labels": ("ok", "sad"), "made_by": False}, "type mood: ok, sad in the models"),
    "collation": (
        {"collation": None},
        'column people.code: text in the models, text COLLATE pg_catalog."C" in the schema',
    ),
    "computed": ({"computed": "length('x') + 2"}, "column people.total: integer GENERATED ALWAYS AS"),
    "interval": ({"precision": None}, "column people.lasts: interval in the models, interval(3) in the schema"),
    "CHECK": ({"check": "name <> 'x'"}, "check constraint people.ck_people_name: CHECK (((name)::text <> 'x'::text))"),
    "EXCLUDE": ({"operator": "-|-"}, "constraint people.ex_people_span: EXCLUDE USING gist (span WITH -|-) in the mo"),
    "DEFERRABLE": ({"deferrable": None}, "constraint people.uq_people_code: UNIQUE (code) in the models"),
    "index: WHERE": ({"where": "code <> ''"}, "index people.ix_people_name: CREATE INDEX ix_people_name ON"),
    "index: method": ({"using": "btree"}, "index people.ix_people_code: CREATE INDEX ix_people_code ON"),
    "index: INCLUDE": ({"include": ["code"]}, "index people.ix_people_born: CREATE INDEX ix_people_born ON"),
    "index: operator class": ({"ops": {}}, "index people.ix_people_like: CREATE INDEX ix_people_like ON"),
    "CHECK, other schema": ({"price": "price > 1"}, "check constraint Shop.items.ck_items_price: CHECK"),
    "index, other schema": ({"above": "price > 8"}, "index Shop.items.ix_items_price: CREATE INDEX ix_items_price ON"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_alembic_does_not_compare_is_seen(steps: tuple[Scratch, Engine], name: str) -> None:
    changed, line = CHANGES[name]
    [found], note = _compare(steps, people(**changed))
    assert found.startswith(line)
    assert note is None


def _another_table(metadata: sa.MetaData) -> None:
    feels = sa.Enum("red", "blue", name="colour")
    sa.Table("cars", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("colour", feels), schema="Shop")


def _circle(metadata: sa.MetaData) -> None:
    for name, other in (("hens", "eggs"), ("eggs", "hens")):
        sa.Table(
            name, metadata, sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("from_id", sa.ForeignKey(f"{other}.id", name=f"fk_{name}")),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("add", "lines"),
    [
        (_another_table, ["table Shop.cars: in the models, not in the schema"]),
        (_circle, [f"table {name}: in the models, not in the schema" for name in ("eggs", "hens")]),
    ],
    ids=["with an enum", "in a circle"],
)
def test_what_alembic_says_is_not_said_twice(
    steps: tuple[Scratch, Engine], add: Callable[[sa.MetaData], None], lines: list[str]
) -> None:
    metadata = people()
    add(metadata)
    found, note = _compare(steps, metadata)
    assert (sorted(found), note) == (lines, None)


def test_models_that_cannot_be_made_are_not_said_to_agree(steps: tuple[Scratch, Engine]) -> None:
    found, note = _compare(steps, people(check="no_such_function(name)"))
    assert found == []
    assert note is not None
    assert "function no_such_function(character varying) does not exist" in note
    assert "the conditions of CHECKs" in note
    # Nothing of it is left, so the next comparison is a whole one.
    assert _compare(steps, people()) == ([], None)
