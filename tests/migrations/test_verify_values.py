"""`alembic verify` on losses that ordinary values do not show, and on what is lost beside the rows."""

import re
from pathlib import Path
from unittest import mock

import pytest

from tangga.scratch.rows import generate
from tangga.verify.model import Report
from tests.migrations.proving import verified
from tests.support.shapes import Node

UP, DOWN = "after up, values that were there before", "after up and down, values that were there before"


def _thing(kind: str) -> Node:
    return Node("v1", None, f"CREATE TABLE thing (id serial PRIMARY KEY, v {kind})", "DROP TABLE thing")


def _as(kind: str, back: str, how: str = "v") -> tuple[str, str, str]:
    """Return a column that is of one type, of another after the step, and of its own again after the way down."""
    return (
        back, f"ALTER TABLE thing ALTER v TYPE {kind} USING {how}::{kind}", f"ALTER TABLE thing ALTER v TYPE {back}"
    )  # fmt: skip


# name -> (the type of a column v, a step that loses something of it, its way down)
LOSSY = {
    "a long text is cut": ("text", "UPDATE thing SET v = left(v, 100)", ""),
    "at 255": _as("varchar(255)", "text", "left(v, 255)"),
    "of a limited one": _as("varchar(100)", "varchar(120)", "left(v, 100)"),
    "no text is NULL": ("text", "UPDATE thing SET v = NULL WHERE v = ''", ""),
    "of a limited one, too": ("varchar(40)", "UPDATE thing SET v = NULL WHERE v = ''", ""),
    "whole seconds": _as("timestamptz(0)", "timestamptz"),
    "whole seconds of a day": _as("time(0)", "time"),
    "whole milliseconds": _as("timestamp(3)", "timestamp"),
    "whole minutes": ("interval", "UPDATE thing SET v = date_trunc('minute', v)", ""),
    "half the digits": _as("real", "double precision"),
    "two decimals": _as("numeric(20, 2)", "numeric"),
    "no sign": ("int", "UPDATE thing SET v = abs(v)", ""),
    "no sign of a number with decimals": ("numeric(12, 2)", "UPDATE thing SET v = abs(v)", ""),
    "doubles": ("int", "DELETE FROM thing AS a USING thing AS b WHERE a.v = b.v AND a.id > b.id", ""),
    "what is over": ("timestamptz", "DELETE FROM thing WHERE v < now()", ""),
    "what is to come": ("date", "DELETE FROM thing WHERE v > now()", ""),
    "an element of an array": ("timestamp[]", "UPDATE thing SET v = v::timestamp(0)[]", ""),
}


# What all numbers and moments show, and what hangs on how many rows are alike.
_ALWAYS = {"whole seconds of a day", "whole minutes", "half the digits", "two decimals", "doubles", "what is over"}


@pytest.fixture(scope="module")
def history() -> list[Node]:
    """All of them in one: a table for each, and then a step on each."""
    tables = [
        f"CREATE TABLE thing{n} (id serial PRIMARY KEY, v {kind});" for n, (kind, _, _) in enumerate(LOSSY.values())
    ]
    steps = [
        Node(f"v{n}", f"v{n - 1}" if n else "v", *(sql.replace("thing", f"thing{n}") for sql in (up, down)))
        for n, (_, up, down) in enumerate(LOSSY.values())
    ]
    return [Node("v", None, "".join(tables), "".join(f"DROP TABLE thing{n};" for n in range(len(steps)))), *steps]


def _found(report: Report) -> set[str]:
    """Return which of them were found to lose something of their own."""
    names = [*LOSSY]
    for found in report.findings:
        assert re.match(rf"({UP}|{DOWN}): thing{found.revision[1:]}\b", found.text), found
    return {names[int(found.revision[1:])] for found in report.findings}


def test_losses_that_ordinary_values_do_not_show(tmp_path: Path, history: list[Node]) -> None:
    report = verified(tmp_path, *history)
    assert (_found(report), report.unproven) == ({*LOSSY}, [])


def test_with_ordinary_values_alone_they_would_not_be_found(tmp_path: Path, history: list[Node]) -> None:
    def tame(*arguments: object, **options: object) -> object:
        return generate(*arguments, odd=False, **options)  # type: ignore[arg-type]

    with mock.patch("tangga.verify.filling.generate", tame):
        assert _found(verified(tmp_path, *history)) == _ALWAYS


def test_what_refuses_such_values_is_tried_with_ordinary_ones(tmp_path: Path) -> None:
    """And what it does to those is seen."""
    step = Node("v2", "v1", "ALTER TABLE thing ALTER v TYPE varchar(255); UPDATE thing SET v = lower(v)")
    report = verified(tmp_path, _thing("text"), step)
    assert report.unproven == [
        "v2 refused some of the rows of thing, and was tried with plainer ones: "
        "value too long for type character varying(255)"
    ]
    assert f"{UP}: thing.v: 20 rows changed" in [found.text for found in report.findings]


PAIR = Node(
    "v1", None,
    "CREATE TYPE pair AS (a int, b text); CREATE TYPE two AS (one pair, many pair[]);"
    "CREATE TABLE thing (id serial PRIMARY KEY, v pair, w two)",
    "DROP TABLE thing; DROP TYPE two; DROP TYPE pair",
)  # fmt: skip


