"""What the app's role may not do. Each statement first succeeds for the owner of the schema."""

from contextlib import closing

import psycopg2.errors
import pytest

from tests.databases import Role, connect, query, run, template

# Of roles and tables, not of what the API answers.
pytestmark = pytest.mark.own_schema

FORBIDDEN = [
    "CREATE TABLE planted (id integer)",
    "CREATE VIEW planted AS SELECT 1",
    "CREATE FUNCTION planted() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE SCHEMA planted",
    "CREATE INDEX planted ON posts (nama)",
    "ALTER TABLE posts ADD COLUMN planted integer",
    "ALTER TABLE posts ALTER COLUMN alamat DROP NOT NULL",
    "ALTER TABLE posts DROP CONSTRAINT post_users_fk",
    "ALTER TABLE posts DISABLE TRIGGER USER",
    "ALTER SEQUENCE posts_id_seq RESTART",
    "DROP TABLE votes",
    "DROP TABLE alembic_version",
    "TRUNCATE votes",
    "LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE",
    "INSERT INTO alembic_version VALUES ('planted')",
    "UPDATE alembic_version SET version_num = 'planted'",
    "DELETE FROM alembic_version",
    "COMMENT ON TABLE posts IS 'planted'",
    "SELECT lo_create(0)",
    "SELECT lo_from_bytea(0, 'planted')",
    "SELECT lo_open(0, 131072) WHERE false",
]
ALLOWED = [
    "SELECT version_num FROM alembic_version",
    "INSERT INTO users (email, password) VALUES ('ani@example.com', '!')",
    "UPDATE posts SET umur = umur + 1",
    "DELETE FROM votes",
]


def _try(database: str, role: Role, statement: str) -> None:
    with closing(connect(database, role)) as connection:
        run(connection, "BEGIN")
        run(connection, statement)
        run(connection, "ROLLBACK")


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_the_app_may_not(database: str, statement: str) -> None:
    _try(database, "owner", statement)
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        _try(database, "app", statement)


@pytest.mark.parametrize("statement", ALLOWED)
def test_the_app_may(database: str, statement: str) -> None:
    _try(database, "app", statement)


def test_the_app_may_not_make_temporary_tables() -> None:
    # On the template itself: privileges on a database are not copied with it.
    _try(template(), "owner", "CREATE TEMPORARY TABLE planted (id integer)")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        _try(template(), "app", "CREATE TEMPORARY TABLE planted (id integer)")


@pytest.mark.parametrize("other", ["postgres", "template1"])
@pytest.mark.parametrize("role", ["owner", "app"])
def test_no_other_database_is_theirs(role: Role, other: str) -> None:
    connect(other, "superuser").close()
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        connect(other, role)


def test_the_owner_gets_in_whatever_the_app_does() -> None:
    [(most, superusers, reserved)] = query(
        template(),
        "SELECT current_setting('max_connections')::int, current_setting('superuser_reserved_connections')::int,"
        " coalesce(current_setting('reserved_connections', true), '5')::int",
    )
    assert query(template(), "SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user", role="app") == [
        (most - superusers - reserved,)
    ]
    if query(template(), "SELECT FROM pg_roles WHERE rolname = 'pg_use_reserved_connections'"):
        member = "SELECT pg_has_role('pg_use_reserved_connections', 'USAGE')"
        assert (query(template(), member), query(template(), member, role="app")) == ([(True,)], [(False,)])


def test_the_app_is_bounded_by_the_server() -> None:
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "temp_file_limit")
    show = f"SELECT {', '.join(f'current_setting({name!r})' for name in names)}"
    assert query(template(), show, role="app") == [("10s", "10s", "1min", "1GB")]
    _try(template(), "superuser", "SET temp_file_limit = -1")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        _try(template(), "app", "SET temp_file_limit = -1")


@pytest.mark.parametrize("role", ["owner", "app"])
def test_neither_role_is_more_than_it_must_be(role: Role) -> None:
    statement = (
        "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = "
    )
    assert any(query(template(), statement + "session_user", role="superuser")[0])
    assert not any(query(template(), statement + "session_user", role=role)[0])


def test_the_app_cannot_become_the_owner() -> None:
    for statement in ("SET ROLE tangga_owner", "SET SESSION AUTHORIZATION tangga_owner"):
        _try(template(), "superuser", statement)
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            _try(template(), "app", statement)
