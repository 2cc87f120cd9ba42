"""squawk's false alarms, each known by its case: it does not know the earlier steps, or our session."""

import pytest

from tangga.lint import rules, schema
from tangga.lint.finding import Problem
from tangga.lint.place import Place, dropped_by
from tests.support.linting import schema_of, statement_of, tree_of

_T = "CREATE TABLE t (id bigint PRIMARY KEY, x varchar(20), n integer);"
_PROOF = "ALTER TABLE t ADD CONSTRAINT c CHECK (x IS NOT NULL) NOT VALID;"
_PROVEN = f"{_PROOF} ALTER TABLE t VALIDATE CONSTRAINT c;"
_DONE = f"{_PROVEN} ALTER TABLE t ALTER x SET NOT NULL"


def _left(
    alarms: str,
    sql: str,
    before: str = "",
    step: str = "",
    *,
    after: str = "",
    transaction: int | None = 0,
    helper: str | None = None,
) -> list[str]:
    """Return which of squawk's alarms about a statement are left, amid earlier steps and its own step's statements."""
    place = Place(schema_of(_T + before))
    for part in filter(None, step.split(";")):
        place.note(statement_of(part))
        schema.apply(place.schema, statement_of(part).tree)
    place.to_drop = {name for part in filter(None, after.split(";")) for name in dropped_by(tree_of(part))}
    said = [Problem(name, "why", "squawk's help") for name in alarms.split()]
    return [
        one.rule for one in rules.true_alarms(said, statement_of(sql, transaction=transaction, helper=helper), place)
    ]


# The alarms (with the others that squawk names for the statement), the statement, what earlier steps have done, and
# whether the first alarm is false.
@pytest.mark.parametrize(
    ("alarms", "sql", "before", "is_false"),
    [
        ("changing-column-type", "ALTER TABLE t ALTER x TYPE varchar(40)", "", True),
        ("changing-column-type", "ALTER TABLE t ALTER x TYPE text, ALTER x TYPE varchar(60)", "", True),
        ("changing-column-type", "ALTER TABLE t ALTER x TYPE varchar(10)", "", False),
        ("changing-column-type", "ALTER TABLE t ALTER n TYPE bigint", "", False),
        ("changing-column-type", "ALTER TABLE t ALTER x TYPE text, ALTER n TYPE bigint", "", False),
        ("changing-column-type", "ALTER TABLE t ALTER x TYPE text, ADD COLUMN y text", "", False),
        ("changing-column-type", "ALTER TABLE t ALTER unknown TYPE text", "", False),
        ("changing-column-type", "ALTER TABLE unknown ALTER x TYPE text", "", False),
        ("prefer-text-field", "ALTER TABLE t ALTER x TYPE varchar(40)", "", True),
        ("prefer-text-field", "ALTER TABLE t ALTER n TYPE varchar(40)", "", False),
        ("prefer-text-field", "ALTER TABLE t ADD COLUMN y varchar(40)", "", False),
        ("prefer-text-field", "CREATE TABLE u (y varchar(40))", "", False),
        ("constraint-missing-not-valid", "ALTER TABLE t ADD CONSTRAINT c EXCLUDE (x WITH =)", "", True),
        ("constraint-missing-not-valid disallowed-unique-constraint", "ALTER TABLE t ADD UNIQUE (x)", "", True),
        ("constraint-missing-not-valid adding-serial-primary-key-field", "ALTER TABLE t ADD PRIMARY KEY (x)", "", True),
        (
            "constraint-missing-not-valid adding-foreign-key-constraint",
            "ALTER TABLE t ADD FOREIGN KEY (n) REFERENCES u",
            "",
            True,
        ),
        ("constraint-missing-not-valid", "ALTER TABLE t ADD CONSTRAINT c CHECK (n > 0)", "", False),
        (
            "constraint-missing-not-valid disallowed-unique-constraint",
            "ALTER TABLE t ADD UNIQUE (x), ADD CHECK (n > 0)",
            "",
            False,
        ),
        ("adding-not-nullable-field", "ALTER TABLE t ALTER x SET NOT NULL", _PROVEN, True),
        ("adding-not-nullable-field", "ALTER TABLE t ALTER x SET NOT NULL", _PROOF, False),
        ("adding-not-nullable-field", "ALTER TABLE t ALTER x SET NOT NULL", "", False),
        ("adding-not-nullable-field", "ALTER TABLE t ALTER n SET NOT NULL", _PROVEN, False),
        ("adding-not-nullable-field", "ALTER TABLE t ALTER x SET NOT NULL, ALTER n SET NOT NULL", _PROVEN, False),
        ("ban-drop-constraint", "ALTER TABLE t DROP CONSTRAINT c", _DONE, True),
        ("ban-drop-constraint", "ALTER TABLE t DROP CONSTRAINT c", _PROVEN, False),
        ("ban-drop-constraint", "ALTER TABLE t DROP CONSTRAINT c", "ALTER TABLE t ADD CONSTRAINT c UNIQUE (x)", False),
        # It takes the place of the old one; its name until then was the step's own.
        ("renaming-object", "ALTER INDEX ix_new RENAME TO ix", "", True),
        ("renaming-object", "ALTER TABLE t RENAME CONSTRAINT c_new TO c", "", True),
        ("renaming-object", "ALTER INDEX ix_old RENAME TO ix", "", False),
        ("renaming-object", "ALTER TABLE t RENAME CONSTRAINT c TO d", "", False),
        ("prefer-identity", "ALTER TABLE t ADD COLUMN y serial", "", True),
        ("prefer-identity", "ALTER TABLE t ADD COLUMN y bigint", "", False),
        ("prefer-identity", "CREATE TABLE u (y serial)", "", False),
        ("require-concurrent-index-creation", "CREATE INDEX i ON t (x)", "", False),
        ("a-new-rule-of-squawks", "CREATE INDEX i ON t (x)", "", False),
    ],
)  # fmt: skip
def test_an_alarm_is_false_in_its_case_and_in_no_other(alarms: str, sql: str, before: str, is_false: bool) -> None:
    first, *others = alarms.split()
    assert _left(alarms, sql, before) == ([] if is_false else [first]) + others


