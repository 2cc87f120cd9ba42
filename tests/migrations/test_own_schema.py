"""A project with a schema of its own: what looks at "our tables" sees them there as it does in public."""

import json
import os
from contextlib import closing
from pathlib import Path
from unittest import mock

import psycopg2.errors
import pytest

from services.migrate import quick
from tangga import precheck
from tangga.exits import DRIFT, FINDINGS
from tests.databases import owner_environment, query
from tests.support.library import HEAD, alembic, migrate, plant
from tests.support.reported import assert_reported
from tests.support.schema import revision

STEP, NEXT = "0000000000a1", "0000000000a2"
SHOP = """op.execute('CREATE SCHEMA shop')
    op.execute('CREATE TABLE shop.books (id bigint PRIMARY KEY, pages int)')
    op.execute('INSERT INTO shop.books VALUES (1, 1), (2, 1)')
    op.execute('ALTER TABLE shop.books ADD CONSTRAINT ck_pages CHECK (pages > 0) NOT VALID')"""
VALIDATED = "SELECT convalidated FROM pg_constraint WHERE conname = 'ck_pages'"


@pytest.fixture
def shop(database: str, library: Path) -> str:
    file = plant(library, STEP, SHOP, downgrade="op.execute('DROP SCHEMA shop CASCADE')")
    file.write_text(file.read_text() + "validate_after_commit = ('shop.books.ck_pages',)\n")
    migrate(database, "upgrade", "head", project=library)
    return database


def _invalid_index(database: str) -> None:
    with pytest.raises(psycopg2.errors.UniqueViolation):
        query(database, "CREATE UNIQUE INDEX CONCURRENTLY ix_left_over ON shop.books (pages)")


def test_a_constraint_there_is_validated_after_its_step(shop: str) -> None:
    assert query(shop, VALIDATED) == [(True,)]


def test_what_a_kill_left_not_validated_there_is_no_short_cut_and_is_made_up_for(shop: str, library: Path) -> None:
    def at_head_with_nothing_left_over() -> bool:
        with mock.patch.dict(os.environ, owner_environment(shop)), closing(quick.connect()) as connection:
            return precheck._revisions(connection) == [STEP]

    assert at_head_with_nothing_left_over()
    query(shop, "ALTER TABLE shop.books DROP CONSTRAINT ck_pages, ADD CONSTRAINT ck_pages CHECK (pages > 0) NOT VALID")
    assert not at_head_with_nothing_left_over()
    finished = alembic(shop, "upgrade", "head", project=library)
    assert "validating shop.books.ck_pages" in finished.stderr
    assert query(shop, VALIDATED) == [(True,)]
    assert at_head_with_nothing_left_over()


def test_an_invalid_index_there_is_named_after_an_upgrade(shop: str, library: Path) -> None:
    _invalid_index(shop)
    plant(library, NEXT, "pass", after=STEP)
    said = alembic(shop, "upgrade", "head", project=library).stderr
    assert "index shop.ix_left_over on shop.books is INVALID" in said
    assert "DROP INDEX CONCURRENTLY shop.ix_left_over" in said


def test_the_linter_finds_it_in_the_step_that_names_it(shop: str, library: Path) -> None:
    plant(library, NEXT, "pass  # ix_left_over is built here", after=STEP)
    plant(library, "0000000000a3", "pass", after=NEXT)
    migrate(shop, "upgrade", "head", project=library)
    arguments = ("lint", NEXT, "0000000000a3", "--database", "--json")
    before = alembic(shop, *arguments, project=library)
    assert "invalid-index" not in before.stdout
    _invalid_index(shop)
    finished = alembic(shop, *arguments, project=library)
    assert finished.returncode == FINDINGS
    found = [one for one in json.loads(finished.stdout) if one["rule"] == "invalid-index"]
    assert [one["revision"] for one in found] == [NEXT]
    assert "shop.ix_left_over" in json.dumps(found)


def test_tables_there_without_a_revision_are_left_alone(database: str) -> None:
    query(database, "CREATE SCHEMA shop")
    query(database, "CREATE TABLE shop.books ()")
    finished = alembic(database, "upgrade", "head")
    assert_reported(finished, DRIFT, "the database holds tables (shop.books) but no revision", "alembic stamp")
    assert revision(database) is None
    migrate(database, "stamp", HEAD)
    assert alembic(database, "upgrade", "head").returncode == 0
