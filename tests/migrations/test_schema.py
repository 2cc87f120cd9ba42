"""Names, order and result of every step, as the walkthrough fixes them."""

import re
from pathlib import Path

import psycopg2.errors
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from tests.databases import PROJECT, Role, Row, migrate, query, scratch_database
from tests.migrations.staircase import HEAD, REVISIONS, STEPS, V1, V9, V10, catalogue, revision
from tests.support.in_process import alembic
from tests.support.shapes import Node, write
from tests.support.steps import edit

POSTS_1 = [
    ("posts", "id", "integer", True, "nextval('posts_id_seq'::regclass)"),
    ("posts", "nama", "character varying", True, None),
    ("posts", "umur", "integer", True, None),
    ("posts", "published", "boolean", True, "true"),
    ("posts", "created_at", "timestamp with time zone", True, "now()"),
]
ALAMAT = ("posts", "alamat", "character varying", True, None)
OWNER_ID = ("posts", "owner_id", "integer", True, None)
NO_HP = ("posts", "no_hp", "character varying", False, None)
USERS = [
    ("users", "id", "integer", True, "nextval('users_id_seq'::regclass)"),
    ("users", "email", "character varying", True, None),
    ("users", "password", "character varying", True, None),
    ("users", "created_at", "timestamp with time zone", True, "now()"),
]
VOTES = [("votes", "user_id", "integer", True, None), ("votes", "post_id", "integer", True, None)]
PK_POSTS = ("posts", "pk_posts", "PRIMARY KEY (id)", True)
PK_USERS = ("users", "pk_users", "PRIMARY KEY (id)", True)
UQ_USERS = ("users", "uq_users_email", "UNIQUE (email)", True)
FK_POSTS = ("posts", "post_users_fk", "FOREIGN KEY (owner_id) REFERENCES users(id) ON DELETE CASCADE", True)
KEYS_VOTES = [
    ("votes", "fk_votes_post_id_posts", "FOREIGN KEY (post_id) REFERENCES posts(id) ON DELETE CASCADE", True),
    ("votes", "fk_votes_user_id_users", "FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE", True),
    ("votes", "pk_votes", "PRIMARY KEY (user_id, post_id)", True),
]
LOGIN_ATTEMPTS = [
    ("login_attempts", "key", "bytea", True, None),
    ("login_attempts", "failures", "integer", True, None),
    ("login_attempts", "expires_at", "timestamp with time zone", True, None),
]
PK_LOGIN_ATTEMPTS = ("login_attempts", "pk_login_attempts", "PRIMARY KEY (key)", True)
IDEMPOTENCY_KEYS = [
    ("idempotency_keys", "user_id", "integer", True, None),
    ("idempotency_keys", "key", "character varying", True, None),
    ("idempotency_keys", "request", "bytea", True, None),
    ("idempotency_keys", "expires_at", "timestamp with time zone", True, None),
    ("idempotency_keys", "status", "smallint", False, None),
    ("idempotency_keys", "headers", "jsonb", False, None),
    ("idempotency_keys", "body", "character varying", False, None),
]
KEYS_IDEMPOTENCY = [
    (
        "idempotency_keys",
        "fk_idempotency_keys_user_id_users",
        "FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE",
        True,
    ),
    ("idempotency_keys", "pk_idempotency_keys", "PRIMARY KEY (user_id, key)", True),
]
V2_COLUMNS = [*POSTS_1, ALAMAT]
V4_COLUMNS = [*V2_COLUMNS, OWNER_ID]
V4_CONSTRAINTS = [PK_POSTS, FK_POSTS, PK_USERS, UQ_USERS]
EXPECTED = [
    (POSTS_1, [PK_POSTS]),
    (V2_COLUMNS, [PK_POSTS]),
    ([*V2_COLUMNS, *USERS], [PK_POSTS, PK_USERS, UQ_USERS]),
    ([*V4_COLUMNS, *USERS], V4_CONSTRAINTS),
    ([*V4_COLUMNS, *USERS, *VOTES], [*V4_CONSTRAINTS, *KEYS_VOTES]),
    V6_SCHEMA := ([*V4_COLUMNS, NO_HP, *USERS, *VOTES], [*V4_CONSTRAINTS, *KEYS_VOTES]),
    V6_SCHEMA,  # v7 is an index
    ([*LOGIN_ATTEMPTS, *V6_SCHEMA[0]], [PK_LOGIN_ATTEMPTS, *V6_SCHEMA[1]]),
    V9_SCHEMA := (
        [*IDEMPOTENCY_KEYS, *LOGIN_ATTEMPTS, *V6_SCHEMA[0]],
        [*KEYS_IDEMPOTENCY, PK_LOGIN_ATTEMPTS, *V6_SCHEMA[1]],
    ),
    V9_SCHEMA,  # v10 is an index
]


