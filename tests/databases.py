"""Scratch databases, and Alembic on them.

`DB_NAME` itself is never migrated by tests: as the database's first start left it, it is the template, so that a
scratch database has the roles, privileges and defaults of a real one.
"""

import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal
from unittest import mock
from uuid import uuid4

import alembic.config
import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from sqlalchemy import URL

Role = Literal["superuser", "owner", "app"]
Row = tuple[Any, ...]

PROJECT = Path(__file__).parents[1]
_ROLES = {
    "superuser": ("POSTGRES_USER", "POSTGRES_PASSWORD"),
    "owner": ("DB_OWNER_USERNAME", "DB_OWNER_PASS"),
    "app": ("DB_USERNAME", "DB_PASS"),
}
# Where steps down keep what they would lose; a test that looks into it sets a folder of its own.
_saved = tempfile.TemporaryDirectory(prefix="tangga-saved-")


@functools.cache
def template() -> str:
    """Return the name of the database that nobody migrates; kept, for tests change the environment meanwhile."""
    return os.environ["DB_NAME"]


def connect(database: str, role: Role = "owner") -> Connection:
    """Connect; every statement is its own transaction, unless it says BEGIN."""
    user, password = (os.environ[name] for name in _ROLES[role])
    connection = psycopg2.connect(
        host=os.environ["DB_HOSTNAME"], port=os.environ["DB_PORT"], dbname=database, user=user, password=password
    )
    connection.autocommit = True
    return connection


def run(connection: Connection, statement: str | sql.Composable, *values: Any) -> list[Row]:
    """Run one statement and return its rows, if it has any."""
    with connection.cursor() as cursor:
        # Without values, no % in the statement means anything.
        cursor.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


def query(database: str, statement: str | sql.Composable, *values: Any, role: Role = "owner") -> list[Row]:
    """Run one statement on a connection of its own."""
    with closing(connect(database, role)) as connection:
        return run(connection, statement, *values)


@contextmanager
def scratch_database(source: str | None = None) -> Iterator[str]:
    """Make a copy of a database (by default of the template), and drop it afterwards."""
    name = f"scratch_{uuid4().hex[:12]}"
    names = {
        "name": sql.Identifier(name),
        "source": sql.Identifier(source or template()),
        "owner": sql.Identifier(os.environ["DB_OWNER_USERNAME"]),
        "app": sql.Identifier(os.environ["DB_USERNAME"]),
    }
    with closing(connect("postgres", "superuser")) as connection:
        run(connection, sql.SQL("CREATE DATABASE {name} TEMPLATE {source} OWNER {owner}").format(**names))
        try:
            # Privileges on the database itself are not part of what a template gives.
            run(connection, sql.SQL("REVOKE ALL ON DATABASE {name} FROM PUBLIC").format(**names))
            run(connection, sql.SQL("GRANT CONNECT ON DATABASE {name} TO {app}").format(**names))
            yield name
        finally:
            run(connection, sql.SQL("DROP DATABASE {name} WITH (FORCE)").format(**names))


def url(database: str, role: Role = "owner") -> str:
    """Return the address of a database as SQLAlchemy takes it."""
    user, password = (os.environ[name] for name in _ROLES[role])
    found = URL.create(
        "postgresql+psycopg2",
        username=user,
        password=password,
        host=os.environ["DB_HOSTNAME"],
        port=int(os.environ["DB_PORT"]),
        database=database,
    )
    return found.render_as_string(hide_password=False)


def owner_environment(database: str) -> dict[str, str]:
    """Return what the migrate container has: the owner's name and password, and this database.

    And, for a project that has no settings of its own, the addresses of the database and of the scratch server.
    """
    return {
        "DATABASE_URL": url(database),
        "SCRATCH_URL": url(template(), "superuser"),
        "DB_NAME": database,
        "DB_USERNAME": os.environ["DB_OWNER_USERNAME"],
        "DB_PASS": os.environ["DB_OWNER_PASS"],
        "MIGRATE_SAVE_DIR": os.environ.get("MIGRATE_SAVE_DIR") or _saved.name,
    }


def migrate(database: str, *arguments: str, project: Path = PROJECT) -> None:
    """Run Alembic's command line in this process: ten times as fast as a process of its own."""
    with mock.patch.dict(os.environ, owner_environment(database)):
        alembic.config.main(argv=["--config", str(project / "alembic.ini"), *arguments])


def start_alembic(
    database: str, *arguments: str, project: Path = PROJECT, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start `alembic ...` in the folder `project`: with the package that is there, or else with this one."""
    own = project / "services/migrate/bin/alembic"
    package = next(folder for folder in (project, PROJECT / "services/migrate") if (folder / "tangga").exists())
    # Its own: one found on PATH would bring other services. By name of the interpreter: /tmp may be noexec.
    program = [own] if own.exists() else ["-c", "from tangga.cli import main; main()"]
    return subprocess.Popen(
        [sys.executable, *program, *arguments],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(package)} | owner_environment(database) | dict(environment or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """Wait for a process that `start_alembic` started."""
    try:
        stdout, stderr = process.communicate(timeout=2 * PATIENCE)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def scratch_databases_of(process: subprocess.Popen[str]) -> list[Row]:
    """Return the scratch databases that a process has made and that are there now."""
    names = rf"scratch\_{process.pid}\_%"
    return query("postgres", "SELECT datname FROM pg_database WHERE datname LIKE %s", names, role="superuser")


def alembic_process(
    database: str, *arguments: str, project: Path = PROJECT, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `alembic ...` as an operator does."""
    return finish(start_alembic(database, *arguments, project=project, environment=environment))


# How long anything is waited for: not how long it may take, but when it is called a thing that never happens.
PATIENCE = 300.0


def eventually(condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Poll until the condition holds; False if it does not within so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return condition()
