"""Rows in tables of every shape; one that takes none is named, and costs no other table its rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest
from sqlalchemy import Connection, text

from tangga.scratch.rows import Filled, generate
from tangga.scratch.snapshot import Snapshot
from tests.migrations.proving import scratch


@contextmanager
def _made(*statements: str) -> Iterator[Connection]:
    """Make tables as their owner; yield a connection that sees all, in a transaction."""
    server = scratch()
    with server.database() as engine:
        with engine.begin() as owner:
            for statement in statements:
                owner.exec_driver_sql(statement.replace("%", "%%"))
        with server.seeing_all(engine).begin() as connection:
            yield connection


def _count(connection: Connection, table: str) -> int:
    return int(connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0)


# What stands beside each table that takes no row: it is filled all the same.
BESIDE = "CREATE TABLE zzz (id serial PRIMARY KEY, name text)"
REFUSING = {
    "CHECK": ("CREATE TABLE t (x text CONSTRAINT ck CHECK (x IS NOT NULL AND md5(x) = 'no'))", "(ck)"),
    "trigger": (
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'never'; END $$;"
        "CREATE TABLE t (id int); CREATE TRIGGER no BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION no()",
        "never",
    ),
    "trigger at the end of the transaction": (
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'never'; END $$;"
        "CREATE TABLE t (id int); CREATE CONSTRAINT TRIGGER no AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION no()",
        "never",
    ),
    "type that nobody knows": ("CREATE TABLE t (p pg_snapshot NOT NULL)", "null value"),
    "no partition": ("CREATE TABLE t (id int) PARTITION BY LIST (id)", "it has no partition"),
}


@pytest.mark.parametrize("name", REFUSING)
def test_a_table_that_takes_no_row_is_named_and_the_others_are_filled(name: str) -> None:
    statements, reason = REFUSING[name]
    with _made(statements, BESIDE, "CREATE TABLE aaa (id serial PRIMARY KEY)") as connection:
        filled = generate(connection, 20)
        assert {*filled.empty} == {"t"}
        assert reason in filled.empty["t"]
        assert (_count(connection, "aaa"), _count(connection, "zzz")) == (20, 20)


_NAMES = [f"c{n}" for n in range(9)]
_MANY = [f"{name} text" for name in _NAMES]
_WANTS = (
    "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF {} THEN RAISE EXCEPTION 'no'; END IF;"
    " RETURN new; END $$; CREATE TABLE t (x text); CREATE TRIGGER no BEFORE INSERT ON t FOR EACH ROW"
    " EXECUTE FUNCTION no()"
)
PARTICULAR = {
    "an index that long texts do not fit into": f"CREATE TABLE t ({', '.join(_MANY)}, UNIQUE ({', '.join(_NAMES)}))",
    "a trigger that wants a text": _WANTS.format("new.x = ''"),
    "a trigger that wants no NULL": _WANTS.format("new.x IS NULL"),
    "a computed column": "CREATE TABLE t (v int, w int GENERATED ALWAYS AS (sqrt(v)) STORED)",
}


@pytest.mark.parametrize("name", PARTICULAR)
def test_a_table_that_takes_ordinary_rows_alone_is_filled_with_those(name: str) -> None:
    with _made(PARTICULAR[name]) as connection:
        with mock.patch("tangga.scratch.rows._TRIES", 1):
            assert {*generate(connection, 20).empty} == {"t"}
        assert generate(connection, 20)[:2] == ({"t": 20}, {})


@pytest.mark.parametrize("name", ["n", "i", "many", "key", "there", "other", "value", "generated", "parent_0"])
def test_a_column_may_be_called_what_we_call_ours(name: str) -> None:
    parent = f"CREATE TABLE parent ({name} int PRIMARY KEY CHECK ({name} >= 0))"
    child = f"CREATE TABLE child ({name} int NOT NULL REFERENCES parent, note text CHECK (note <> '' AND {name} < 99))"
    with _made(parent, child) as connection:
        assert generate(connection, 20).empty == {}
        assert (_count(connection, "parent"), _count(connection, "child")) == (20, 20)


def test_every_empty_table_has_its_reason() -> None:
    with _made(
        "CREATE TABLE a (id int PRIMARY KEY, b int NOT NULL)",
        "CREATE TABLE b (id int PRIMARY KEY, a int NOT NULL REFERENCES a)",
        "ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b",
        "CREATE TABLE c (a int NOT NULL CONSTRAINT c_a REFERENCES a)",
        BESIDE,
    ) as connection:
        circle = "foreign keys that may not be NULL form a circle: a, b"
        assert generate(connection, 20).empty == {
            "a": circle, "b": circle, "c": "c: constraint c_a needs rows in a, which is empty",
        }  # fmt: skip
        assert _count(connection, "zzz") == 20


PARTITIONED = {
    "RANGE of days": (
        "CREATE TABLE t (id bigint, day date NOT NULL, note text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (MINVALUE) TO ('2001-01-01');"
        "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');"
        "CREATE TABLE t3 PARTITION OF t FOR VALUES FROM ('2031-01-01') TO (MAXVALUE);"
        "CREATE TABLE t4 PARTITION OF t DEFAULT"
    ),
    "RANGE of moments": (
        "CREATE TABLE t (id int, at timestamptz) PARTITION BY RANGE (at);"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM ('2024-01-01 00:00') TO ('2024-01-01 01:00');"
        "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM ('2024-01-01 01:00') TO ('2024-01-01 02:00')"
    ),
    "RANGE of numbers that the database counts": (
        "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text) PARTITION BY RANGE (id);"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (-5) TO (1000);"
        "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (70000000000) TO (80000000000)"
    ),
    "RANGE of two columns": (
        "CREATE TABLE t (a int, b text, note text) PARTITION BY RANGE (a, b);"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (5000, 'k') TO (5000, 'p');"
        "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (5000, 'p') TO (6000, MINVALUE)"
    ),
    "LIST": (
        "CREATE TABLE t (id int, region varchar(8) NOT NULL) PARTITION BY LIST (region);"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES IN ('eu', 'it''s us');"
        "CREATE TABLE t2 PARTITION OF t FOR VALUES IN ('asia');"
        "CREATE TABLE t3 PARTITION OF t DEFAULT"
    ),
    "LIST of an enum, with NULL": (
        "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy'); CREATE TABLE t (id int, mood mood) PARTITION BY LIST (mood);"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES IN ('sad', 'ok');"
        "CREATE TABLE t2 PARTITION OF t FOR VALUES IN (NULL);"
        "CREATE TABLE t3 PARTITION OF t FOR VALUES IN ('happy')"
    ),
    "HASH": (
        "CREATE TABLE t (id uuid PRIMARY KEY, note text) PARTITION BY HASH (id);"
        + "".join(f"CREATE TABLE t{n} PARTITION OF t FOR VALUES WITH (MODULUS 5, REMAINDER {n});" for n in range(5))
    ),
    "partitions of partitions": (
        "CREATE TABLE t (id int, region text, day date) PARTITION BY LIST (region);"
        "CREATE TABLE t_eu PARTITION OF t FOR VALUES IN ('eu') PARTITION BY RANGE (day);"
        "CREATE TABLE t_eu_1 PARTITION OF t_eu FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');"
        "CREATE TABLE t_us PARTITION OF t FOR VALUES IN ('us') PARTITION BY HASH (id);"
        "CREATE TABLE t_us_1 PARTITION OF t_us FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
    ),
    "key that refers to a table": (
        "CREATE TABLE tenants (id int PRIMARY KEY);"
        "CREATE TABLE t (id int, tenant int NOT NULL REFERENCES tenants) PARTITION BY LIST (tenant);"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1, 2); CREATE TABLE t2 PARTITION OF t DEFAULT"
    ),
    "expression": (
        "CREATE TABLE t (id int, name text) PARTITION BY LIST (lower(left(name, 1)));"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES IN ('t'); CREATE TABLE t2 PARTITION OF t FOR VALUES IN ('x')"
    ),
    "column in another place": (
        "CREATE TABLE t (id int, day date) PARTITION BY RANGE (day); CREATE TABLE t1 (gone int, day date, id int);"
        "ALTER TABLE t1 DROP COLUMN gone;"
        "ALTER TABLE t ATTACH PARTITION t1 FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')"
    ),
    "in another schema": (
        'CREATE SCHEMA "Toko"; CREATE TABLE "Toko"."T" ("Id" int, "Hari" date) PARTITION BY RANGE ("Hari");'
        """CREATE TABLE "Toko"."T 1" PARTITION OF "Toko"."T" FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')"""
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PARTITIONED)
def test_rows_land_in_every_partition_that_there_is(name: str) -> None:
    with _made(PARTITIONED[name]) as connection:
        filled = generate(connection, 20)
        assert filled.empty == {}
        leaves = connection.scalars(
            text("SELECT oid::regclass::text FROM pg_class WHERE relispartition AND relkind = 'r'")
        ).all()
        counts = {leaf: _count(connection, leaf) for leaf in leaves}
        assert min(counts.values()) >= 20 // len(leaves), counts
        # The same number is there already.
        assert {*generate(connection, 20, top_up=True).inserted.values()} == {0}


