"""`alembic verify` says what it did not prove: tables without rows, and steps that refuse generated rows."""

from pathlib import Path
from unittest import mock

import pytest

from tests.migrations.proving import verified
from tests.support.shapes import Node, table

UP, DOWN = "after up, values that were there before", "after up and down, values that were there before"

USER = Node(
    "g1", None,
    """CREATE TABLE "user" (id int PRIMARY KEY, "Full Name" text, "order" int);"""
    """CREATE TABLE "MixedCase" ("Id" int PRIMARY KEY, "userId" int CONSTRAINT "FK_Mixed" REFERENCES "user");"""
    """CREATE SCHEMA store; CREATE TABLE store.thing (id int PRIMARY KEY, part int)""",
    """DROP SCHEMA store CASCADE; DROP TABLE "MixedCase"; DROP TABLE "user" """,
)  # fmt: skip
REQUIRED = Node(
    "g2", "g1",
    """ALTER TABLE "MixedCase" ALTER "userId" SET NOT NULL; ALTER TABLE "user" ADD "Größe" int""",
    """ALTER TABLE "user" DROP "Größe"; ALTER TABLE "MixedCase" ALTER "userId" DROP NOT NULL""",
)  # fmt: skip
NAMELESS = Node(
    "g3", "g2", """ALTER TABLE "user" DROP COLUMN "Full Name" """, """ALTER TABLE "user" ADD COLUMN "Full Name" text"""
)
LOST = [("g3", f"{DOWN}: user.Full Name: 17 rows changed")]


def _without(step: str, table: str, why: str) -> str:
    return f"{step} refused the rows of {table}, and was tried without them: {why}"


def _plainer(step: str, table: str, why: str) -> str:
    return f"{step} refused some of the rows of {table}, and was tried with plainer ones: {why}"


def _step(up: str, down: str = "") -> Node:
    return Node("g2", "g1", up, down)