def _columns_and_constraints(database: str) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    found = catalogue(database)
    columns = [row[:5] for row in found["columns"] if row[0] != "alembic_version"]
    assert all(row[5:] == ("", "") for row in found["columns"])
    return columns, [row for row in found["constraints"] if row[0] != "alembic_version"]


def test_the_steps_have_the_identifiers_messages_and_order_of_the_walkthrough() -> None:
    scripts = ScriptDirectory.from_config(Config(str(PROJECT / "alembic.ini")))
    steps = [*reversed([*scripts.walk_revisions()])]
    assert [(step.revision, step.doc) for step in steps] == STEPS
    assert [step.down_revision for step in steps] == [None, *REVISIONS[:-1]]
    assert scripts.get_heads() == [HEAD]


def test_file_names_sort_as_the_steps_do() -> None:
    files = sorted(path.name for path in (PROJECT / "migrations/versions").glob("*.py"))
    assert [name.split("_")[2] for name in files] == REVISIONS


def test_every_step_gives_exactly_its_schema_up_and_down(database: str) -> None:
    steps = list(zip(REVISIONS, EXPECTED, strict=True))
    for name, expected in steps:
        migrate(database, "upgrade", "+1")
        assert revision(database) == name
        assert _columns_and_constraints(database) == expected, name
    for name, expected in reversed(steps[:-1]):
        migrate(database, "downgrade", "-1")
        assert revision(database) == name
        assert _columns_and_constraints(database) == expected, name
    migrate(database, "downgrade", "base")
    assert revision(database) is None
    assert _columns_and_constraints(database) == ([], [])


def test_up_down_and_up_again_gives_the_same_catalogue(database: str) -> None:
    seen = []
    for name in REVISIONS:
        migrate(database, "upgrade", name)
        seen.append(catalogue(database))
    for name, before in reversed(list(zip(REVISIONS, seen, strict=True))):
        migrate(database, "downgrade", name)
        assert catalogue(database) == before
    migrate(database, "downgrade", "base")
    left = {row[0] for row in catalogue(database)["relations"]}
    assert left == {"alembic_version", "alembic_version_pkc"}
    migrate(database, "upgrade", "head")
    assert catalogue(database) == seen[-1]


@pytest.mark.parametrize(("role", "left"), [("superuser", [("pg_trgm",)]), ("owner", [])])
def test_the_extension_of_the_search_goes_with_its_step_unless_somebody_else_made_it(
    database: str, role: Role, left: list[Row]
) -> None:
    query(database, "CREATE EXTENSION pg_trgm", role=role)
    migrate(database, "upgrade", V10)
    migrate(database, "downgrade", V9)
    extensions = "SELECT extname::text FROM pg_extension WHERE extname <> 'plpgsql'"
    assert query(database, extensions) == left
    migrate(database, "upgrade", V10)
    assert query(database, extensions) == [("pg_trgm",)]


def test_an_extension_that_others_use_stays_when_the_step_goes(database: str) -> None:
    migrate(database, "upgrade", V10)
    query(database, "CREATE INDEX mine ON posts USING gin (alamat gin_trgm_ops)")
    migrate(database, "downgrade", V9)
    assert query(database, "SELECT count(*) FROM pg_extension WHERE extname = 'pg_trgm'") == [(1,)]


def test_models_and_database_agree_at_head(at_head: str) -> None:
    checked = alembic(at_head, "check")
    said = (
        r"Models do not describe these, so they were not compared: extension pg_trgm; nor privileges\.\n"
        r"In what models describe \(\d+ objects\), models and database agree\.\nNo new upgrade operations detected\.\n"
    )
    assert checked.returncode == 0, checked.stderr
    assert re.fullmatch(said, checked.stdout), checked.stdout