def test_a_partition_that_no_row_lands_in_is_named() -> None:
    with _made(
        "CREATE TABLE t (id int, name text) PARTITION BY LIST (md5(name))",
        "CREATE TABLE t1 PARTITION OF t FOR VALUES IN ('no')",
        "CREATE TABLE u (t int)",
    ) as connection:
        filled = generate(connection, 20)
        assert filled.inserted == {"t": 0, "u": 20}
        assert filled.empty["t1"].startswith("no generated row lands in it: ")


def test_rows_refer_to_rows_in_partitions() -> None:
    with _made(
        "CREATE TABLE t (id int PRIMARY KEY, name text) PARTITION BY RANGE (id)",
        "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100)",
        "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (1000) TO (1100)",
        "CREATE TABLE child (t int NOT NULL REFERENCES t)",
        "CREATE TABLE parts (id int, t int NOT NULL REFERENCES t) PARTITION BY HASH (id)",
        "CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
    ) as connection:
        assert generate(connection, 20)[:2] == ({"t": 20, "child": 20, "parts": 20}, {})
        assert connection.scalar(text("SELECT count(*) FROM child WHERE t >= 1000")) == 10


def test_keys_over_several_columns() -> None:
    with _made(
        "CREATE TABLE note (id serial PRIMARY KEY, topic int NOT NULL, parent int, UNIQUE (topic, id),"
        " FOREIGN KEY (topic, parent) REFERENCES note (topic, id))",
        "CREATE TABLE whole (a int, b int NOT NULL, note int, topic int,"
        " FOREIGN KEY (topic, note) REFERENCES note (topic, id) MATCH FULL)",
        "CREATE TABLE own (id int PRIMARY KEY, root int NOT NULL REFERENCES own)",
        "CREATE TABLE users (tenant int, id int, PRIMARY KEY (tenant, id))",
        "CREATE TABLE goods (tenant int, id int, PRIMARY KEY (tenant, id))",
        "CREATE TABLE orders (tenant int, id serial, who int NOT NULL, what int NOT NULL, PRIMARY KEY (tenant, id),"
        " FOREIGN KEY (tenant, who) REFERENCES users, FOREIGN KEY (tenant, what) REFERENCES goods)",
        "CREATE TABLE twice (id int PRIMARY KEY REFERENCES own, CONSTRAINT again FOREIGN KEY (id) REFERENCES own)",
    ) as connection:
        first = generate(connection, 20)
        assert first.empty == {}
        assert first.inserted == dict.fromkeys(first.inserted, 20)
        # Now there are parents in the own table, too.
        assert generate(connection, 20)[:2] == (first.inserted, {})
        assert int(connection.scalar(text("SELECT count(*) FROM note WHERE parent IS NOT NULL")) or 0) > 5


