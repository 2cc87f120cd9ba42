"""The statement that fills a table, and how its keys come to differ."""

import re

import pytest

from tangga.scratch.insert import NUMBER, Attempt, Landing, RowsRefused, Units, spread, statement
from tangga.scratch.rows import _parents_first as parents_first
from tangga.scratch.tables import Column, Reference, Table
from tangga.scratch.values import Way

# Rows of which ten have nine different values.
ALIKE = "(tangga_n - tangga_n % 10 / 9)"
FIRST = Attempt(0, 20, 20, 0)


def _column(number: int, way: Way | None = None, *, required: bool = True, filled: bool = False) -> Column:
    return Column(f"c{number}", number, required, filled, "NULL::integer", way or Way("{n}"))


def _table(
    title: str, *columns: Column, keys: list[list[int]] | None = None, references: list[Reference] | None = None,
    checks: dict[str, str] | None = None, deferrable: bool = False,
) -> Table:  # fmt: skip
    by_number = {column.number: column for column in columns}
    return Table(title, title, by_number, keys or [], deferrable, references or [], checks or {})


def _values(indexes: dict[int, str], rows: int) -> list[tuple[int, ...]]:
    """Compute what PostgreSQL would: integers, divided down."""
    return [tuple(eval(sql.replace("/", "//"), {NUMBER: n}) for sql in indexes.values()) for n in range(rows)]


def test_a_key_over_few_values_has_as_many_rows_as_there_can_be() -> None:
    indexes = spread([[1, 2]], {1: (1, 6), 2: (2, 5)}, 0)
    rows = _values(indexes, 30)
    assert len({*rows}) == 30
    # The first ones are spread over both columns already.
    assert {a for a, _ in rows[:6]} == {*range(6)}
    assert len({b for _, b in rows[:6]}) >= 5


def test_the_columns_of_a_reference_belong_together() -> None:
    indexes = spread([[1, 2]], {1: (1, 4), 2: (1, 4)}, 0)
    assert [*indexes] == [1]


@pytest.mark.parametrize("attempt", range(8))
def test_each_attempt_keeps_to_what_differs(attempt: int) -> None:
    units: Units = {1: (1, 3), 2: (2, None), 3: (3, 2)}
    indexes = spread([[1]], units, attempt)
    assert all(0 <= a < 3 and 0 <= c < 2 for a, _, c in _values(indexes, 50))
    # Numbers that must differ are never mixed.
    free = spread([[2]], units, attempt)[2]
    assert len({value for (value,) in _values({2: free}, 50)}) == 50


def test_later_attempts_make_columns_differ() -> None:
    units: Units = {1: (1, None), 2: (2, None)}
    assert all(a == b for a, b in _values(spread([], units, 0), 20))
    assert all(a < b for a, b in _values(spread([], units, 1), 20))
    assert all(a > b for a, b in _values(spread([], units, 2), 20))
    mixed = _values(spread([], units, 4), 50)
    assert any(a < b for a, b in mixed)
    assert any(a > b for a, b in mixed)


def test_the_statement() -> None:
    table = _table("t", _column(1), _column(2, Way("'x' || {n}"), required=False), _column(3, filled=True))
    assert statement({7: table}, {7: 0}, 7, FIRST) == (
        f"INSERT INTO t (c1, c2) SELECT c1, c2 FROM (SELECT tangga_n, ({ALIKE}) AS c1, "
        f"CASE WHEN {ALIKE} % 7 <> 2 THEN 'x' || ({ALIKE}) END AS c2 "
        "FROM generate_series(0::bigint, 19) AS tangga_n ) AS generated "
        "WHERE true ORDER BY tangga_n LIMIT 20 ON CONFLICT DO NOTHING"
    )


def test_where_the_database_fills_everything_there_is_nothing_to_name() -> None:
    assert statement({7: _table("t", _column(1, filled=True))}, {7: 0}, 7, FIRST) == (
        "INSERT INTO t SELECT FROM generate_series(1, 20)"
    )


def test_a_check_on_what_the_database_fills_is_not_asked_for() -> None:
    checks = {"a": "(c1 > 0)", "b": "(c2 > c1)", "c": "(c22 > 0)"}
    table = _table("t", _column(1), _column(2, filled=True), _column(22), checks=checks)
    made = statement({7: table}, {7: 0}, 7, FIRST)
    assert "WHERE ((c1 > 0)) IS NOT FALSE AND ((c22 > 0)) IS NOT FALSE ORDER BY" in made


def test_a_key_that_is_checked_late_has_no_on_conflict() -> None:
    made = statement({7: _table("t", _column(1), keys=[[1]], deferrable=True)}, {7: 0}, 7, FIRST)
    assert "ON CONFLICT" not in made


