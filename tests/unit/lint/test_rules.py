"""Each rule's examples: the unsafe form is found, the safe form passes."""

import re
from pathlib import Path

import pytest

from tangga.lint import examples, rules, schema
from tangga.lint.examples import Seen
from tangga.lint.place import Place
from tangga.lint.rule import Example, Rule, said
from tangga.lint.rules import FAMILIES, RULES
from tests.support.linting import lint, schema_of, statement_of

_EVERY = examples.every()
_OURS = [rule for rule in RULES.values() if rule.why]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[Seen]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DATABASE_URL", raising=False)  # no database is needed
        return [*examples.see(tmp_path_factory.mktemp("examples"))]


@pytest.mark.parametrize("number", range(len(_EVERY)), ids=[example.name for _, example in _EVERY])
def test_an_unsafe_operation_is_found_and_its_safe_form_passes(seen: list[Seen], number: int) -> None:
    one = seen[number]
    assert (one.rule, one.example) == _EVERY[number]
    assert one.rule.name in {finding.rule for finding in one.unsafe}
    assert all(finding.why and finding.remedy for finding in one.unsafe)
    assert [finding for finding in one.safe if finding.exception is None] == []


def test_the_ground_of_the_examples_has_no_finding_without_a_reason(history: Path) -> None:
    assert {one.exception for one in lint(history)} == {"for the examples"}


def test_a_rule_stands_once_and_a_rule_of_ours_says_why_and_what_to_do() -> None:
    assert len(RULES) == sum(len(family.rules) for family in FAMILIES)
    assert len(_OURS) > 30
    for rule in _OURS:
        assert rule.remedy, rule.name
    checked = {
        rule.name for rule in _OURS if rule.of_statement or rule.of_step or rule.of_function or rule.of_file
    }  # fmt: skip
    assert {rule.name for rule in _OURS} - checked == {
        # Found where the walk ends, in lint_ignore itself, by a database, and where the files are loaded.
        "never-validated", "unused-exception", "exception-without-reason", "exceptions-unreadable", "invalid-index",
        "edited-after-applied", "file-not-loaded", "id-twice", "step-missing", "no-chain", "stale-head-file",
    }  # fmt: skip


def test_every_family_is_a_file() -> None:
    folder = Path(rules.__file__).parent
    assert len(FAMILIES) == len({*folder.glob("*.py")} - {folder / "__init__.py"})


def test_the_texts_of_a_rule_name_commands_that_there_are() -> None:
    for rule in RULES.values():
        for text in (rule.remedy, *(body for example in rule.examples for body in example[1:])):
            assert not re.search(r"\{[a-z-]+\}", said(text)), rule.name


def test_a_problem_is_said_in_words() -> None:
    rule = Rule("r", why="{what} hurts", remedy="{merge}, or else", examples=(Example("e", "u", "s"),))
    problem = rule.problem(what="it {so to speak}")
    assert problem.why == "it {so to speak} hurts"
    assert problem.remedy.endswith(", or else")
    assert "{" not in problem.remedy


# Which way a rule counts, with one of each kind.
@pytest.mark.parametrize(
    ("rule", "downwards"),
    [
        ("require-concurrent-index-creation", True),
        ("ban-drop-column", False),
        ("lock-table", True),
        ("narrowing-type", False),
        ("a-new-rule-of-squawks", False),
    ],
)
def test_what_counts_on_the_way_down(rule: str, downwards: bool) -> None:
    assert rules.holds(rule, "up")
    assert rules.holds(rule, "down") == downwards


def _found(sql: str, before: str = "", step: str = "", **how: object) -> set[str]:
    """Return what our rules say of a statement, after some that made the tables, and some of its own step."""
    place = Place(schema_of("CREATE TABLE t (id bigint PRIMARY KEY, x varchar(20));" + before))
    for part in filter(None, step.split(";")):
        place.note(statement_of(part))
        schema.apply(place.schema, statement_of(part).tree)
    return {problem.rule for problem in rules.of_statement(statement_of(sql, **how), place)}  # type: ignore[arg-type]


_NEW = "CREATE TABLE n (x text)"


