"""Up and down a staircase: a step as a whole, and what the steps before it have made."""

from collections import defaultdict
from pathlib import Path

import pytest

from tangga.lint import Finding
from tangga.lint.examples import plant, start
from tests.support.linting import lint, rules

# What is said about a step as a whole: upgrade, downgrade, and what is found.
_STEPS: list[tuple[str, str | None, set[tuple[str, str]]]] = [
    ('op.execute("ANALYZE orders")', "pass", {("down", "no-downgrade")}),
    ('op.execute("ANALYZE orders")', "raise NotImplementedError", {("down", "irreversible-undeclared")}),
    ('@irreversible = "gone"\nop.execute("ANALYZE orders")', "raise NotImplementedError", set()),
    ('@irreversible = ""\nop.execute("ANALYZE orders")', "raise ValueError", {("down", "irreversible-undeclared")}),
    ('@irreversible = "gone"\nop.execute("ANALYZE orders")', "pass", {("down", "no-downgrade")}),
    ("pass", "pass", set()),
    ('op.get_bind().execute(sa.text("SELECT 1")).scalar()', "pass", {("up", "not-rendered"), ("down", "no-downgrade")}),
    ("print('nothing of SQL')", "pass", {("up", "not-rendered")}),
    ('op.execute("ANALYZE orders")', "op.get_bind().scalar(sa.text('SELECT 1'))", {("down", "not-rendered")}),
    ("op.execute(\"DO $$ BEGIN EXECUTE 'DROP TABLE ' || 'orders'; END $$\")", None, {("up", "hidden-sql")}),
    ("op.execute(\"DO $$ BEGIN EXECUTE format('LOCK TABLE %I', 'orders'); END $$\")", None, {("up", "lock-table")}),
    ('op.execute("DO $$ BEGIN LOCK TABLE orders; END $$")', None, {("up", "lock-table")}),
    ('op.execute("DO LANGUAGE plpython3u $$ pass $$")', None, {("up", "hidden-sql")}),
    ('op.execute("SELEC 1")', None, {("up", "hidden-sql"), ("up", "syntax-error")}),
    ('@lock_timeout = "0"\nop.execute("ANALYZE orders")', None, {("", "timeouts-off")}),
    ('@lock_timeout = "50ms"\nop.execute("ANALYZE orders")', None, set()),
    (
        'op.create_check_constraint(op.f("ck_p"), "orders", "quantity > 0", postgresql_not_valid=True)',
        'op.drop_constraint("ck_p", "orders")',
        {("up", "never-validated")},
    ),
    # An exception stands in the revision, not in a comment.
    (
        'op.execute("-- squawk-ignore-file\\n-- squawk-ignore ban-drop-column\\nALTER TABLE orders DROP COLUMN phone")',
        None,
        {("up", "ban-drop-column")},
    ),
    # The way down takes away what the way up has made; but locks and rows count there too.
    ('op.execute("ANALYZE orders")', 'op.drop_column("orders", "phone")', set()),
    ('op.execute("ANALYZE orders")', 'op.rename_table("orders", "purchases")', set()),
    (
        'op.execute("ANALYZE orders")',
        'op.create_index("ix_a", "orders", ["name"])',
        {("down", "require-concurrent-index-creation")},
    ),
    ('op.execute("ANALYZE orders")', 'op.execute("DELETE FROM order_lines")', {("down", "no-where")}),
    # What autogenerate writes for every indexed table, in both directions.
    (
        "op.create_table('thing', sa.Column('id', sa.BigInteger(), sa.Identity(), primary_key=True),"
        " sa.Column('name', sa.Text()))\nop.create_index('ix_thing_name', 'thing', ['name'])",
        "op.drop_index('ix_thing_name', table_name='thing')\nop.drop_table('thing')",
        set(),
    ),
    (
        "op.drop_index('ix_orders_quantity', table_name='orders')\nop.drop_table('orders')",
        None,
        {("up", "ban-drop-table")},
    ),
    ("op.execute('DROP INDEX ix_orders_quantity')", None, {("up", "require-concurrent-index-deletion")}),
    # A name that the running release says. One that is there again at the end of the step is none.
    ("op.execute(\"ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'\")", None, {("up", "renaming-enum-label")}),
    ("op.execute('ALTER TYPE mood RENAME TO temper')", None, {("up", "renaming-type")}),
    (
        "op.execute('ALTER TYPE mood RENAME TO old')\nop.execute(\"CREATE TYPE mood AS ENUM ('happy')\")",
        None,
        set(),
    ),
    (
        "op.execute(\"CREATE TYPE s.new AS ENUM ('a')\")\nop.execute('ALTER TYPE s.new RENAME TO newer')",
        None,
        set(),
    ),
    ("op.execute('ALTER SCHEMA public RENAME TO shop')", None, {("up", "renaming-schema")}),
    ("op.execute('CREATE SCHEMA a')\nop.execute('ALTER SCHEMA a RENAME TO b')", None, set()),
    ("op.execute('ALTER TABLE orders SET SCHEMA shop')", None, {("up", "ban-set-schema")}),
    # The way back is not held against a step.
    ('op.execute("ANALYZE orders")', "op.execute('ALTER TYPE mood RENAME TO temper')", set()),
]  # fmt: skip
# A column's type, what it is changed to, and what is found.
_TYPE_CHANGES: list[tuple[str, str, set[str]]] = [
    ("varchar(30)", "varchar(60)", set()),
    ("varchar(30)", "varchar", set()),
    ("varchar(30)", "text", set()),
    ("varchar(30)", "varchar(20)", {"changing-column-type", "narrowing-type"}),
    ("varchar", "varchar(20)", {"changing-column-type", "narrowing-type"}),
    ("numeric(8, 2)", "numeric(12, 2)", set()),
    ("numeric(8, 2)", "numeric", set()),
    ("numeric(8, 2)", "numeric(12, 3)", {"changing-column-type", "narrowing-type"}),
    ("numeric(8, 2)", "numeric(6, 2)", {"changing-column-type", "narrowing-type"}),
    ("integer", "bigint", {"changing-column-type"}),
    ("bigint", "integer", {"changing-column-type", "narrowing-type", "prefer-bigint-over-int"}),
    ("timestamptz", "date", {"changing-column-type", "narrowing-type"}),
]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Finding]]:
    """The steps above, each on a branch of its own, linted once: revision -> findings."""
    folder = tmp_path_factory.mktemp("steps")
    start(folder)
    for number, (upgrade, downgrade, _) in enumerate(_STEPS):
        plant(folder, f"step{number}", upgrade, **({"downgrade": downgrade} if downgrade else {}))
    for number, (before, after, _) in enumerate(_TYPE_CHANGES):
        plant(folder, f"before{number}", f'op.execute("CREATE TABLE t (id bigint, x {before})")')
        plant(folder, f"between{number}", 'op.execute("ANALYZE t")', after=f"before{number}")
        change = f'op.execute("ALTER TABLE t ALTER COLUMN x TYPE {after}")'
        plant(folder, f"change{number}", change, after=f"between{number}")
    found: dict[str, list[Finding]] = defaultdict(list)
    for one in lint(folder):
        if one.rule != "several-heads":
            found[one.revision].append(one)
    return found


