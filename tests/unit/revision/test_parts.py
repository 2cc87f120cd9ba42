"""What only the scratch server shows, as lines of a revision file: both ways, without a database."""

from typing import Any

import pytest

from tangga.drift.within import Difference
from tangga.revision.enums import Labels, Use
from tangga.revision.enums import changed as relabelled
from tangga.revision.parts import changed
from tangga.revision.swaps import Table
from tangga.revision.written import Written, call, execute

TABLES = {"people": Table(None, "people"), "Shop.stock": Table("Shop", "stock")}


class _Context:
    def __init__(self) -> None:
        self.imports: set[str] = set()


def text(written: list[Written]) -> list[str]:
    context: Any = _Context()
    return [line for each in written for line in each.lines(context)]


def both(name: str, model: str | None, steps: str | None, version: int = 17) -> tuple[list[str], list[str]]:
    up, down = changed(Difference(name, model, steps), TABLES, version)
    return text(up), text(down)


INDEX = "CREATE INDEX ix ON public.people USING "


@pytest.mark.parametrize(
    ("want", "line"),
    [
        ("btree (name);", "safe.create_index('ix_new', 'people', ['name'])"),
        ("gin (name public.gin_trgm_ops);",
         "safe.create_index('ix_new', 'people', [sa.text('name public.gin_trgm_ops')], using='gin')"),
        ("btree (lower(name), age DESC) INCLUDE (note, code) WHERE (note IS NOT NULL);",
         "safe.create_index('ix_new', 'people', [sa.text('lower(name)'), sa.text('age DESC')], "
         "include=['note', 'code'], where='note IS NOT NULL')"),
        ("btree (\"Name\") WITH (fillfactor='70') WHERE ((note)::text <> ')'::text);",
         "safe.create_index('ix_new', 'people', ['Name'], where=\"(note)::text <> ')'::text\", "
         "postgresql_with={'fillfactor': \"'70'\"})"),
    ],
    ids=["plain", "operator class", "expression, INCLUDE, WHERE", "quotes"],
)  # fmt: skip
def test_an_index_is_built_beside_the_old_one_and_takes_its_name(want: str, line: str) -> None:
    up, down = both("index people.ix", INDEX + want, INDEX + "hash (name);")
    swap = ["safe.drop_index('ix')", "op.execute('ALTER INDEX ix_new RENAME TO ix')"]
    assert up == [line, *swap]
    assert down == ["safe.create_index('ix_new', 'people', ['name'], using='hash')", *swap]


def test_a_check_is_proven_before_the_old_one_goes() -> None:
    up, down = both("check constraint Shop.stock.ck", "CHECK ((amount > (0)::numeric))", "CHECK ((amount > 1))")
    swap = [
        "op.drop_constraint(op.f('ck'), 'stock', type_='check', schema='Shop')",
        "op.execute('ALTER TABLE \"Shop\".stock RENAME CONSTRAINT ck_new TO ck')",
    ]
    assert up == ["safe.add_check('ck_new', 'stock', 'amount > (0)::numeric', schema='Shop')", *swap]
    assert down == ["safe.add_check('ck_new', 'stock', 'amount > 1', schema='Shop')", *swap]
    assert both("check constraint people.ck", "CHECK (((a > 1) AND (b > 2)))", None) == (
        ["safe.add_check('ck', 'people', '(a > 1) AND (b > 2)')"],
        ["op.drop_constraint(op.f('ck'), 'people')"],
    )


def test_a_key_is_built_as_an_index_first() -> None:
    up, down = both("constraint people.uq", "UNIQUE (code) DEFERRABLE INITIALLY DEFERRED", "UNIQUE (code)")
    built = "safe.create_index('uq_new', 'people', ['code'], unique=True)"
    dropped = "op.drop_constraint(op.f('uq'), 'people')"
    added = "ALTER TABLE people ADD CONSTRAINT uq UNIQUE USING INDEX uq_new"
    assert up == [built, dropped, f"op.execute('{added} DEFERRABLE INITIALLY DEFERRED')"]
    assert down == [built, dropped, f"op.execute('{added}')"]
    up, _ = both("constraint people.pk", "PRIMARY KEY (id, code)", "PRIMARY KEY (id)")
    assert up == [
        "safe.create_index('pk_new', 'people', ['id', 'code'], unique=True)",
        "op.drop_constraint(op.f('pk'), 'people')",
        "op.execute('ALTER TABLE people ADD CONSTRAINT pk PRIMARY KEY USING INDEX pk_new')",
    ]


def test_a_foreign_key_is_read_from_its_words() -> None:
    words = 'FOREIGN KEY (a, "B") REFERENCES "Shop".stock(id, b) ON DELETE SET NULL DEFERRABLE'
    up, down = both("foreign key people.fk", words, None)
    assert up == [
        "safe.add_foreign_key('fk', 'people', 'stock', ['a', 'B'], ['id', 'b'], ondelete='SET NULL', "
        "referent_schema='Shop', deferrable=True)"
    ]
    assert down == ["op.drop_constraint(op.f('fk'), 'people')"]