@pytest.mark.parametrize(
    "drift",
    [
        "ALTER TABLE posts ADD COLUMN extra integer",
        "ALTER TABLE posts DROP COLUMN no_hp",
        "ALTER TABLE posts ALTER COLUMN no_hp SET NOT NULL",
        "ALTER TABLE posts ALTER COLUMN umur TYPE bigint",
        "ALTER TABLE posts ALTER COLUMN published SET DEFAULT false",
        "ALTER TABLE posts ALTER COLUMN alamat SET DEFAULT ''",
        "ALTER TABLE posts DROP CONSTRAINT post_users_fk",
        "ALTER TABLE users DROP CONSTRAINT uq_users_email",
        "CREATE INDEX extra ON posts (nama)",
        "DROP TABLE votes",
    ],
)
def test_the_check_notices_drift(at_head: str, drift: str) -> None:
    with scratch_database(at_head) as database:
        migrate(database, "check")
        query(database, drift)
        with pytest.raises(SystemExit):
            migrate(database, "check")


def test_the_version_table_is_read_only_for_the_app_from_the_first_step(database: str) -> None:
    migrate(database, "upgrade", V1)
    assert query(database, "SELECT version_num FROM alembic_version", role="app") == [(V1,)]
    # What the default privileges gave, and still give to any other table.
    query(database, "INSERT INTO posts (nama, umur) VALUES ('Ani', 1)", role="app")
    for statement in (
        "INSERT INTO alembic_version VALUES ('planted')",
        "UPDATE alembic_version SET version_num = 'planted'",
        "DELETE FROM alembic_version",
        "TRUNCATE alembic_version",
    ):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            query(database, statement, role="app")


def test_the_version_table_stays_closed_however_often_the_first_step_is_run(database: str) -> None:
    def privileges() -> list[tuple[object, ...]]:
        return query(
            database,
            "SELECT privilege_type FROM information_schema.table_privileges"
            " WHERE table_name = 'alembic_version' AND grantee = current_user",
            role="app",
        )

    for _ in range(2):
        migrate(database, "upgrade", V1)
        assert privileges() == [("SELECT",)]
        migrate(database, "downgrade", "base")
        assert privileges() == [("SELECT",)]


def test_without_the_hook_the_app_could_write_the_version_table(database: str) -> None:
    query(database, "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    query(database, "INSERT INTO alembic_version VALUES ('planted')", role="app")
    query(database, "DELETE FROM alembic_version")
    migrate(database, "upgrade", V1)
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        query(database, "DELETE FROM alembic_version", role="app")


def test_stamping_an_empty_database_closes_the_version_table_too(database: str) -> None:
    migrate(database, "stamp", "head")
    assert revision(database) == HEAD
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        query(database, "DELETE FROM alembic_version", role="app")


@pytest.mark.parametrize("table", ["alembic_version", "tangga.migration_log", "tangga.migration_backfill"])
def test_the_app_can_read_the_migrators_tables_and_not_write_them(at_head: str, table: str) -> None:
    query(at_head, f"SELECT FROM {table}", role="app")
    for change in (f"DELETE FROM {table}", f"INSERT INTO {table} SELECT FROM posts", f"TRUNCATE {table}"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            query(at_head, change, role="app")


_SHOP = 'CREATE TABLE "Toko".barang (id serial PRIMARY KEY, nama text)'


@pytest.mark.parametrize("version", ["alembic_version", '"Toko".langkah'])
def test_what_a_step_makes_in_another_schema_is_the_apps_to_use(tmp_path: Path, version: str) -> None:
    """And the migrators' own tables are not, nor the version's, wherever that is."""
    made = Node("a1", None, f'CREATE SCHEMA IF NOT EXISTS "Toko"; {_SHOP}', 'DROP TABLE "Toko".barang')
    project = write(tmp_path / "project", made)
    with scratch_database() as database:
        if version != "alembic_version":
            query(database, 'CREATE SCHEMA "Toko"')
            options = '**options, version_table="langkah", version_table_schema="Toko")'
            edit(project / "migrations/env.py", "**options)", options)
        upgraded = alembic(database, "upgrade", "head", project=project)
        assert upgraded.returncode == 0, upgraded.stderr
        assert query(database, 'INSERT INTO "Toko".barang (nama) VALUES (%s) RETURNING id', "a", role="app") == [(1,)]
        assert query(database, 'UPDATE "Toko".barang SET nama = %s RETURNING id', "b", role="app") == [(1,)]
        assert query(database, 'DELETE FROM "Toko".barang RETURNING nama', role="app") == [("b",)]
        assert query(database, f"SELECT version_num FROM {version}", role="app") == [("a1",)]
        for closed in (version, "tangga.migration_log", "tangga.migration_backfill"):
            assert query(database, f"SELECT count(*) >= 0 FROM {closed}", role="app") == [(True,)]
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                query(database, f"DELETE FROM {closed}", role="app")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            query(database, 'CREATE TABLE "Toko".planted (id int)', role="app")