@pytest.mark.parametrize("number", range(len(_STEPS)), ids=[upgrade[:40] for upgrade, _, _ in _STEPS])
def test_a_step_as_a_whole(planted: dict[str, list[Finding]], number: int) -> None:
    assert {(one.direction, one.rule) for one in planted[f"step{number}"]} == _STEPS[number][2]


@pytest.mark.parametrize("number", range(len(_TYPE_CHANGES)), ids=[f"{old} to {new}" for old, new, _ in _TYPE_CHANGES])
def test_a_type_change_is_found_unless_it_widens_for_free(planted: dict[str, list[Finding]], number: int) -> None:
    found = {one.rule for one in planted[f"change{number}"]}
    assert found - {"prefer-text-field"} == _TYPE_CHANGES[number][2]


def test_squawks_false_alarms_are_known_by_their_case(history: Path) -> None:
    plant(
        history,
        "one",
        """
op.execute("CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, order_id bigint UNIQUE)")
op.create_index("ix_t_order_id", "t", ["order_id"])
op.create_foreign_key("fk_t_order_id_orders", "t", "orders", ["order_id"], ["id"])
op.create_check_constraint(op.f("ck_t_order_id"), "t", "order_id > 0")
op.execute("INSERT INTO t (order_id) VALUES (1)")
op.add_column("orders", sa.Column("city", sa.Text(), server_default="x"))
op.add_column("orders", sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.func.now()))
""",
    )
    # The same index and CHECK in a later step, when the table may have rows.
    plant(
        history,
        "two",
        """
op.create_index("ix_t_later", "t", ["order_id"])
op.create_check_constraint(op.f("ck_t_later"), "t", "order_id > 0")
op.execute("UPDATE t SET order_id = 1 WHERE order_id = 2")
""",
        after="one",
    )
    assert rules(history, "one") == set()
    later = {"require-concurrent-index-creation", "constraint-missing-not-valid", "data-with-schema"}
    assert rules(history, "two") == later


