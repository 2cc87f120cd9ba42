"""`alembic verify` on histories of every shape: a lossy step is found wherever its table is, and no other."""

from pathlib import Path
from unittest import mock

import pytest

from tangga.scratch.rows import generate
from tangga.verify.places import Places
from tests.migrations.proving import verified
from tests.support.shapes import Node, table


def _lower(revision: str, below: str, table: str) -> Node:
    return Node(revision, below, f"UPDATE {table} SET name = lower(name)")


def _same(revision: str, below: str, table: str) -> Node:
    return Node(revision, below, f"UPDATE {table} SET name = 'same'")


# Graphs ---------------------------------------------------------------------------------------------------------------

SIZE = Node("b5", "b4", "ALTER TABLE thing ADD COLUMN size int", "ALTER TABLE thing DROP COLUMN size")
GRAPHS = {
    "branches and a merge": [
        table("b1", None, "thing"), table("b2", "b1", "left_one"), table("b3", "b1", "right_one"),
        Node("b4", ("b2", "b3")), SIZE,
    ],
    "two heads, three branches": [
        table("b1", None, "thing"), table("b2", "b1", "left_one"), table("b3", "b1", "right_one"),
        table("b4", "b1", "third"), Node("b6", ("b2", "b3"), "CREATE INDEX ix ON left_one (name)", "DROP INDEX ix"),
        SIZE,
    ],
    "several bases": [
        table("a1", None, "a"), table("x1", None, "x"), table("a2", "a1", "a_two"), table("x2", "x1", "x_two"),
    ],
    "a step that depends on another branch": [
        table("a1", None, "a"), table("x1", None, "x"), table("x2", "x1", "x_two"),
        Node("a2", "a1", "ALTER TABLE a ADD COLUMN x int REFERENCES x", "ALTER TABLE a DROP COLUMN x", "x1"),
        table("a3", "a2", "a_three"), table("x3", "x2", "x_three"),
    ],
    "a dependency that is the other head": [
        table("a1", None, "a"), table("x1", None, "x"),
        Node("a2", "a1", "ALTER TABLE a ADD COLUMN x int REFERENCES x", "ALTER TABLE a DROP COLUMN x", "x1"),
        table("x2", "x1", "x_two"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_without_a_fault_has_none(tmp_path: Path, name: str) -> None:
    """A step down takes nothing along that stands beside it, and is printed from where it stands."""
    report = verified(tmp_path, *GRAPHS[name])
    assert [finding.text for finding in report.findings] == []
    assert (report.unproven, report.not_printable) == ([], [])
    assert {timing.revision for timing in report.timings} == {node.revision for node in GRAPHS[name]}
    assert all(timing.down is not None for timing in report.timings)


# A column `v`, or the key, that gets another type, and its own back; and how the values become the other's.
RETYPED = {
    "to a time zone": ("timestamp", "timestamptz", "v AT TIME ZONE 'UTC'", "v AT TIME ZONE 'UTC'"),
    "a date": ("date", "timestamp", "v", "v::date"),
    "a boolean": ("boolean", "int", "v::int", "v::boolean"),
    "bytes": ("text", "bytea", "convert_to(v, 'UTF8')", "convert_from(v, 'UTF8')"),
    "an array": ("text", "text[]", "ARRAY[v]", "v[1]"),
    "digits": ("numeric", "numeric(20,10)", "v", "v"),
    "a number": ("int", "text", "v::text", "v::int"),
}


@pytest.mark.parametrize("key", ["", " PRIMARY KEY"])
@pytest.mark.parametrize("name", RETYPED)
def test_a_change_of_type_that_loses_nothing_is_no_fault(tmp_path: Path, name: str, key: str) -> None:
    """And one that does is found: here all values become NULL."""
    was, becomes, there, back = RETYPED[name]
    made = Node("r1", None, f"CREATE TABLE thing (v {was}{key}, note text)", "DROP TABLE thing")
    up, down = (f"ALTER TABLE thing ALTER v TYPE {kind} USING {how}" for kind, how in ((becomes, there), (was, back)))
    (tmp_path / "whole").mkdir()
    assert [finding.text for finding in verified(tmp_path / "whole", made, Node("r2", "r1", up, down)).findings] == []
    if not key:
        (tmp_path / "lossy").mkdir()
        lossy = f"ALTER TABLE thing ALTER v TYPE {becomes} USING (NULL::{becomes})"
        found = verified(tmp_path / "lossy", made, Node("r2", "r1", lossy, down)).findings
        # As many values as then are other ones on the way back: that is said once.
        assert [finding.text.partition(": ")[0] for finding in found] == [UP]


@pytest.mark.parametrize(("declared", "taken_back"), [("None", True), ("''", True), ("'it is gone'", False)])
def test_only_a_reason_makes_a_step_irreversible(tmp_path: Path, declared: str, taken_back: bool) -> None:
    step = Node("r2", "r1", "ALTER TABLE thing DROP name", "ALTER TABLE thing ADD name text")
    report = verified(tmp_path, table("r1", None, "thing"), step._replace(header=f"irreversible = {declared}"))
    [_, timing] = report.timings
    assert (timing.down is not None, bool(report.findings)) == (taken_back, taken_back)


def test_a_fault_on_one_branch_is_that_branchs(tmp_path: Path) -> None:
    leftover = Node("b3", "b1", "CREATE SEQUENCE IF NOT EXISTS tickets")
    report = verified(tmp_path, table("b1", None, "thing"), table("b2", "b1", "left_one"), leftover)
    assert [(finding.revision, finding.text[:37]) for finding in report.findings] == [
        ("b3", "after down, sequence tickets: extra (")
    ]


# Shapes of tables and steps -------------------------------------------------------------------------------------------

UP, DOWN = "after up, values that were there before", "after up and down, values that were there before"
ORM = (
    "session = sa.orm.Session(op.get_bind()); "
    "[session.execute(sa.text('UPDATE thing SET name = lower(name) WHERE id = :id'), {'id': row.id})"
    " for row in session.execute(sa.text('SELECT id FROM thing')).all()]; session.flush()"
)
NOTE = Node(
    "k2", "k1",
    "CREATE TABLE note (id serial PRIMARY KEY, topic int NOT NULL, parent int, UNIQUE (topic, id),"
    " FOREIGN KEY (topic, parent) REFERENCES note (topic, id))",
    "DROP TABLE note",
)  # fmt: skip
EVENT = Node(
    "f1", None,
    "CREATE TABLE event (id bigint, day date NOT NULL, name text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);"
    "CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM ('2024-01-01') TO ('2030-01-01');"
    "CREATE TABLE event_2 PARTITION OF event FOR VALUES FROM ('2030-01-01') TO ('2040-01-01')",
    "DROP TABLE event",
)  # fmt: skip
STORE = Node(
    "c1",
    None,
    "CREATE SCHEMA store; CREATE TABLE store.thing (id int PRIMARY KEY, name text)",
    "DROP SCHEMA store CASCADE",
)
TOKO = Node(
    "c1", None,
    """CREATE SCHEMA "Toko"; CREATE TABLE "Toko"."Barang Baru" ("Id" int PRIMARY KEY, name text);"""
    "CREATE TABLE thing (id int PRIMARY KEY, name text)",
    """DROP TABLE thing; DROP SCHEMA "Toko" CASCADE""",
)  # fmt: skip
FORCED = Node(
    "w1", None,
    "CREATE TABLE thing (id serial PRIMARY KEY, name text); ALTER TABLE thing ENABLE ROW LEVEL SECURITY;"
    "ALTER TABLE thing FORCE ROW LEVEL SECURITY; CREATE POLICY own ON thing USING (true) WITH CHECK (false)",
    "DROP TABLE thing",
)  # fmt: skip
# name -> (steps, the table in question, the step at fault and what is said of it)
LOSSY: dict[str, tuple[list[Node], str, list[tuple[str, str]]]] = {
    "partition": ([EVENT, _lower("f2", "f1", "event")], "event", [("f2", f"{UP}: event.name: 17 rows changed")]),
    "one partition": (
        [EVENT, Node("f2", "f1", "DELETE FROM event_2")], "event", [("f2", f"{UP}: event: 10 rows gone")],
    ),
    "column of a partitioned table": (
        [EVENT, Node("f3", "f1", "ALTER TABLE event DROP COLUMN name", "ALTER TABLE event ADD COLUMN name text")],
        "event", [("f3", f"{DOWN}: event.name: 17 rows changed")],
    ),
    "other schema": (
        [STORE, _lower("c2", "c1", "store.thing")], "store.thing", [("c2", f"{UP}: store.thing.name: 17 rows changed")],
    ),
    "quoted names in another schema": (
        [TOKO, _same("c2", "c1", '"Toko"."Barang Baru"')], "Toko.Barang Baru",
        [("c2", f"{UP}: Toko.Barang Baru.name: 20 rows changed")],
    ),
    "the same name in two schemas": (
        [
            table("c0", None, "thing"), STORE._replace(below="c0"),
            Node("c2", "c1", "DELETE FROM store.thing WHERE id IN (SELECT id FROM thing)", ""),
        ],
        "store.thing", [("c2", f"{UP}: store.thing: 15 rows gone")],
    ),
    "composite key": (
        [table("k1", None, "aaa"), NOTE, table("k4", "k2", "bbb"), _same("k5", "k4", "bbb")], "bbb",
        [("k5", f"{UP}: bbb.name: 20 rows changed")],
    ),
    "composite key that refers to its own table": (
        [table("k1", None, "aaa"), NOTE, Node("k3", "k2", "UPDATE note SET topic = -topic WHERE parent IS NULL")],
        "note", [("k3", f"{UP}: note.topic: 19 rows changed")],
    ),
    "row-level security": (
        [FORCED, Node("w2", "w1", "ALTER TABLE thing DROP COLUMN name CASCADE", "ALTER TABLE thing ADD name text")],
        "thing", [("w2", f"{DOWN}: thing.name: 18 rows changed")],
    ),
    "merge": (
        [*GRAPHS["branches and a merge"], _same("b6", "b5", "right_one")], "right_one",
        [("b6", f"{UP}: right_one.name: 20 rows changed")],
    ),
    "the step that merges": (
        [*GRAPHS["branches and a merge"][:3], Node("b4", ("b2", "b3"), "DELETE FROM left_one")], "left_one",
        [("b4", f"{UP}: left_one: 20 rows gone")],
    ),
    "depends_on": (
        [table("a1", None, "a"), table("x1", None, "x"), Node("a2", "a1", "DELETE FROM x", "", "x1")], "x",
        [("a2", f"{UP}: x: 20 rows gone")],
    ),
    "ORM": (
        [table("o1", None, "thing"), Node("o2", "o1", body=ORM, header="import sqlalchemy.orm")], "thing",
        [("o2", f"{UP}: thing.name: 17 rows changed")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSY)
def test_a_lossy_step_is_found(tmp_path: Path, name: str) -> None:
    nodes, _, expected = LOSSY[name]
    report = verified(tmp_path, *nodes)
    assert [(finding.revision, finding.text) for finding in report.findings] == expected
    assert report.unproven == []


@pytest.mark.parametrize("name", LOSSY)
def test_without_rows_in_that_table_it_would_not_be_found(tmp_path: Path, name: str) -> None:
    nodes, table, _ = LOSSY[name]

    def blind(*arguments: object, without: list[str], **options: object) -> object:
        return generate(*arguments, without=[*without, table], **options)  # type: ignore[arg-type]

    with mock.patch("tangga.verify.filling.generate", blind):
        assert verified(tmp_path, *nodes).findings == []


def test_a_part_of_the_steps(tmp_path: Path) -> None:
    nodes = GRAPHS["branches and a merge"]
    report = verified(tmp_path, *nodes, start="b3", to="b4")
    assert {timing.revision for timing in report.timings} == {"b2", "b3", "b4"}
    assert (report.findings, report.unproven, report.steps) == ([], [], 5)


def test_a_step_whose_way_down_leaves_no_trace_is_dumped_once(tmp_path: Path) -> None:
    """Where the catalogue is as it was, pg_dump is not asked again; an object made anew is another one."""
    nodes = [table(f"a{number}", f"a{number - 1}" if number else None, f"t{number}") for number in range(6)]
    with mock.patch.object(Places, "dump", autospec=True, side_effect=Places.dump) as dump:
        verified(tmp_path / "added", *nodes)
        # One before the first step, one after each, one of what is printed; and one after the first step's way down,
        # for it leaves Alembic's own table.
        assert dump.call_count == len(nodes) + 3
        dump.reset_mock()
        nodes.append(Node("b", "a5", "DROP TABLE t1", "CREATE TABLE t1 (id serial PRIMARY KEY, name text)"))
        verified(tmp_path / "replaced", *nodes)
        assert dump.call_count == len(nodes) + 4