def test_parents_are_joined_by_number() -> None:
    parent = _table("p", _column(1), keys=[[1]])
    for required, index in (
        (True, f"(({ALIKE}) % 5)"),
        (False, f"CASE WHEN {ALIKE} % 7 <> 2 THEN (({ALIKE}) % 5) END"),
    ):
        child = _table("c", _column(1), _column(2, required=required), references=[Reference("fk", [2], 1, [1])])
        made = statement({1: parent, 2: child}, {1: 5, 2: 0}, 2, FIRST)
        assert (
            "LEFT JOIN (SELECT row_number() OVER (ORDER BY c1) - 1 AS tangga_i, c1 FROM p) AS parent_0 "
            f"ON parent_0.tangga_i = {index}"
        ) in made
        assert re.search(r"parent_0\.c1 AS c2", made)


def test_without_parents_there_is_null_or_a_refusal() -> None:
    parent = _table("p", _column(1))
    reference = Reference("c_p_fkey", [2], 1, [1])
    child = _table("c", _column(1), _column(2, required=False), references=[reference])
    assert "NULL::integer AS c2" in statement({1: parent, 2: child}, {1: 0, 2: 0}, 2, FIRST)
    child = _table("c", _column(1), _column(2), references=[reference])
    with pytest.raises(RowsRefused, match="c: constraint c_p_fkey needs rows in p, which is empty"):
        statement({1: parent, 2: child}, {1: 0, 2: 0}, 2, FIRST)


def test_parents_come_first_and_a_circle_begins_where_null_may_be() -> None:
    def table(title: str, to: int, *, required: bool) -> Table:
        return _table(title, _column(1, required=required), references=[Reference("fk", [1], to, [1])])

    assert parents_first({1: table("child", 2, required=True), 2: _table("parent", _column(1))}) == ([2, 1], [])
    assert parents_first({1: table("self", 1, required=True)}) == ([1], [])
    assert parents_first({1: table("a", 2, required=True), 2: table("b", 1, required=False)}) == ([2, 1], [])
    # What waits for a circle is not in it.
    circle = {1: table("a", 2, required=True), 2: table("b", 1, required=True), 3: table("c", 1, required=True)}
    assert parents_first(circle) == ([3], [1, 2])


def test_only_a_column_that_may_be_null_is_null_where_a_parent_is_missing() -> None:
    """A key over two columns that refers to its own table, which is empty."""
    reference = Reference("fk", [2, 3], 1, [2, 1])
    note = _table("note", _column(1), _column(2), _column(3, required=False), references=[reference])
    made = statement({1: note}, {1: 0}, 1, FIRST)
    assert f"({ALIKE}) AS c2, NULL::integer AS c3 FROM" in made
    # With parents there, too.
    made = statement({1: note}, {1: 5}, 1, FIRST)
    assert f"parent_0.c2 AS c2, CASE WHEN {ALIKE} % 7 <> 3 THEN parent_0.c1 END AS c3" in made
    assert f"ON parent_0.tangga_i = (({ALIKE}) % 5)" in made


def test_a_row_that_needs_a_parent_in_its_own_empty_table_is_its_own_parent() -> None:
    own = _table("own", _column(1, filled=True), _column(2), references=[Reference("fk", [2], 1, [1])])
    made = statement({1: own}, {1: 0}, 1, FIRST)
    assert made.startswith(
        f"INSERT INTO own (c1, c2) OVERRIDING SYSTEM VALUE SELECT c1, c2 FROM (SELECT tangga_n, ({ALIKE}) AS c1,"
    )
    assert f"({ALIKE}) AS c2 FROM" in made


def test_a_column_of_two_keys_has_one_value_and_both_parents_agree_with_it() -> None:
    users, goods = _table("users", _column(1), _column(2)), _table("goods", _column(1), _column(2))
    references = [Reference("fk_u", [1, 2], 1, [1, 2]), Reference("fk_g", [1, 3], 2, [1, 2])]
    order = _table("orders", _column(1), _column(2), _column(3), references=references)
    made = statement({1: users, 2: goods, 3: order}, {1: 5, 2: 6, 3: 0}, 3, FIRST)
    assert "parent_0.c1 AS c1, parent_0.c2 AS c2, parent_1.c2 AS c3" in made
    assert (
        "count(*) OVER (PARTITION BY c1) AS tangga_many, c1, c2 FROM goods) AS parent_1 ON parent_1.c1 = parent_0.c1"
        in made
    )
    assert "WHERE c3 IS NOT NULL ORDER BY" in made


def test_rows_land_in_a_partition() -> None:
    landing = Landing([2], "(SELECT 1 AS c2) AS landing", 3, "(c2 = 1)")
    table = _table("t", _column(1), _column(2, filled=True), keys=[[1, 2]])
    made = statement({1: table}, {1: 0}, 1, FIRST, landing)
    assert "INSERT INTO t (c1, c2) OVERRIDING SYSTEM VALUE SELECT" in made
    assert "FROM (SELECT 1 AS c2) AS landing) AS parent_0 ON parent_0.tangga_i = ((tangga_n) % 3)" in made
    assert "WHERE (c2 = 1) ORDER BY" in made