def test_what_the_database_makes_itself() -> None:
    with _made(
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, a int NOT NULL, b int GENERATED ALWAYS AS (a * 2) STORED,"
        " c int GENERATED BY DEFAULT AS IDENTITY, d serial, UNIQUE (b))",
        "CREATE DOMAIN age AS int CHECK (VALUE > 17) CHECK (VALUE < 150); CREATE DOMAIN adult AS age NOT NULL",
        "CREATE DOMAIN lately AS date CHECK (VALUE > '2020-06-01')",
        "CREATE TABLE people (id serial, age adult, born lately NOT NULL, ages age[])",
        "CREATE TABLE stays (room int, during tstzrange NOT NULL, EXCLUDE USING gist (during WITH &&) DEFERRABLE)",
        "CREATE TABLE moments (at timestamptz NOT NULL CHECK (at > '2030-01-01' AND at < '2030-02-01'))",
        "CREATE TABLE late (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)",
        "CREATE TABLE up (id int PRIMARY KEY, up int NOT NULL REFERENCES up DEFERRABLE INITIALLY DEFERRED)",
    ) as connection:
        filled = generate(connection, 20)
        assert filled[:2] == (dict.fromkeys(filled.inserted, 20), {})


FORCED = (
    "CREATE TABLE {0} (id serial PRIMARY KEY, name text)",
    "ALTER TABLE {0} ENABLE ROW LEVEL SECURITY; ALTER TABLE {0} FORCE ROW LEVEL SECURITY",
    "CREATE POLICY own ON {0} USING (name = current_setting('app.who', true))",
)


