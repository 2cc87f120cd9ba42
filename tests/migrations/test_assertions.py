"""What a step demands of the rows that are there, and what these answer; as a plan says it, too."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from tangga import connect
from tangga.catalogue import model
from tangga.catalogue.sql import execute
from tangga.connect import is_of_integrity
from tangga.exits import FINDINGS, STEP_FAILED
from tangga.plan.assertions import ask
from tangga.plan.demands import demands
from tests.databases import query
from tests.migrations.proving import project_of
from tests.support.library import FOLDER, HEAD, alembic, plant
from tests.support.planning import code_of, plan_of


@pytest.fixture
def rows(populated: str) -> Iterator[Connection]:
    """A connection to a database with rows; nothing that a test does there stays."""
    with connect.engine(project_of(FOLDER, populated).settings.url, "test").connect() as connection:
        yield connection


class Demand(NamedTuple):
    """What a step demands, how the live rows fail it, and what the plan says then."""

    name: str
    upgrade: str
    spoil: str
    wrong: int
    example: str | None


DEMANDS = [
    Demand("unique", "CREATE UNIQUE INDEX ux ON books (title)",
           "UPDATE books SET title = 'twice' WHERE id <= 3", 1, "twice"),
    Demand("unique", "ALTER TABLE books ADD CONSTRAINT uq UNIQUE (title, pages)",
           "UPDATE books SET title = id % 2, pages = 7 WHERE id <= 5", 2, None),
    Demand("unique", "CREATE UNIQUE INDEX ux ON books (title) WHERE lent",
           "UPDATE books SET title = 'twice', lent = true WHERE id <= 3", 1, "twice"),
    Demand("unique", "CREATE UNIQUE INDEX ux ON books (upper(title))",
           "UPDATE books SET title = 'BOOK 1' WHERE id = 2", 1, "BOOK 1"),
    Demand("unique", "ALTER TABLE books DROP CONSTRAINT pk_books CASCADE; ALTER TABLE books ADD PRIMARY KEY (pages)",
           "UPDATE books SET pages = 1 WHERE id <= 2", 1, "1"),
    Demand("not null", "ALTER TABLE books ALTER COLUMN note SET NOT NULL",
           "UPDATE books SET note = NULL WHERE id <= 5", 5, None),
    Demand("not null", "ALTER TABLE books RENAME note TO remark; ALTER TABLE books ALTER COLUMN remark SET NOT NULL",
           "UPDATE books SET note = NULL WHERE id <= 5", 5, None),
    Demand("foreign key", "ALTER TABLE books ADD CONSTRAINT fk FOREIGN KEY (pages) REFERENCES authors",
           "UPDATE books SET pages = 9999 WHERE id <= 2", 2, "9999"),
    Demand("check", "ALTER TABLE books ADD CONSTRAINT ck CHECK (pages >= 0)",
           "UPDATE books SET pages = -1 WHERE id <= 4", 4, None),
]  # fmt: skip


@pytest.mark.parametrize("demand", DEMANDS, ids=lambda demand: demand.upgrade)
def test_the_rows_are_asked(rows: Connection, demand: Demand) -> None:
    before = model.read(rows)
    execute(rows, demand.upgrade)
    [question] = demands(before, before, model.read(rows))
    rows.rollback()
    assertion = ask(rows, question, (), ())
    assert (assertion.demand, assertion.outcome, assertion.count) == (demand.name, "holds", 0)

    execute(rows, demand.spoil)
    assertion = ask(rows, question, (), ())
    assert (assertion.outcome, assertion.count) == ("violated", demand.wrong)
    if demand.example:
        assert assertion.example == demand.example
    # The answer is right: these rows do not take it.
    with pytest.raises(DBAPIError) as refused:
        execute(rows, demand.upgrade)
    assert is_of_integrity(refused.value)


def test_what_is_new_has_no_rows_to_ask(rows: Connection) -> None:
    before = model.read(rows)
    rows.exec_driver_sql("CREATE TABLE fresh (id integer PRIMARY KEY, CHECK (id > 0))")
    rows.exec_driver_sql("ALTER TABLE books ADD COLUMN city text; CREATE UNIQUE INDEX ux ON books (city)")
    assert demands(before, before, model.read(rows)) == []


def test_what_cannot_be_asked_is_said(rows: Connection) -> None:
    before = model.read(rows)
    rows.exec_driver_sql("ALTER TABLE books ADD COLUMN city text; CREATE UNIQUE INDEX ux ON books (title, city)")
    [question] = demands(before, before, model.read(rows))
    assert (question.sql, question.assertion.outcome) == (None, "not asked")
    assert question.assertion.detail == "a column of it is new, renamed or of another type in this run"


SAFE_FORMS = [
    ("safe.set_not_null('books', 'note')", "UPDATE books SET note = NULL WHERE id <= 5"),
    ("safe.add_unique('uq', 'books', ['title'])", "UPDATE books SET title = 'twice'"),
    # 2000 is no user's number either.
    ("safe.add_check('ck', 'books', 'pages >= 5000 or pages < 1000')", "UPDATE books SET pages = 2000"),
    ("safe.add_foreign_key('fk', 'books', 'authors', ['pages'], ['id'])", ""),
]


def test_the_safe_forms_are_asked_about_too(live: str, library: Path) -> None:
    below = HEAD
    for number, (body, _) in enumerate(SAFE_FORMS):
        plant(library, f"0000000000a{number}", f"from tangga import safe; {body}", after=below)
        below = f"0000000000a{number}"
    for spoil, outcome, code in (("", "holds", 0), (";".join(spoil for _, spoil in SAFE_FORMS), "violated", FINDINGS)):
        if spoil:
            query(live, spoil)
        made = plan_of(live, library)
        answers = [[assertion.outcome for assertion in step.assertions] for step in made.steps]
        assert (answers, code_of(made)) == ([[outcome]] * len(SAFE_FORMS), code)


def test_the_live_rows_are_asked(live: str, library: Path) -> None:
    """Other demands, without the plan around them: test_assertions.py."""
    plant(library, "0000000000a1", "op.execute('CREATE UNIQUE INDEX ux ON books (title)')")
    made = plan_of(live, library)
    [assertion] = made.steps[0].assertions
    assert (assertion.demand, assertion.outcome, assertion.count) == ("unique", "holds", 0)
    assert code_of(made) == 0

    query(live, "UPDATE books SET title = 'twice' WHERE id <= 3")
    made = plan_of(live, library)
    [assertion] = made.steps[0].assertions
    assert (assertion.outcome, assertion.count, assertion.example) == ("violated", 1, "twice")
    assert code_of(made) == FINDINGS
    # The plan is right: the step does fail.
    assert alembic(live, "upgrade", "head", project=library).returncode == STEP_FAILED


def test_rows_that_a_policy_hides_are_not_said_to_hold(live: str, library: Path) -> None:
    query(live, "ALTER TABLE books ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    plant(library, "0000000000a1", "op.execute('ALTER TABLE books ADD CHECK (pages < 0)')")
    made = plan_of(live, library)
    [assertion] = made.steps[0].assertions
    assert assertion.outcome == "not asked"
    assert "affected by row-level security policy" in str(assertion.detail)
    # The step meets them all.
    assert alembic(live, "upgrade", "head", project=library).returncode == STEP_FAILED


def test_a_demand_that_an_earlier_step_sees_to_is_open(live: str, library: Path) -> None:
    query(live, "UPDATE books SET title = 'twice' WHERE id <= 3")
    plant(library, "0000000000a1", "op.execute('UPDATE books SET title = id')")
    plant(library, "0000000000a2", "op.execute('CREATE UNIQUE INDEX ux ON books (title)')", after="0000000000a1")
    made = plan_of(live, library)
    [assertion] = made.steps[1].assertions
    assert (assertion.outcome, assertion.count, code_of(made)) == ("open", 1, 0)
    assert alembic(live, "upgrade", "head", project=library).returncode == 0


def test_a_question_that_takes_too_long_is_given_up(live: str, library: Path) -> None:
    query(
        live,
        "CREATE FUNCTION slow(integer) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_sleep(0.02); RETURN true; END'",
    )
    plant(library, "0000000000a1", "op.execute('ALTER TABLE books ADD CONSTRAINT ck CHECK (slow(pages))')")
    made = plan_of(live, library, seconds=1)
    [assertion] = made.steps[0].assertions
    assert (assertion.outcome, code_of(made)) == ("unanswered", 0)
    assert "statement timeout" in assertion.detail


def test_a_step_that_only_rows_break_fails_where_there_are_rows(live: str, library: Path) -> None:
    plant(library, "0000000000a1", "op.add_column('books', sa.Column('city', sa.Text(), nullable=False))")
    made = plan_of(live, library)
    assert code_of(made) == STEP_FAILED
    assert 'column "city" of relation "books" contains null values' in str(made.steps[0].error)
    query(live, "TRUNCATE books CASCADE")
    assert code_of(plan_of(live, library)) == 0