def test_a_default_that_the_step_itself_gave_to_a_new_column_may_go() -> None:
    drop = "ALTER TABLE t ALTER y DROP DEFAULT"
    added = "ALTER TABLE t ADD COLUMN y text DEFAULT '' NOT NULL"
    assert _left("ban-drop-default", drop, step=added) == []
    assert _left("ban-drop-default", drop, before=added) == ["ban-drop-default"]


@pytest.mark.parametrize(
    ("sql", "step", "is_false"),
    [
        ("ALTER TABLE t VALIDATE CONSTRAINT c", "", True),
        ("ALTER TABLE t VALIDATE CONSTRAINT c, VALIDATE CONSTRAINT d", "", False),
        ("CREATE INDEX CONCURRENTLY i ON t (x)", "DROP INDEX CONCURRENTLY IF EXISTS i", True),
        ("CREATE INDEX CONCURRENTLY i ON t (x)", "", False),
        ("ALTER TABLE t ADD COLUMN y text", "", False),
    ],
)
def test_outside_of_a_transaction_what_can_be_run_again_is_robust(sql: str, step: str, is_false: bool) -> None:
    alarm = "prefer-robust-stmts"
    assert _left(alarm, sql, step=step, transaction=None) == ([] if is_false else [alarm])
    # In a transaction nothing is left half done, and the safe forms can be run again.
    assert _left(alarm, sql, transaction=0) == []
    assert _left(alarm, sql, transaction=None, helper="add_column") == []


def test_the_remedy_is_ours_where_we_have_one_and_else_squawks() -> None:
    said = [Problem(name, "why", "squawk's help") for name in ("ban-drop-column", "prefer-bigint-over-int", "new")]
    left = [*rules.true_alarms(said, statement_of("ALTER TABLE t DROP COLUMN x"), Place({}))]
    assert [one.remedy.partition(";")[0] for one in left] == [
        "let a release go out that no longer reads it",
        "squawk's help",
        "squawk's help",
    ]


_INDEXED = "CREATE INDEX i ON t (x); CREATE INDEX j ON t (n); CREATE TABLE u (a int); CREATE INDEX k ON u (a)"