def test_policies_hide_nothing() -> None:
    statements = [statement.format("thing") for statement in FORCED]
    with _made(*statements) as connection:
        assert generate(connection, 20)[:2] == ({"thing": 20}, {})
        before = Snapshot(connection)
        connection.exec_driver_sql("UPDATE thing SET name = 'x'")
        assert before.changes() == ["thing.name: 20 rows changed"]
    # Whom the policy is for is refused, and told so.
    with scratch().database() as engine, engine.begin() as owner:
        for statement in statements:
            owner.exec_driver_sql(statement)
        refusal: Filled = generate(owner, 20)
        assert refusal.empty == {"thing": 'new row violates row-level security policy for table "thing"'}


def test_the_same_name_in_two_schemas_is_two_tables() -> None:
    with _made(
        'CREATE SCHEMA store; CREATE SCHEMA "Gudang Utama"',
        "CREATE TABLE thing (id serial PRIMARY KEY, name text)",
        "CREATE TABLE store.thing (id int PRIMARY KEY, name text)",
        'CREATE TABLE "Gudang Utama".thing ("Id" int PRIMARY KEY REFERENCES store.thing, "nama ""x""" text)',
    ) as connection:
        assert generate(connection, 20)[:2] == (dict.fromkeys(("store.thing", "thing", "Gudang Utama.thing"), 20), {})
        before = Snapshot(connection)
        connection.exec_driver_sql("DELETE FROM \"Gudang Utama\".thing; UPDATE store.thing SET name = 'x'")
        assert before.changes() == ["Gudang Utama.thing: 20 rows gone", "store.thing.name: 20 rows changed"]


def test_tables_that_the_role_may_not_touch_are_named() -> None:
    server = scratch()
    with server.database() as engine:
        with server.seeing_all(engine).begin() as superuser:
            superuser.exec_driver_sql("CREATE TABLE foreigners (id int)")
            superuser.exec_driver_sql("CREATE EXTENSION file_fdw; CREATE SERVER f FOREIGN DATA WRAPPER file_fdw")
            superuser.exec_driver_sql("CREATE FOREIGN TABLE lines (line text) SERVER f OPTIONS (filename '/dev/null')")
        with engine.begin() as owner:
            assert generate(owner, 20)[:2] == (
                {}, {"lines": "it is a foreign table", "foreigners": "this role may not read and write it"},
            )  # fmt: skip
