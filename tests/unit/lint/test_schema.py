"""The tables after some statements, without a database."""

import pytest
from pglast.enums import ConstrType

from tangga.lint.schema import Column, Constraint, Table
from tangga.lint.types import Type
from tests.support.linting import schema_of

_T = "CREATE TABLE t (id bigint PRIMARY KEY, x varchar(20), n integer DEFAULT 1 NOT NULL);"
_ID = Column(Type("int8"), not_null=True)
_X = Column(Type("varchar", (20,)))
_N = Column(Type("int4"), not_null=True, filled=True)


def _columns(sql: str) -> dict[str, Column]:
    return schema_of(_T + sql)["t"].columns


def test_a_table_is_made_with_its_columns_and_constraints() -> None:
    made = schema_of(_T + "CREATE TABLE s.u (a int, b int, CONSTRAINT pk PRIMARY KEY (a), CONSTRAINT c CHECK (b > 0))")
    assert made == {
        "t": Table({"id": _ID, "x": _X, "n": _N}),
        "s.u": Table(
            {"b": Column(Type("int4")), "a": Column(Type("int4"), not_null=True)},
            {"pk": Constraint(ConstrType.CONSTR_PRIMARY, True), "c": Constraint(ConstrType.CONSTR_CHECK, True)},
        ),
    }


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        ("serial", Column(Type("int4"), True, True, "int4")),
        ("smallserial", Column(Type("int2"), True, True, "int2")),
        ("bigserial PRIMARY KEY", Column(Type("int8"), True, True, "int8")),
        ("bigint GENERATED ALWAYS AS IDENTITY", Column(Type("int8"), True, True)),
        ("bigint GENERATED ALWAYS AS (id * 2) STORED", Column(Type("int8"), False, True)),
        ("text NOT NULL", Column(Type("text"), True)),
        ("text DEFAULT ''", Column(Type("text"), False, True)),
    ],
)
def test_a_column_is_added(definition: str, expected: Column) -> None:
    assert _columns(f"ALTER TABLE t ADD COLUMN y {definition}")["y"] == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("ALTER COLUMN x TYPE text", Column(Type("text"))),
        ("ALTER COLUMN x SET NOT NULL", Column(Type("varchar", (20,)), not_null=True)),
        ("ALTER COLUMN x SET NOT NULL, ALTER COLUMN x DROP NOT NULL", _X),
        ("ALTER COLUMN x SET DEFAULT ''", Column(Type("varchar", (20,)), filled=True)),
        ("ALTER COLUMN x SET DEFAULT '', ALTER COLUMN x DROP DEFAULT", _X),
        ("ALTER COLUMN x ADD GENERATED ALWAYS AS IDENTITY", Column(Type("varchar", (20,)), filled=True)),
        ("DROP COLUMN x", None),
        ("RENAME COLUMN x TO y", None),
        ("ALTER COLUMN nothing SET NOT NULL", _X),
        ("ENABLE ROW LEVEL SECURITY", _X),
    ],
)
def test_a_column_is_changed(change: str, expected: Column | None) -> None:
    columns = _columns(f"ALTER TABLE t {change}")
    assert columns.get("x") == expected
    assert (columns["id"], columns["n"]) == (_ID, _N)


def test_a_renamed_column_is_what_it_was() -> None:
    assert _columns("ALTER TABLE t RENAME COLUMN x TO y")["y"] == _X


def test_constraints_come_are_validated_and_go() -> None:
    added = "ALTER TABLE t ADD CONSTRAINT c CHECK (x IS NOT NULL) NOT VALID;"
    expected = Constraint(ConstrType.CONSTR_CHECK, valid=False, proves_not_null="x")
    assert schema_of(_T + added)["t"].constraints == {"c": expected}
    validated = added + "ALTER TABLE t VALIDATE CONSTRAINT c;"
    assert schema_of(_T + validated)["t"].constraints["c"].valid
    assert schema_of(_T + validated + "ALTER TABLE t DROP CONSTRAINT c")["t"].constraints == {}
    assert schema_of(_T + "ALTER TABLE t VALIDATE CONSTRAINT nothing")["t"].constraints == {}


def test_a_primary_key_of_its_own_makes_the_columns_not_null() -> None:
    assert _columns("ALTER TABLE t ADD CONSTRAINT pk PRIMARY KEY (x)")["x"].not_null


def test_tables_are_renamed_and_dropped() -> None:
    table = schema_of(_T)["t"]
    assert schema_of(_T + "ALTER TABLE t RENAME TO u") == {"u": table}
    assert schema_of(_T + "ALTER TABLE nothing RENAME TO u") == {"t": table}
    assert schema_of(_T + "CREATE TABLE s.t (a int); DROP TABLE public.t, s.t, nothing") == {}
    assert schema_of(_T + "DROP INDEX t") == {"t": table}


def test_a_sequence_is_the_columns_that_it_is_named_after() -> None:
    made = "CREATE TABLE a (id serial); CREATE TABLE b (id serial);"
    wide = schema_of(made + "ALTER SEQUENCE a_id_seq AS bigint; ALTER SEQUENCE b_id_seq RESTART 5")
    assert (wide["a"].columns["id"].sequence, wide["b"].columns["id"].sequence) == ("int8", "int4")
    assert wide["a"].columns["id"].type == Type("int4")


def test_a_statement_about_no_table_changes_nothing() -> None:
    assert schema_of(_T + "ANALYZE t; CREATE INDEX ON t (x); UPDATE t SET x = ''") == schema_of(_T)
