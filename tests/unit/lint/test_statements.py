"""What a step prints, as single statements."""

import pytest
from pglast import ast

from tangga.lint.rendering import Printed, Step
from tangga.lint.statements import Statement, statements


def _split(*printed: str, helper: str | None = None) -> list[Statement]:
    step = Step("r", "r.py", "up", 1, True, [Printed(sql, at, helper) for at, sql in enumerate(printed, start=1)])
    return statements(step)


def test_each_statement_has_its_text_its_tree_and_the_line_of_its_call() -> None:
    found = _split("ANALYZE t;\n\nDROP TABLE t", "SELECT 1;", helper="create_index")
    assert [(one.sql, type(one.tree), one.line, one.helper) for one in found] == [
        ("ANALYZE t", ast.VacuumStmt, 1, "create_index"),
        ("DROP TABLE t", ast.DropStmt, 1, "create_index"),
        ("SELECT 1", ast.SelectStmt, 2, "create_index"),
    ]
    assert all(one.unseen is None for one in found)


def test_statements_know_their_transaction() -> None:
    found = _split("SELECT 1", "COMMIT", "SELECT 2", "BEGIN", "SELECT 3", "COMMIT", "BEGIN", "SELECT 4")
    assert [(one.sql, one.transaction) for one in found if one.sql.startswith("SELECT")] == [
        ("SELECT 1", 0),
        ("SELECT 2", None),
        ("SELECT 3", 1),
        ("SELECT 4", 2),
    ]


def test_what_the_parser_refuses_is_unseen() -> None:
    [one] = _split("SELEC 1")
    assert (one.tree, one.sql) == (None, "SELEC 1")
    assert (one.unseen or "").startswith("PostgreSQL's parser refuses it: syntax error")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("LOCK TABLE t;", ["LOCK TABLE t"]),
        ("IF true THEN DELETE FROM t; ELSE DELETE FROM u; END IF;", ["DELETE FROM t", "DELETE FROM u"]),
        ("FOR i IN 1..3 LOOP INSERT INTO t VALUES (i); END LOOP;", ["INSERT INTO t VALUES (i)"]),
        ("PERFORM f(1);", ["SELECT f(1)"]),
        ("EXECUTE 'DROP TABLE t';", ["DROP TABLE t"]),
        ("EXECUTE format('LOCK TABLE %I', 't');", ["LOCK TABLE placeholder"]),
        ("EXECUTE format('UPDATE t SET x = %L WHERE y = %1$L', 'a');", ["UPDATE t SET x = '1' WHERE y = '1'"]),
        ("EXECUTE format('SELECT %s', 'a');", ["SELECT 1"]),
        ("EXECUTE format('DROP TABLE %s', 'a');", ["DROP TABLE placeholder"]),
        ("EXECUTE format('SELECT 100 %% 7');", ["SELECT 100 % 7"]),
    ],
)
def test_a_do_block_is_opened(body: str, expected: list[str]) -> None:
    found = _split(f"DO $$ BEGIN {body} END $$")
    assert [one.sql for one in found] == expected
    assert all(one.tree is not None and one.unseen is None for one in found)


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        (
            "DO $$ BEGIN EXECUTE 'DROP TABLE ' || 't'; END $$",
            "SQL that a DO block puts together while it runs: EXECUTE 'DROP TABLE ' || 't'",
        ),
        ("DO LANGUAGE plpython3u $$ pass $$", "a DO block in another language than PL/pgSQL"),
        ("DO $$ BEGIN IF; END $$", "a DO block that cannot be opened: "),
    ],
)
def test_what_a_do_block_hides_is_unseen(sql: str, why: str) -> None:
    [one] = _split(sql)
    assert one.tree is None
    assert (one.unseen or "").startswith(why)