@pytest.mark.parametrize(
    ("want", "have", "version", "lines"),
    [
        ("text", 'text COLLATE pg_catalog."C"', 17, ["op.execute('ALTER TABLE people ALTER COLUMN c TYPE text')"]),
        ("interval(3)", "interval", 17, ["op.execute('ALTER TABLE people ALTER COLUMN c TYPE interval(3)')"]),
        (
            "integer GENERATED ALWAYS AS ((age + 1)) STORED", "integer GENERATED ALWAYS AS ((age + 2)) STORED", 17,
            ["op.execute('ALTER TABLE people ALTER COLUMN c SET EXPRESSION AS ((age + 1))')"],
        ),
        (
            "integer GENERATED ALWAYS AS ((age + 1)) STORED", "integer GENERATED ALWAYS AS ((age + 2)) STORED", 16,
            ["# Its values come from others, so nothing is lost.",
             "op.execute('ALTER TABLE people DROP COLUMN c')",
             "op.execute('ALTER TABLE people ADD COLUMN c integer GENERATED ALWAYS AS ((age + 1)) STORED')"],
        ),
    ],
    ids=["collation", "precision", "expression", "expression before 17"],
)  # fmt: skip
def test_a_column_is_altered(want: str, have: str, version: int, lines: list[str]) -> None:
    assert both("column people.c", want, have, version)[0] == lines


def test_what_is_not_understood_is_said_and_not_written() -> None:
    up, down = both("index people.ix", "CREATE INDEX whatever;", INDEX + "btree (a);")
    [line] = up
    assert line.startswith("# Not written: index people.ix: CREATE INDEX whatever; is wanted, ")
    assert down[0].startswith("safe.create_index('ix_new'")
    [line] = both("column audit.c", "text", "integer")[0]
    assert line.startswith("# Not written: column audit.c")


def _labels(models: list[str], there: list[str]) -> Labels:
    uses = [Use("people", "feels", "'sad'::mood", several=False), Use("people", "were", None, several=True)]
    return Labels("Shop", "mood", models, there, uses if there else [])


def test_a_label_is_added_and_taken_back_with_the_type() -> None:
    labels = _labels(["sad", "ok", "glad"], ["sad", "ok"])
    [first, added, last] = text([*relabelled(labels)])
    assert (first, last) == ("with op.get_context().autocommit_block():", "")
    assert "ALTER TYPE \"Shop\".mood ADD VALUE IF NOT EXISTS 'glad' AFTER 'ok'" in added.replace("\\'", "'")
    said, *lines = text([*relabelled(labels, down=True)])
    assert "a row that is glad is refused" in said
    assert [line.replace("\\'", "'")[12:-2] for line in lines] == [
        'ALTER TYPE "Shop".mood RENAME TO mood_old',
        "CREATE TYPE \"Shop\".mood AS ENUM ('sad', 'ok')",
        "ALTER TABLE people ALTER COLUMN feels DROP DEFAULT",
        'ALTER TABLE people ALTER COLUMN feels TYPE "Shop".mood USING feels::text::"Shop".mood',
        "ALTER TABLE people ALTER COLUMN feels SET DEFAULT 'sad'::mood",
        'ALTER TABLE people ALTER COLUMN were TYPE "Shop".mood[] USING were::text[]::"Shop".mood[]',
        'DROP TYPE "Shop".mood_old',
    ]


@pytest.mark.parametrize(
    ("models", "there", "words"),
    [
        (["sad", "fine"], ["sad", "ok"], ["RENAME VALUE 'ok' TO 'fine'"]),
        (["sad"], [], ["CREATE TYPE"]),
        (["glad", "sad"], ["sad"], ["ADD VALUE IF NOT EXISTS 'glad' BEFORE 'sad'"]),
        (["ok", "sad"], ["sad", "ok"], ["RENAME TO mood_old"]),
    ],
    ids=["renamed", "made", "added first", "another order"],
)
def test_labels_are_made_those_of_the_models(models: list[str], there: list[str], words: list[str]) -> None:
    lines = "\n".join(text([*relabelled(_labels(models, there))])).replace("\\'", "'")
    for each in words:
        assert each in lines


def test_python_is_written_as_a_person_would_write_it() -> None:
    assert call("f", "a", ["b"], c=None, d=False, e=(), g=True) == "f('a', ['b'], g=True)"
    # What sqlalchemy.text would take for a parameter is none; a cast stays one.
    assert execute("SELECT 'a:b', x::text, ':c'") == "op.execute(\"SELECT 'a:b', x::text, '\\\\:c'\")"