LEAST = 'SELECT min(abs("order")) FROM "user"'
REFUSING: dict[str, tuple[list[Node], list[str]]] = {
    "NOT NULL": (
        [USER, REQUIRED, NAMELESS],
        [_plainer("g2", "MixedCase", 'column "userId" of relation "MixedCase" contains null values')],
    ),
    "NOT NULL, in another schema": (
        [USER, _step("ALTER TABLE store.thing ALTER part SET NOT NULL",
                     "ALTER TABLE store.thing ALTER part DROP NOT NULL"), NAMELESS],
        [_plainer("g2", "store.thing", 'column "part" of relation "thing" contains null values')],
    ),
    "CHECK": (
        [USER, _step('ALTER TABLE "user" ADD CONSTRAINT ck CHECK ("order" > 7)',
                     'ALTER TABLE "user" DROP CONSTRAINT ck'), NAMELESS],
        [
            _without("g2", "user", 'check constraint "ck" of relation "user" is violated by some row'),
        ],
    ),
    "type": (
        [USER, _step("""UPDATE "user" SET "order" = "Full Name"::int"""), NAMELESS],
        [_without("g2", "user", 'invalid input syntax for type integer: "Text é 0"')],
    ),
    "UNIQUE, of an expression": (
        [USER, _step('CREATE UNIQUE INDEX ux ON "user" (("order" % 2))', "DROP INDEX ux"), NAMELESS],
        [_without("g2", "user", 'could not create unique index "ux" DETAIL: Key (("order" % 2))=(…) is duplicated.')],
    ),
    # A column of its own, with values that it looks up: there are none in rows that nobody wrote.
    "looked up": (
        [USER, _step("""ALTER TABLE "MixedCase" ADD owner int;"""
                     """UPDATE "MixedCase" SET owner = (SELECT "order" FROM "user" WHERE "Full Name" = 'Ani');"""
                     """ALTER TABLE "MixedCase" ALTER owner SET NOT NULL""",
                     'ALTER TABLE "MixedCase" DROP owner'), NAMELESS],
        [_without("g2", "MixedCase", 'column "owner" of relation "MixedCase" contains null values')],
    ),
    "the step's own program": (
        [USER, Node("g2", "g1", body=f"assert op.get_bind().scalar(sa.text({LEAST!r})) != 0"), NAMELESS],
        [_without("g2", "MixedCase, user, store.thing", "AssertionError: AssertionError")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSING)
def test_after_a_step_that_refuses_generated_rows_it_goes_on(tmp_path: Path, name: str) -> None:
    """The step is named; the next one has rows again, and its fault is found."""
    nodes, expected = REFUSING[name]
    report = verified(tmp_path, *nodes)
    assert [line for line in report.unproven if " refused " in line] == expected
    assert [(finding.revision, finding.text.partition(": 1")[0]) for finding in report.findings] == [
        (revision, text.partition(": 1")[0]) for revision, text in LOST
    ]
    assert [timing.revision for timing in report.timings] == ["g1", "g2", "g3"]


ROWS = """rows = {"user": [{"id": 1, "Full Name": "Ani", "order": 8}], "MixedCase": [{"Id": 1, "userId": 1}],
        "store.thing": [{"id": 1, "part": 1}]}"""


@pytest.mark.parametrize("name", [name for name in REFUSING if name != "type"])
def test_with_rows_of_its_own_it_is_proven(tmp_path: Path, name: str) -> None:
    first, second, _ = REFUSING[name][0]
    report = verified(tmp_path, first, second._replace(header=ROWS))
    assert (report.findings, report.unproven) == ([], [])
    # They are looked at as any others.
    lossy = second._replace(header=ROWS, up=f"""{second.up or "SELECT"}; DELETE FROM "MixedCase" """, body="")
    (tmp_path / "again").mkdir()
    found = verified(tmp_path / "again", first, lossy)
    assert [finding.text for finding in found.findings] == [f"{UP}: MixedCase: 1 row gone"]


def test_rows_that_cannot_be_inserted_are_a_fault(tmp_path: Path) -> None:
    for number, (rows, why) in enumerate(
        [
            ("{'user': [{'id': 1, 'nosuch': 2}]}", 'user: column "nosuch" of relation "user" does not exist'),
            ("{'nosuch': [{'id': 1}]}", "there is no table nosuch before the step"),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        report = verified(folder, USER, _step("SELECT")._replace(header=f"rows = {rows}"))
        assert [finding.text for finding in report.findings] == [f"its own rows cannot be inserted: {why}"]


def test_what_is_declared_in_another_form_is_a_fault_and_not_taken(tmp_path: Path) -> None:
    lost, why = "UPDATE thing SET name = '{}'", "{'thing.name': 'all the same'}"
    steps = [
        Node("a2", "a1", lost.format(2), header="changes_data = 'thing.name'; rows = 7"),
        Node("a3", "a2", lost.format(3), header="changes_data = {'thing.name': ''}; rows = {'thing': {'id': 1}}"),
        Node("a4", "a3", lost.format(4), header=f"changes_data = {why}; rows = {{'thing': ({{'id': 1}},)}}"),
    ]
    report = verified(tmp_path, table("a1", None, "thing"), *steps)
    form = "changes_data is no dict of tables and columns, each with a reason"
    rows = "rows is no dict of tables, each with a list of dicts"
    assert [(found.revision, found.text.partition(": ")[0]) for found in report.findings] == [
        ("a2", form), ("a2", rows), ("a2", UP), ("a3", form), ("a3", rows), ("a3", UP),
    ]  # fmt: skip


def test_a_step_that_never_ends_is_a_fault(tmp_path: Path) -> None:
    with mock.patch("tangga.rehearsal._SECONDS", 5):
        report = verified(tmp_path, Node("a1", None, body="all(True for _ in iter(int, 1))"))
    assert [found.text for found in report.findings] == [
        "up fails: TimeoutError: it has not ended after 5 s; the steps after it were not tried"
    ]


def test_a_table_without_rows_is_named_with_the_steps(tmp_path: Path) -> None:
    odd = Node(
        "a1", None, "CREATE TABLE odd (x text CONSTRAINT ck CHECK (x IS NOT NULL AND md5(x) = 'no'))", "DROP TABLE odd"
    )
    report = verified(tmp_path, odd, *(table(f"a{n + 1}", f"a{n}", f"t{n}") for n in range(1, 6)))
    assert report.findings == []
    assert report.unproven == [
        "table odd had no rows before a2, a3, a4 and 2 more steps: no generated row passes its CHECK constraints (ck)"
    ]
