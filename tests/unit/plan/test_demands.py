"""What two catalogues say that a step demands, and the question to the live rows that follows from it."""

from dataclasses import replace

import pytest

from tangga.catalogue.model import Constraint, Schema, Unique
from tangga.plan.demands import demands
from tests.support.catalogue import check, column, foreign_key, schema, table, unique

POSTS, USERS = 1, 2
LIVE = schema(table(POSTS, "posts", "id!", "nama", "umur"), table(USERS, "users", "id!"))


def _after(*, unique: tuple[Unique, ...] = (), constraints: tuple[Constraint, ...] = ()) -> Schema:
    return schema(*LIVE.tables.values(), unique=unique, constraints=constraints)


def _sql(after: Schema, before: Schema = LIVE) -> list[str | None]:
    return [question.sql for question in demands(LIVE, before, after)]


@pytest.mark.parametrize(
    ("index", "keys", "where"),
    [
        (unique("uq", POSTS, 2), '"nama" AS k0', '("nama") IS NOT NULL'),
        (unique("uq", POSTS, 2, nulls_equal=True), '"nama" AS k0', "true"),
        (
            unique("uq", POSTS, 2, 3),
            '"nama" AS k0, "umur" AS k1',
            '("nama") IS NOT NULL AND ("umur") IS NOT NULL',
        ),
        (
            unique("uq", POSTS, 2, expressions=["nama"], predicate="umur > 3"),
            "nama AS k0",
            "(umur > 3) AND (nama) IS NOT NULL",
        ),
        (
            unique("uq", POSTS, 0, uses=[2], expressions=["lower(nama)"]),
            "lower(nama) AS k0",
            "(lower(nama)) IS NOT NULL",
        ),
    ],
)
def test_a_unique_index_asks_for_keys_that_occur_twice(index: Unique, keys: str, where: str) -> None:
    [question] = demands(LIVE, LIVE, _after(unique=(index,)))
    assert question.sql is not None
    assert f"SELECT {keys} FROM public.posts WHERE {where} GROUP BY k0" in question.sql
    assert "HAVING count(*) > 1" in question.sql
    assert (question.assertion.demand, question.assertion.table, question.tables) == ("unique", "posts", (POSTS,))


def test_not_null_asks_for_nulls_under_the_name_that_the_live_column_has() -> None:
    renamed = table(POSTS, "artikel", "id!", "nama", "umur")
    before = schema(renamed, LIVE.tables[USERS])
    columns = renamed.columns | {2: column(2, "judul", required=True)}
    after = schema(replace(renamed, columns=columns), LIVE.tables[USERS])
    [question] = demands(LIVE, before, after)
    assert question.sql == 'SELECT count(*), NULL FROM public.posts WHERE "nama" IS NULL'
    assert (question.assertion.table, question.assertion.columns) == ("artikel", ["judul"])


def test_a_foreign_key_asks_for_orphans_and_a_check_for_rows_that_break_it() -> None:
    key, condition = foreign_key("fk", POSTS, [3], USERS, [1]), check("ck", POSTS, [3], "umur >= 0")
    orphans, broken = demands(LIVE, LIVE, _after(constraints=(key, condition)))
    assert orphans.sql is not None
    assert (
        'FROM public.posts AS child WHERE child."umur" IS NOT NULL AND NOT EXISTS '
        '(SELECT FROM public.users AS parent WHERE parent."id" = child."umur")'
    ) in orphans.sql
    assert orphans.tables == (POSTS, USERS)
    assert broken.sql == "SELECT count(*), NULL FROM public.posts WHERE NOT (umur >= 0)"


def test_what_held_before_is_not_demanded_again() -> None:
    index, condition = unique("uq", POSTS, 2), check("ck", POSTS, [3], "umur >= 0")
    whole = _after(unique=(index,), constraints=(condition,))
    assert _sql(whole, before=whole) == []
    # NOT VALID, or a build that did not finish: nobody has looked at the rows yet.
    started = _after(unique=(index._replace(valid=False),), constraints=(condition._replace(validated=False),))
    assert _sql(started) == []
    assert len(_sql(whole, before=started)) == 2


def test_what_is_new_has_no_live_rows() -> None:
    new = table(9, "baru", "id!")
    wider = replace(LIVE.tables[POSTS], columns=LIVE.tables[POSTS].columns | {4: column(4, "kota", required=True)})
    after = schema(
        wider,
        LIVE.tables[USERS],
        new,
        unique=(unique("pk", 9, 1, primary=True), unique("uq", POSTS, 4)),
        constraints=(check("ck", 9, [1], "id > 0"), check("ck_kota", POSTS, [4], "kota <> ''")),
    )
    assert demands(LIVE, LIVE, after) == []


def test_what_cannot_be_asked_is_said() -> None:
    wider = replace(
        LIVE.tables[POSTS],
        columns=LIVE.tables[POSTS].columns | {3: column(3, "usia"), 4: column(4, "kota", kind="integer")},
    )
    for constraint in (
        check("ck", POSTS, [3], "usia > 0"),  # its text has the new name
        foreign_key("fk", POSTS, [2], 9, [1]),  # to a new table
    ):
        after = schema(wider, LIVE.tables[USERS], table(9, "baru", "id"), constraints=(constraint,))
        [question] = demands(LIVE, LIVE, after)
        assert (question.sql, question.assertion.outcome, question.tables) == (None, "not asked", ())
        assert question.assertion.detail == "a column of it is new, renamed or of another type in this run"
