"""What a statement did, told from what was seen around it."""

from typing import Any

import pytest

from tangga.plan.work import Look, Relation, Seen, first_word, statement

POSTS, INDEX, NEW = 1, 2, 3
BEFORE: Look = {
    POSTS: Relation("public", "posts", "r", 10, None),
    INDEX: Relation("public", "ix", "i", 20, POSTS),
}
LIVE = {POSTS, INDEX}
ROWS = {POSTS: 20}


def _work(sql: str, lock: str = "ACCESS EXCLUSIVE", transaction: str = "step", **changed: Any) -> list[str]:
    after = BEFORE | {POSTS: BEFORE[POSTS]._replace(**changed)}
    seen = Seen(sql, transaction, BEFORE, after, {}, {POSTS: {lock}})
    found = statement(seen, LIVE, ROWS)
    assert found is not None
    [touch] = found.touches
    return touch.work


@pytest.mark.parametrize(
    ("sql", "lock", "changed", "work"),
    [
        ("ALTER TABLE posts ADD kota text", "ACCESS EXCLUSIVE", {}, []),
        ("ALTER TABLE posts ALTER umur TYPE bigint", "ACCESS EXCLUSIVE", {"file": 11}, ["rewrite"]),
        ("TRUNCATE posts", "ACCESS EXCLUSIVE", {"file": 11}, ["truncate"]),
        ("ALTER TABLE posts ADD CHECK (true)", "ACCESS EXCLUSIVE", {"seq_scans": 1, "seq_rows": 20}, ["scan"]),
        # A few rows by an index; or the catalogue's own query of a foreign key, which reads them all.
        ("UPDATE posts SET umur = 1", "ROW EXCLUSIVE", {"index_rows": 20, "changed": 1}, ["change"]),
        ("ALTER TABLE posts VALIDATE CONSTRAINT fk", "SHARE UPDATE EXCLUSIVE", {"index_rows": 20}, ["scan"]),
        ("ALTER TABLE posts VALIDATE CONSTRAINT fk", "SHARE UPDATE EXCLUSIVE", {"index_rows": 19}, []),
        ("INSERT INTO posts SELECT", "ROW EXCLUSIVE", {}, ["insert"]),
        ("DELETE FROM posts", "ROW EXCLUSIVE", {}, ["change"]),
        ("DO $$ BEGIN END $$", "ROW EXCLUSIVE", {"changed": 3, "inserted": 1}, ["insert", "change"]),
    ],
)
def test_counters_and_files_say_what_happened_to_rows(
    sql: str, lock: str, changed: dict[str, Any], work: list[str]
) -> None:
    assert _work(sql, lock, **changed) == work


def test_a_new_table_is_named_when_it_is_locked_first_and_when_its_rows_are_touched() -> None:
    """A live one always: others wait for it as long as it is held."""
    new = Relation("public", "baru", "r", 30, None)
    locks = {NEW: {"ACCESS EXCLUSIVE"}, POSTS: {"ACCESS SHARE"}}
    for before, after, held, named in (
        (BEFORE, BEFORE | {NEW: new}, {}, ["baru", "posts"]),
        (BEFORE | {NEW: new}, BEFORE | {NEW: new}, locks, ["posts"]),
        (BEFORE | {NEW: new}, BEFORE | {NEW: new._replace(inserted=1)}, locks, ["baru", "posts"]),
    ):
        found = statement(Seen("DO $$ BEGIN END $$", "step", before, after, held, locks), LIVE, ROWS)
        assert found is not None
        assert [touch.table for touch in found.touches] == named


def test_outside_of_a_transaction_a_new_index_is_the_scan() -> None:
    locks = {POSTS: {"SHARE UPDATE EXCLUSIVE"}}
    for after, work in (
        (BEFORE | {NEW: Relation("public", "ix_new", "i", 30, POSTS)}, ["scan"]),
        (BEFORE | {INDEX: BEFORE[INDEX]._replace(file=21)}, ["scan"]),
        (BEFORE, []),
    ):
        found = statement(Seen("CREATE INDEX CONCURRENTLY", "none", BEFORE, after, {}, locks), LIVE, ROWS)
        assert found is not None
        assert [touch.work for touch in found.touches] == [work]


def test_a_lock_that_is_held_already_is_not_taken_again() -> None:
    held = {POSTS: {"ACCESS EXCLUSIVE"}}
    now = {POSTS: {"ACCESS EXCLUSIVE", "ACCESS SHARE"}}
    found = statement(Seen("UPDATE posts", "step", BEFORE, BEFORE, held, now), LIVE, ROWS)
    assert found is not None
    [touch] = found.touches
    assert (touch.lock, touch.locks, touch.taken) == ("ACCESS EXCLUSIVE", ["ACCESS SHARE", "ACCESS EXCLUSIVE"], False)


def test_what_is_new_and_what_is_the_migrators_own() -> None:
    after = BEFORE | {
        NEW: Relation("Toko", "barang", "r", 40, None),
        4: Relation("Toko", "barang_id_seq", "S", 41, None),
        5: Relation("tangga", "migration_log", "r", 50, None),
    }
    locks = {oid: {"ACCESS EXCLUSIVE"} for oid in after}
    found = statement(Seen("CREATE TABLE barang ()", "step", BEFORE, after, {}, locks), LIVE, ROWS)
    assert found is not None
    # Of an index that goes with its table, and of a new sequence, nobody need be told.
    assert [(touch.table, touch.new) for touch in found.touches] == [("Toko.barang", True), ("posts", False)]


def test_an_index_counts_where_it_is_locked_more_than_its_table() -> None:
    locks = {POSTS: {"SHARE"}, INDEX: {"ACCESS EXCLUSIVE"}}
    found = statement(Seen("REINDEX INDEX ix", "step", BEFORE, BEFORE, {}, locks), LIVE, ROWS)
    assert found is not None
    assert [(touch.kind, touch.table, touch.blocks) for touch in found.touches] == [
        ("index", "ix", "reads, writes"),
        ("table", "posts", "writes"),
    ]


@pytest.mark.parametrize(
    ("sql", "noted"),
    [("SELECT 1", False), ("WITH a AS (SELECT 1) TABLE a", False), ("VALUES (1)", False), ("CREATE TYPE a", True)],
)
def test_a_question_that_touches_nothing_is_not_noted(sql: str, noted: bool) -> None:
    assert (statement(Seen(sql, "step", BEFORE, BEFORE, {}, {}), LIVE, ROWS) is not None) is noted


def test_a_function_that_makes_something_is_noted() -> None:
    after = BEFORE | {NEW: Relation("public", "baru", "r", 30, None)}
    assert statement(Seen("SELECT make()", "step", BEFORE, after, {}, {}), LIVE, ROWS) is not None


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("  update x", "UPDATE"),
        ("-- a comment\n/* and\nanother */ Drop table x", "DROP"),
        ("", ""),
        ("(SELECT 1)", ""),
    ],
)
def test_comments_are_passed_over(sql: str, word: str) -> None:
    assert first_word(sql) == word
