"""A snapshot reads again only what was written; what changes a value without writing a row is seen all the same."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, Engine, event

from tangga.scratch.snapshot import Snapshot
from tests.databases import eventually
from tests.migrations.proving import scratch

_TABLES = """
    CREATE TYPE colour AS ENUM ('red', 'blue');
    CREATE TABLE target (id int);
    CREATE TABLE thing (id int PRIMARY KEY, name text, n int, c colour, r regclass);
    INSERT INTO thing SELECT i, 'name ' || i, i, 'red', 'target' FROM generate_series(1, 9) AS i;
    CREATE TABLE keyless (id int, name text);
    INSERT INTO keyless SELECT i, 'name ' || i FROM generate_series(1, 9) AS i;
    CREATE TABLE other (LIKE thing INCLUDING ALL);
    INSERT INTO other SELECT i, 'other ' || i, i, 'blue', 'target' FROM generate_series(1, 9) AS i;
    CREATE TABLE whole (id int, name text) PARTITION BY LIST (id);
    CREATE TABLE part PARTITION OF whole FOR VALUES IN (1);
    CREATE TABLE beside (id int, name text);
    INSERT INTO whole VALUES (1, 'part'); INSERT INTO beside VALUES (2, 'beside');
    CREATE TABLE plain (id int PRIMARY KEY, name varchar(20));
    INSERT INTO plain SELECT i, 'name ' || i FROM generate_series(1, 9) AS i;
"""


@contextmanager
def _database() -> Iterator[tuple[Engine, Connection]]:
    """Yield an engine whose statements are committed each, and an observer."""
    server = scratch()
    with server.database() as engine:
        seeing = server.seeing_all(engine).execution_options(isolation_level="AUTOCOMMIT")
        with seeing.connect() as writer:
            writer.exec_driver_sql(_TABLES)
        with seeing.connect() as observer:
            yield seeing, observer


CHANGES = {
    "an UPDATE": ("UPDATE plain SET name = 'x' WHERE id = 3", ["plain.name: 1 row changed"]),
    "an UPDATE without a key": ("UPDATE keyless SET name = 'x' WHERE id = 3", ["keyless.name: changed"]),
    "a DELETE": ("DELETE FROM plain WHERE id < 3", ["plain: 2 rows gone"]),
    "as many others": (
        "DELETE FROM plain WHERE id = 3; INSERT INTO plain VALUES (10, 'new')", ["plain: 1 row gone"],
    ),
    "a new value in an old row's place": (
        "DELETE FROM plain WHERE id = 3; INSERT INTO plain VALUES (3, 'new')", ["plain.name: 1 row changed"],
    ),
    "TRUNCATE and COPY with FREEZE": (
        "BEGIN; TRUNCATE plain; COPY plain FROM PROGRAM 'for i in 1 2 3 4 5 6 7 8 9; do printf \"$i\\tx\\n\"; done' "
        "(FREEZE); COMMIT", ["plain.name: 9 rows changed"],
    ),
    "a type that shortens": (
        "ALTER TABLE plain ALTER name TYPE text USING left(name, 3)", ["plain.name: 9 rows changed"],
    ),
    "a label of an enum": ("ALTER TYPE colour RENAME VALUE 'red' TO 'crimson'", ["thing.c: 9 rows changed"]),
    "the name that a row points to": (
        "ALTER TABLE target RENAME TO mark", ["other.r: 9 rows changed", "thing.r: 9 rows changed"],
    ),
    "two tables that change their names": (
        "BEGIN; ALTER TABLE thing RENAME TO x; ALTER TABLE other RENAME TO thing; ALTER TABLE x RENAME TO other; "
        "COMMIT",
        [f"{table}.{column}: 9 rows changed" for table in ("other", "thing") for column in ("name", "c")],
    ),
    "two columns that change their names": (
        "BEGIN; ALTER TABLE keyless ADD a text; UPDATE keyless SET a = 'a'; ALTER TABLE keyless RENAME name TO b; "
        "ALTER TABLE keyless RENAME a TO name; COMMIT", ["keyless.name: changed"],
    ),
    "another partition of as many rows": (
        "BEGIN; ALTER TABLE whole DETACH PARTITION part; ALTER TABLE whole ATTACH PARTITION beside FOR VALUES IN (2); "
        "COMMIT", ["whole.id: changed", "whole.name: changed"],
    ),
    "nothing": ("ALTER TABLE plain ALTER name TYPE text; ALTER TABLE thing ADD x int DEFAULT 3; VACUUM FULL plain", []),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("looks", [1, 2])
def test_what_changes_a_value_is_seen(name: str, looks: int) -> None:
    """At the first look, and if a look before it was taken over."""
    statement, expected = CHANGES[name]
    with _database() as (engine, observer):
        rows = Snapshot(observer)
        if looks == 2:
            rows.again()
        assert rows.changes() == []
        with engine.connect() as writer:
            for each in [statement] if "BEGIN" in statement else statement.split("; "):
                writer.exec_driver_sql(each)
        assert rows.changes() == expected
        rows.again()
        assert rows.changes() == []


def _read_again(observer: Connection, rows: Snapshot) -> set[str]:
    """Return the tables that were read by taking them over."""
    statements: list[str] = []

    def note(*said: object) -> None:
        statements.append(str(said[2]))

    event.listen(observer, "before_cursor_execute", note)
    rows.again()
    event.remove(observer, "before_cursor_execute", note)
    return {one.partition(" FROM ")[2] for one in statements if one.startswith("CREATE TEMPORARY TABLE")}


def test_only_what_was_written_is_read_again() -> None:
    with _database() as (engine, observer):
        with engine.connect() as writer:
            last = writer.exec_driver_sql("SELECT pg_current_xact_id()::text::bigint").scalar_one()
        # The other tests' transactions are on the same server, and one that is older than these tables counts.
        oldest = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
        assert eventually(lambda: observer.exec_driver_sql(oldest).scalar_one() > last)
        rows = Snapshot(observer)
        with engine.connect() as writer:
            writer.exec_driver_sql("INSERT INTO keyless VALUES (10, 'new')")
        assert rows.surplus() == ["keyless: 1 row more than before"]
        assert rows.surplus(["keyless"]) == []
        assert rows.changes() == ["keyless.id: changed", "keyless.name: changed"]
        # What an enum or a name says can change without a row being written; what is in a partition, by being moved.
        assert _read_again(observer, rows) == {"public.keyless", "public.thing", "public.other", "public.whole"}
        assert rows.changes() == rows.surplus() == []


def test_what_was_not_committed_at_the_last_look_is_seen_at_the_next() -> None:
    """Its row version is older than those of what was committed meanwhile."""
    with _database() as (engine, observer), engine.connect() as writer:
        writer = writer.execution_options(isolation_level="READ COMMITTED")
        writer.exec_driver_sql("UPDATE plain SET name = 'late' WHERE id = 3")
        with engine.connect() as other:
            other.exec_driver_sql("UPDATE beside SET name = 'soon'")
        rows = Snapshot(observer)
        assert rows.changes() == []
        writer.commit()
        assert rows.changes() == ["plain.name: 1 row changed"]
        assert {"public.plain", "public.beside"} <= _read_again(observer, rows)
        assert rows.changes() == []