def test_composite_types_have_values(tmp_path: Path) -> None:
    first = Node("v2", "v1", "UPDATE thing SET v = ROW((v).a, 'same')::pair")
    report = verified(tmp_path, PAIR, first, Node("v3", "v2", "UPDATE thing SET w = ROW((w).one, NULL)::two"))
    found = [(each.revision, each.text.partition(": ")[2].partition(": ")[0]) for each in report.findings]
    assert found == [("v2", "thing.v"), ("v3", "thing.w")]
    assert report.unproven == []
    # One that gets another column, and loses it again, prints all values otherwise in between.
    more = Node("v2", "v1", "ALTER TYPE pair ADD ATTRIBUTE c int CASCADE", "ALTER TYPE pair DROP ATTRIBUTE c CASCADE")
    (tmp_path / "more").mkdir()
    assert verified(tmp_path / "more", PAIR, more).findings == []


def test_a_column_whose_type_nobody_knows_is_named(tmp_path: Path) -> None:
    report = verified(tmp_path, _thing("pg_snapshot"), Node("v2", "v1", "UPDATE thing SET v = NULL"))
    assert report.findings == []
    assert report.unproven == ["column thing.v was NULL before v2: no value of its type is known here: pg_snapshot"]


def test_what_met_no_row_is_not_proven(tmp_path: Path) -> None:
    """A loop in batches ends with one that meets none; what is one of several is not counted by itself."""
    statement = "sa.text('UPDATE thing SET v = v WHERE id > :n')"
    long = "/* why */ " * 60 + "SELECT 'UPDATE thing'"
    steps = [
        Node("v2", "v1", "UPDATE thing SET v = 'x' WHERE v = 'admin'", "/* old */ DELETE FROM thing\n  WHERE v = 'no'"),
        Node("v3", "v2", long, "UPDATE thing SET v = v; DELETE FROM thing WHERE v = 'no'"),
        Node("v4", "v3", body=f"[op.get_bind().execute({statement}, {{'n': n}}) for n in (0, 10**6)]"),
    ]
    report = verified(tmp_path, _thing("text"), *steps)
    assert report.findings == []
    assert report.unproven == [
        "v2 met no row with: UPDATE thing SET v = 'x' WHERE v = 'admin'",
        "v2 met no row with: /* old */ DELETE FROM thing WHERE v = 'no'",
    ]


# What neither the dump nor the rows show: (the table, a step, its way down, what is said of it).
BESIDE = {
    "a sequence that is set back": (
        "CREATE TABLE thing (id serial PRIMARY KEY, v int)", "SELECT setval('thing_id_seq', 1)", "",
        "thing.id: its sequence goes on with 2, and its values up to 20: setval",
    ),
    "one that counts from the start": (
        "CREATE TABLE thing (id serial PRIMARY KEY, v int)",
        "ALTER TABLE thing ALTER id DROP DEFAULT; ALTER TABLE thing ALTER id ADD GENERATED BY DEFAULT AS IDENTITY;"
        "DROP SEQUENCE thing_id_seq",
        "ALTER TABLE thing ALTER id DROP IDENTITY; CREATE SEQUENCE thing_id_seq AS int OWNED BY thing.id;"
        "SELECT setval('thing_id_seq', 1000); ALTER TABLE thing ALTER id SET DEFAULT nextval('thing_id_seq')",
        "thing.id: its sequence goes on with 1, and its values up to 20: setval",
    ),
    "a materialized view": (
        "CREATE TABLE thing (id int, v int); CREATE MATERIALIZED VIEW seen AS SELECT * FROM thing",
        "REFRESH MATERIALIZED VIEW seen WITH NO DATA", "",
        "materialized view seen: it holds no data any more; REFRESH it",
    ),
    "a setting of the database": (
        "CREATE TABLE thing (id int)",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''8MB''', current_database()); END $$", "",
        "after down, setting of the database work_mem=8MB: extra",
    ),
    "values of other rows": (
        "CREATE TABLE thing (a int, b int)",
        "UPDATE thing SET b = CASE b WHEN 5 THEN 6 WHEN 6 THEN 5 ELSE b END", "",
        "after up, values that were there before: thing: rows have values of other rows",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BESIDE)
def test_what_is_lost_beside_the_rows(tmp_path: Path, name: str) -> None:
    made, up, down, expected = BESIDE[name]
    report = verified(tmp_path, Node("v1", None, made, "DROP TABLE thing CASCADE"), Node("v2", "v1", up, down))
    assert expected in [found.text for found in report.findings], report.findings


def test_what_is_declared_beside_the_rows_is_no_fault(tmp_path: Path) -> None:
    subjects = {"a sequence that is set back": "thing.id", "a materialized view": "seen"}
    for number, (name, declared) in enumerate(subjects.items()):
        made, up, down, _ = BESIDE[name]
        steps = [
            Node("v1", None, made, "DROP TABLE thing CASCADE"),
            Node("v2", "v1", up, down, header=f"changes_data = {{{declared!r}: 'on purpose'}}"),
        ]
        (folder := tmp_path / str(number)).mkdir()
        assert verified(folder, *steps).findings == []


def test_a_label_that_gets_another_name_and_its_own_back_is_no_fault(tmp_path: Path) -> None:
    """And one whose rows get another label is found."""
    made = Node(
        "v1", None, "CREATE TYPE mood AS ENUM ('fine', 'sad'); CREATE TABLE thing (id serial PRIMARY KEY, v mood)",
        "DROP TABLE thing; DROP TYPE mood",
    )  # fmt: skip
    renamed = "ALTER TYPE mood RENAME VALUE '{}' TO '{}'"
    there, back = renamed.format("fine", "good"), renamed.format("good", "fine")
    for name in ("whole", "lost"):
        (tmp_path / name).mkdir()
    assert verified(tmp_path / "whole", made, Node("v2", "v1", there, back)).findings == []
    lost = verified(tmp_path / "lost", made, Node("v2", "v1", f"UPDATE thing SET v = 'sad'; {there}", back))
    assert [found.text.partition(": ")[0] for found in lost.findings] == [UP]