@pytest.mark.parametrize(
    ("sql", "before", "step", "after", "is_false"),
    [
        # What autogenerate writes for every indexed table.
        ("DROP INDEX i", _INDEXED, "", "DROP TABLE t", True),
        ("DROP INDEX i", _INDEXED, "", "DROP TABLE u, t", True),
        ("DROP INDEX i, j", _INDEXED, "", "DROP TABLE t", True),
        ("DROP INDEX i", _INDEXED, "", "", False),
        ("DROP INDEX i", _INDEXED, "", "DROP TABLE u", False),
        ("DROP INDEX i, k", _INDEXED, "", "DROP TABLE t", False),
        ("DROP INDEX unknown", _INDEXED, "", "DROP TABLE t", False),
        ("DROP INDEX i", f"{_INDEXED}; DROP INDEX i; CREATE INDEX i ON u (a)", "", "DROP TABLE t", False),
        ("DROP INDEX i", f"{_INDEXED}; ALTER TABLE t RENAME TO s", "", "DROP TABLE s", True),
        ('DROP INDEX "I"', 'CREATE TABLE "T" (x text); CREATE INDEX "I" ON "T" (x)', "", 'DROP TABLE "T"', True),
        ("DROP INDEX s.i", "CREATE TABLE s.t (x text); CREATE INDEX i ON s.t (x)", "", "DROP TABLE s.t", True),
        ("DROP INDEX s.i", "CREATE TABLE s.t (x text); CREATE INDEX i ON s.t (x)", "", "DROP TABLE t", False),
        ("DROP INDEX s.i", "CREATE TABLE s.t (x text); CREATE INDEX i ON s.t (x)", "", "DROP SCHEMA s CASCADE", True),
        ("DROP INDEX i", "", "CREATE TABLE v (x text);CREATE INDEX i ON v (x)", "", True),
    ],
)  # fmt: skip
def test_an_index_may_go_with_its_table(sql: str, before: str, step: str, after: str, is_false: bool) -> None:
    alarm = "require-concurrent-index-deletion"
    assert _left(alarm, sql, before, step, after=after) == ([] if is_false else [alarm])


@pytest.mark.parametrize(
    ("alarm", "sql"),
    [
        ("adding-required-field", "ALTER TABLE {} ADD COLUMN y text NOT NULL"),
        ("ban-drop-column", "ALTER TABLE {} DROP COLUMN x"),
        ("ban-drop-constraint", "ALTER TABLE {} DROP CONSTRAINT c"),
        ("ban-drop-not-null", "ALTER TABLE {} ALTER x DROP NOT NULL"),
        ("changing-column-type", "ALTER TABLE {} ALTER x TYPE bigint"),
        ("constraint-missing-not-valid", "ALTER TABLE {} ADD CONSTRAINT c CHECK (x <> '')"),
        ("renaming-column", "ALTER TABLE {} RENAME COLUMN x TO y"),
        ("renaming-table", "ALTER TABLE {} RENAME TO y"),
        ("require-concurrent-index-creation", "CREATE INDEX ON {} (x)"),
    ],
)
def test_nobody_uses_a_table_that_the_step_makes_or_drops(alarm: str, sql: str) -> None:
    made, renamed = "CREATE TABLE v (x text)", "CREATE TABLE w (x text);ALTER TABLE w RENAME TO v"
    assert _left(alarm, sql.format("v"), before=made) == [alarm]
    assert _left(alarm, sql.format("v"), step=made) == []
    assert _left(alarm, sql.format("v"), step=renamed) == []
    assert _left(alarm, sql.format("v"), before=made, after="DROP TABLE v") == []
    assert _left(alarm, sql.format("v"), before=made, after="DROP TABLE t") == [alarm]


def test_a_table_may_go_in_the_step_that_made_it() -> None:
    alarm, drop = "ban-drop-table", "DROP TABLE v, t"
    assert _left(alarm, "DROP TABLE v", step="CREATE TABLE v (x text)") == []
    assert _left(alarm, drop, step="CREATE TABLE v (x text)") == [alarm]
    # That it is dropped is what the alarm is about.
    assert _left(alarm, "DROP TABLE t", after="DROP TABLE t") == [alarm]


@pytest.mark.parametrize(
    ("sql", "is_false"),
    [
        ("ALTER TYPE mood RENAME VALUE 'a' TO 'b'", True),
        ("ALTER TYPE mood RENAME TO temper", True),
        ("ALTER DOMAIN d RENAME TO e", True),
        ("ALTER SCHEMA s RENAME TO z", True),
        ("ALTER SEQUENCE q RENAME TO r", False),
        ("ALTER FUNCTION f() RENAME TO g", False),
    ],
)
def test_of_a_name_our_own_rules_say_more(sql: str, is_false: bool) -> None:
    assert _left("renaming-object", sql) == ([] if is_false else ["renaming-object"])