@pytest.mark.parametrize(
    ("sql", "step", "expected"),
    [
        # A table that the step itself made is nobody's yet.
        ("TRUNCATE t", _NEW, {"truncate"}),
        ("TRUNCATE n", _NEW, set()),
        ("TRUNCATE n, t", _NEW, {"truncate"}),
        ("TRUNCATE n", "CREATE TABLE n AS SELECT 1 AS x", set()),
        ("UPDATE n SET x = ''", _NEW, set()),
        ("LOCK TABLE n", _NEW, set()),
        ("LOCK TABLE n, t", _NEW, {"lock-table"}),
        ("ALTER TABLE n ADD COLUMN y serial", _NEW, set()),
        ("ALTER TABLE n SET TABLESPACE s", _NEW, set()),
        ("CREATE UNIQUE INDEX i ON n (x)", _NEW, set()),
        # LOCK TABLE's modes that let writers through.
        ("LOCK TABLE t IN ROW EXCLUSIVE MODE", "", set()),
        ("LOCK TABLE t IN SHARE MODE", "", {"lock-table"}),
        ("DELETE FROM t WHERE true", "", {"no-where"}),
        ("DELETE FROM t WHERE id = 1", "", set()),
        ("ALTER TABLE ALL IN TABLESPACE a SET TABLESPACE b", "", {"set-tablespace"}),
        ("ALTER TABLE t SET UNLOGGED", "", {"set-logged"}),
        ("SET lock_timeout = '0'", "", {"timeouts-off"}),
        ("SET lock_timeout = '5s'", "", set()),
        ("RESET statement_timeout", "", {"timeouts-off"}),
        ("SET statement_timeout TO DEFAULT", "", {"timeouts-off"}),
        ("SET work_mem = 0", "", set()),
        ("VACUUM t", "", set()),
        ("VACUUM (FULL) t", "", {"vacuum-full"}),
        ("REFRESH MATERIALIZED VIEW CONCURRENTLY v", "", set()),
        ("CREATE INDEX CONCURRENTLY i ON t (x)", "", {"stale-invalid-index"}),
        ("CREATE INDEX CONCURRENTLY i ON t (x)", "DROP INDEX CONCURRENTLY IF EXISTS i", set()),
        ("CREATE INDEX CONCURRENTLY i ON t (x)", "DROP INDEX IF EXISTS i", {"stale-invalid-index"}),
        ("CREATE TABLE u (x int, CONSTRAINT ck_u_ck_u_x CHECK (x > 1))", "", {"doubled-name"}),
        ("CREATE TABLE u (x int, CONSTRAINT ck_u_x CHECK (x > 1))", "", set()),
        ("CREATE INDEX ix_t_ix_t_x ON t (x)", "", {"doubled-name"}),
        ("ALTER TABLE t ALTER COLUMN x TYPE varchar(10)", "", {"narrowing-type"}),
        ("ALTER TABLE t ALTER COLUMN x TYPE varchar(40)", "", set()),
        ("ALTER TABLE other ALTER COLUMN x TYPE varchar(10)", "", set()),
        ("UPDATE t SET x = 'new' WHERE id = 1", "ALTER TYPE mood ADD VALUE 'new'", {"enum-value-used-at-once"}),
        ("UPDATE t SET x = 'old' WHERE id = 1", "ALTER TYPE mood ADD VALUE 'new'", set()),
        ("UPDATE t SET x = 'new' WHERE id = 1", "ALTER TYPE mood RENAME VALUE 'old' TO 'new'", set()),
    ],
)  # fmt: skip
def test_what_our_rules_say_of_a_statement(sql: str, step: str, expected: set[str]) -> None:
    assert _found(sql, step=step) == expected


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("", {"attach-partition"}),
        ("ALTER TABLE p ADD CONSTRAINT c CHECK (x > 0)", set()),
        ("ALTER TABLE p ADD CONSTRAINT c CHECK (x > 0) NOT VALID", {"attach-partition"}),
        ("ALTER TABLE p ADD CONSTRAINT c UNIQUE (x)", {"attach-partition"}),
    ],
)
def test_a_partition_is_attached_when_a_check_proves_its_bounds(before: str, expected: set[str]) -> None:
    sql = "ALTER TABLE t ATTACH PARTITION p FOR VALUES IN (1)"
    assert _found(sql, before=f"CREATE TABLE p (x int); {before}") == expected
    assert _found(sql, step="CREATE TABLE p (x int)") == set()


@pytest.mark.parametrize(
    "sql", ["SET lock_timeout = 0", "UPDATE t SET x = ''", "CREATE UNIQUE INDEX CONCURRENTLY i ON t (x)"]
)
def test_the_safe_forms_know_what_they_do(sql: str) -> None:
    assert _found(sql)
    assert _found(sql, helper="create_index") == set()


def test_an_enum_value_may_be_used_in_a_later_transaction() -> None:
    assert _found("UPDATE t SET x = 'new' WHERE id = 1", step="ALTER TYPE mood ADD VALUE 'new'", transaction=1) == set()