@pytest.mark.parametrize("proven", [True, False])
def test_set_not_null_after_a_check_of_an_earlier_step(history: Path, proven: bool) -> None:
    attribute = '@validate_after_commit = ("orders.ck_orders_phone",)\n' if proven else ""
    plant(
        history,
        "one",
        attribute + 'op.create_check_constraint(op.f("ck_orders_phone"), "orders", "phone IS NOT NULL", '
        "postgresql_not_valid=True)",
    )
    plant(
        history,
        "two",
        'op.alter_column("orders", "phone", nullable=False)\nop.drop_constraint("ck_orders_phone", "orders")',
        after="one",
    )
    assert rules(history, "two") == (set() if proven else {"adding-not-nullable-field"})


def test_what_a_branch_does_is_not_held_against_another(history: Path) -> None:
    plant(history, "one", 'op.execute("ALTER TABLE orders ALTER COLUMN name TYPE varchar(20)")')
    plant(history, "two", 'op.execute("ALTER TABLE orders ALTER COLUMN name TYPE text")')
    assert rules(history, "two") == {"several-heads"}
    plant(history, "three", "pass", after=("one", "two"), downgrade="pass")
    assert rules(history, "two") == set()


def test_every_head_is_named(history: Path) -> None:
    assert "several-heads" not in {one.rule for one in lint(history)}
    for revision in ("one", "two"):
        plant(history, revision, 'op.execute("ANALYZE orders")')
    found = [one for one in lint(history) if one.rule == "several-heads"]
    assert {(one.revision, one.line, one.direction) for one in found} == {("one", 5, ""), ("two", 5, "")}
    assert {one.why for one in found} == {
        "`upgrade head` does not know where to go: there are 2 heads, one, two",
    }


def test_the_line_is_that_of_the_call(history: Path) -> None:
    file = plant(
        history,
        "one",
        """
for name in ("a", "b"):
    op.execute(
        f'''
        DROP INDEX
            {name}
        '''
    )
op.drop_index(
    "c",
)
safe.add_column("orders", sa.Column("code", sa.CHAR(5)))
""",
        downgrade='op.drop_index("d")',
    )
    lines = [(one.line, one.rule, one.direction) for one in lint(history, "one")]
    assert lines == [
        (9, "require-concurrent-index-deletion", "up"),
        (15, "require-concurrent-index-deletion", "up"),
        (18, "ban-char-field", "up"),
        (21, "require-concurrent-index-deletion", "down"),
    ]
    assert file.read_text().splitlines()[8].strip() == "op.execute("
