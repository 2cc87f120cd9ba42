"""Generated rows fit every table that a step may meet, and say so when they do not."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, event, text

from tangga.project import Project
from tangga.scratch.rows import generate
from tangga.scratch.snapshot import Snapshot
from tests.migrations.proving import scratch
from tests.migrations.staircase import HEAD


@contextmanager
def _database(*statements: str) -> Iterator[Connection]:
    with scratch().database() as engine, engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement.replace("%", "%%"))
        yield connection


def _one(connection: Connection, question: str) -> object:
    return connection.scalar(text(question))


def _contents(connection: Connection, table: str) -> list[str]:
    return [*connection.scalars(text(f"SELECT t::text FROM {table} AS t ORDER BY 1"))]


TYPES = [
    "smallint", "integer", "bigint", "numeric", "numeric(6,2)", "numeric(3,3)", "numeric(2,-3)", "real",
    "double precision", "money", "boolean", "text", "varchar", "varchar(3)", "varchar(40)", "char(5)", "char", '"char"',
    "name", "uuid", "bytea", "json", "jsonb", "xml", "date", "time", "timetz", "timestamp", "timestamptz",
    "timestamp(0)",
    "interval", "inet", "cidr", "macaddr", "macaddr8", "point", "line", "lseg", "box", "path", "polygon", "circle",
    "tsvector", "tsquery", "pg_lsn", "oid", "bit", "bit(3)", "bit varying", "bit varying(5)", "integer[]",
    "varchar(3)[]", "numeric(6,2)[]", "int4range", "int8range", "numrange", "daterange", "tsrange", "tstzrange",
    "int4multirange", "tstzmultirange", "mood", "mood[]", "year", "email",
]  # fmt: skip


def test_every_type_gets_values_and_null_where_null_may_be() -> None:
    with _database(
        "CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'happy')",
        "CREATE DOMAIN year AS integer CHECK (VALUE BETWEEN 1901 AND 2155)",
        "CREATE DOMAIN email AS text CHECK (VALUE ~ '^[^@]+@[^@]+$') NOT NULL",
        "CREATE TABLE required (" + ", ".join(f"c{n} {kind} NOT NULL" for n, kind in enumerate(TYPES)) + ")",
        "CREATE TABLE optional (" + ", ".join(f"c{n} {kind}" for n, kind in enumerate(TYPES[:-1])) + ")",
    ) as connection:
        assert generate(connection, 500).inserted == {"optional": 500, "required": 500}
        for n, kind in enumerate(TYPES[:-1]):
            nulls = _one(connection, f"SELECT count(*) FROM optional WHERE c{n} IS NULL")
            assert 50 < int(str(nulls)) < 100, kind
            different = _one(connection, f"SELECT count(DISTINCT c{n}::text) FROM required")
            assert int(str(different)) > 1, kind


def test_the_rows_depend_on_their_number_only() -> None:
    tables = (
        "CREATE TABLE parents (id serial PRIMARY KEY, name text UNIQUE, at timestamptz NOT NULL DEFAULT now())",
        "CREATE TABLE children (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), parent integer REFERENCES parents)",
    )
    seen = []
    for _ in range(2):
        with _database(*tables) as connection:
            generate(connection, 50)
            generate(connection, 80, top_up=True)
            seen.append((_contents(connection, "parents"), _contents(connection, "children")))
    assert seen[0] == seen[1]
    assert [len(rows) for rows in seen[0]] == [80, 80]


def test_keys_and_foreign_keys_hold() -> None:
    with _database(
        "CREATE TABLE zebras (a integer, b integer, PRIMARY KEY (a, b))",
        "CREATE TABLE apples (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a integer NOT NULL,"
        " b integer NOT NULL, FOREIGN KEY (a, b) REFERENCES zebras)",
        "CREATE TABLE links (x integer REFERENCES apples, y integer REFERENCES apples, PRIMARY KEY (x, y))",
        "CREATE TABLE settings (apple integer PRIMARY KEY REFERENCES apples, flag boolean NOT NULL)",
        "CREATE TABLE tree (id serial PRIMARY KEY, parent integer REFERENCES tree, label varchar(2) NOT NULL UNIQUE)",
        "CREATE TABLE rooms (room integer NOT NULL, during int4range NOT NULL, EXCLUDE USING gist (during WITH &&))",
        "CREATE UNIQUE INDEX ON tree (lower(label))",
        "CREATE TABLE later (id integer UNIQUE DEFERRABLE)",
        "CREATE TABLE generated (a integer NOT NULL, b integer GENERATED ALWAYS AS (a * 2) STORED)",
    ) as connection:
        first = generate(connection, 30).inserted
        assert set(first.values()) == {30}
        again = generate(connection, 30).inserted
        # One row per apple is all that there can be, and there are 30 apples more.
        assert again["settings"] == 30
        assert again["links"] == 30
        assert int(str(_one(connection, "SELECT count(DISTINCT x) FROM links"))) > 20
        assert int(str(_one(connection, "SELECT count(DISTINCT y) FROM links"))) > 20
        assert generate(connection, 100).inserted["tree"] == 100 - 60
        assert int(str(_one(connection, "SELECT count(*) FROM tree WHERE parent IS NOT NULL"))) > 20


CHECKS = [
    "x integer CHECK (x > 0)",
    "x integer CHECK (x BETWEEN 5 AND 9)",
    "x numeric CHECK (x > 0 AND x < 1)",
    "x integer CHECK (x < 0)",
    "x integer CHECK (x % 10 = 0)",
    "x integer CHECK (x >= 1000)",
    "x text CHECK (x IN ('new', 'it''s paid'))",
    "x varchar(20) CHECK (x IN ('new', 'paid'))",
    "x text CHECK (char_length(x) = 16)",
    "x text CHECK (char_length(x) < 6)",
    "x text CHECK (x ~ '^[a-z]+$')",
    "x text CHECK (x ~* '^[^@]+@[^@]+[.][a-z]+$')",
    "x text CHECK (x LIKE 'https://%')",
    "x text CHECK (x <> '')",
    "x char(3) CHECK (x ~ '^[A-Z]{3}$')",
    "x integer, y integer, CHECK (x < y)",
    "x integer, y integer, CHECK (x > y)",
    "x integer, y text, CHECK ((x IS NULL) <> (y IS NULL))",
    "x date NOT NULL, y date NOT NULL, CHECK (y > x AND y < x + 500)",
    "x text NOT NULL, y integer, CHECK (x = 'a' OR y IS NOT NULL)",
    "x text[] CHECK (cardinality(x) > 0)",
    "x jsonb CHECK (jsonb_typeof(x) = 'object')",
]


@pytest.fixture(scope="module")
def checked() -> Iterator[Connection]:
    """Rows in a table for each of CHECKS: checked_0 and so on."""
    tables = [f"CREATE TABLE checked_{n} (id serial, {columns})" for n, columns in enumerate(CHECKS)]
    with _database(*tables) as connection:
        assert set(generate(connection, 40).inserted.values()) == {40}
        yield connection


@pytest.mark.parametrize("number", range(len(CHECKS)), ids=CHECKS.__getitem__)
def test_checks_are_met(checked: Connection, number: int) -> None:
    rows, values = checked.execute(text(f"SELECT count(*), count(x) FROM checked_{number}")).one()
    assert (rows, values > 5) == (40, True)


def test_a_table_that_takes_no_row_is_named_with_its_constraint() -> None:
    with _database("CREATE TABLE odd (x text CONSTRAINT ck_odd CHECK (x IS NOT NULL AND md5(x) = 'no'))") as connection:
        reason = "no generated row passes its CHECK constraints (ck_odd)"
        assert generate(connection, 1)[:2] == ({"odd": 0}, {"odd": reason})
        # The transaction goes on.
        assert _one(connection, "SELECT count(*) FROM odd") == 0
    with _database(
        "CREATE TABLE a (id integer PRIMARY KEY)", "CREATE TABLE b (a integer NOT NULL REFERENCES a)"
    ) as connection:
        needed = "b: constraint b_a_fkey needs rows in a, which is empty"
        assert generate(connection, 1, ["b"])[:2] == ({"b": 0}, {"b": needed})
    with _database() as connection:
        assert generate(connection, 1, ["nosuch"])[:2] == ({}, {"nosuch": "there is no such table"})


@contextmanager
def _counted(connection: Connection) -> Iterator[list[str]]:
    """List the statements that the server is sent meanwhile."""
    sent: list[str] = []

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(connection, "before_cursor_execute", count)
    yield sent
    event.remove(connection, "before_cursor_execute", count)


def test_many_rows_are_made_by_the_server_not_one_by_one() -> None:
    """How long it takes: `make bench-migrations`."""
    with scratch().database() as engine, engine.connect() as connection:
        Project.from_file().upgrade(connection, HEAD)
        connection.rollback()
        tables = ("users", "posts", "votes", "login_attempts", "idempotency_keys")
        with _counted(connection) as for_few:
            assert generate(connection, 20).inserted == dict.fromkeys(tables, 20)
        with _counted(connection) as for_many:
            assert generate(connection, 20_000).inserted == dict.fromkeys(tables, 20_000)
        assert len(for_many) == len(for_few)
        assert sum(statement.startswith("INSERT") for statement in for_many) == len(tables)
        assert _one(connection, "SELECT count(*) FROM alembic_version") == 1
        assert _one(connection, "SELECT count(*) FROM tangga.migration_log WHERE direction = 'up'") == 10


def test_tables_of_every_schema_are_filled_and_compared() -> None:
    with _database(
        'CREATE SCHEMA "Toko"',
        'CREATE TABLE "Toko"."Barang" (id integer PRIMARY KEY, "Nama" text)',
        'CREATE TABLE orders (id serial PRIMARY KEY, barang integer NOT NULL REFERENCES "Toko"."Barang")',
    ) as connection:
        assert generate(connection, 20).inserted == {"Toko.Barang": 20, "orders": 20}
        before = Snapshot(connection)
        connection.exec_driver_sql('UPDATE "Toko"."Barang" SET "Nama" = \'x\'; DELETE FROM orders WHERE id <= 3')
        assert before.changes() == ["Toko.Barang.Nama: 20 rows changed", "orders: 3 rows gone"]
        assert before.changes({"Toko.Barang.Nama", "orders"}) == []
