"""What a revision excuses, and what is wrong with an excuse."""

from pathlib import Path

import pytest

from tangga.exits import Stop
from tangga.lint.examples import plant
from tests.support.linting import lint, rules


def test_an_exception_stands_in_the_revision_with_a_reason(history: Path) -> None:
    plant(history, "one", '@lint_ignore = {"ban-drop-column": "nobody reads it"}\nop.drop_column("orders", "phone")')
    [found] = lint(history, "one")
    assert (found.rule, found.exception) == ("ban-drop-column", "nobody reads it")
    # It excuses this rule, in this file, and nothing else.
    plant(
        history,
        "two",
        '@lint_ignore = {"ban-drop-column": " ", "cluster": "once"}\nop.drop_column("orders", "seller_id")\n'
        'op.drop_table("order_lines")',
        after="one",
    )
    found_by_rule = {one.rule: one for one in lint(history, "two")}
    assert set(found_by_rule) == {"ban-drop-column", "ban-drop-table", "exception-without-reason", "unused-exception"}
    assert found_by_rule["ban-drop-table"].exception is None
    assert found_by_rule["unused-exception"].line == 7
    assert "cluster" in found_by_rule["unused-exception"].why


def test_an_exception_that_only_a_database_could_need_is_not_unused(history: Path) -> None:
    plant(history, "one", '@lint_ignore = {"invalid-index": "it is built again tonight"}\nop.execute("ANALYZE orders")')
    assert rules(history, "one") == set()


def test_a_step_that_says_that_it_breaks_the_release_before_may_do_so(history: Path) -> None:
    rename = 'op.alter_column("orders", "name", new_column_name="title")\nop.drop_index("ix_orders_quantity")'
    plant(history, "one", rename)
    assert rules(history, "one") == {"renaming-column", "require-concurrent-index-deletion"}
    plant(history, "one", f'@breaks_previous_release = "it reads name"\n{rename}')
    # It excuses what is about compatibility, and only that.
    assert rules(history, "one") == {"require-concurrent-index-deletion"}
    excused = {one.rule: one.exception for one in lint(history, "one") if one.exception}
    assert excused == {"renaming-column": "it reads name", "breaks-previous-release": "it reads name"}
    [said] = [one for one in lint(history, "one") if one.rule == "breaks-previous-release"]
    assert (said.line, said.direction) == (7, "")
    assert said.why == "the release that runs cannot work with it: it reads name"


def test_what_hurts_nobody_now_is_found_where_it_is_asked_for(history: Path) -> None:
    """Keys of 32 bits, serial, sizes of varchar: said of almost every old table, and no danger."""
    table = 'op.execute("CREATE TABLE t (id serial PRIMARY KEY, small smallint, code varchar(20))")'
    plant(history, "one", table)
    plant(history, "two", '@lint_ignore = {"prefer-identity": "why"}\n' + table.replace("t (", "u ("), after="one")
    asked = {"prefer-bigint-over-int", "prefer-bigint-over-smallint", "prefer-identity", "prefer-text-field"}
    assert rules(history, "one") == asked
    file = history / "pyproject.toml"
    text = file.read_text()
    file.write_text(text.partition("lint_also")[0])
    assert rules(history, "one") == set()
    # Its exception is not said to be unused: the rule is silent because nobody asked.
    assert lint(history, "two") == []
    file.write_text(text.partition("lint_also")[0] + 'lint_also = ["prefer-identity"]\n')
    assert rules(history, "one") == {"prefer-identity"}


def test_what_cannot_be_asked_for_is_refused(history: Path) -> None:
    file = history / "pyproject.toml"
    file.write_text(file.read_text().partition("lint_also")[0] + 'lint_also = ["ban-drop-column", "nonsense"]\n')
    with pytest.raises(Stop, match="lint_also names ban-drop-column, nonsense, which need not be asked for"):
        lint(history)
