"""tangga without the stack: a scratch server in a container of its own, gone whatever happens."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import URL, NullPool, create_engine, text

from tangga import container
from tangga.guard.lock import LOCK_KEY
from tests.databases import PATIENCE, eventually
from tests.stack.conftest import REPOSITORY
from tests.stack.theirs import Theirs

_HOLDS = """
import sys
from sqlalchemy import text
from tangga import connect, container
with container.throwaway(None, None) as server, connect.engine(server.url, "test").connect() as connection:
    print(server.url.port, connection.scalar(text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")), flush=True)
    sys.stdin.read()
"""


def _told(container: str) -> str:
    shown = "{{json .Config.Env}} {{json .Config.Cmd}} {{json .Mounts}}"
    asked = ["docker", "inspect", "--format", shown, container]
    return subprocess.run(asked, check=False, capture_output=True, text=True).stdout


def _containers() -> set[str]:
    listed = subprocess.run(
        ["docker", "ps", "--all", "--quiet", "--no-trunc", "--filter", "label=tangga.scratch"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return set(listed.stdout.split())


@contextmanager
def _holder() -> Iterator[subprocess.Popen[str]]:
    """Start a program that holds a scratch server until it is told to end."""
    with subprocess.Popen(
        # Whoever runs the tests in the background, or with nohup, has these ignored.
        ["env", "--default-signal=INT,HUP", sys.executable, "-c", _HOLDS],
        env=os.environ | {"PYTHONPATH": f"{REPOSITORY}/services/migrate"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("end", [None, signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_the_container_is_gone_whatever_happens(end: signal.Signals | None) -> None:
    before = _containers()
    with _holder() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port, superuser = process.stdout.readline().split()
        assert superuser == "True"
        # Other modules have such containers, too.
        [started] = [each for each in _containers() - before if f'"PGPORT={port}"' in _told(each)]
        told = _told(started)
        assert "POSTGRES_PASSWORD=" not in told
        # Without the password nobody is let in, from this machine neither.
        refused = subprocess.run(
            [sys.executable, "-c", f"import psycopg2; psycopg2.connect('postgresql://postgres:x@127.0.0.1:{port}')"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "password authentication failed" in refused.stderr
        if end is None:
            process.stdin.close()
        else:
            process.send_signal(end)
        process.wait(PATIENCE)
        assert eventually(lambda: started not in _containers())


# Somebody's env.py: asynchronous or not, as it was found and with tangga.guarded around it ------------------------------

_SYNC = """
import os
from alembic import context
from sqlalchemy import NullPool, create_engine
import tangga

def run(connection):
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        context.run_migrations()

with create_engine(os.environ["DATABASE_URL"], poolclass=NullPool).connect() as connection:
    run(connection)
"""
_ASYNC = """
import asyncio
import os
from alembic import context
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import create_async_engine
import tangga

def run(connection):
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        context.run_migrations()

async def main():
    async with create_async_engine(os.environ["DATABASE_URL"], poolclass=NullPool).connect() as connection:
        await connection.run_sync(run)

asyncio.run(main())
"""
_GUARD = (
    "    context.configure(connection=connection, target_metadata=None)",
    "  with tangga.guarded(connection) as options:\n"
    "    context.configure(connection=connection, target_metadata=None, **options)",
)
_STEPS = (
    ("b1", None, "op.create_table('bins', sa.Column('id', sa.Integer, primary_key=True))", "op.drop_table('bins')"),
    ("b2", "b1", "op.add_column('bins', sa.Column('mark', sa.String))", "op.drop_column('bins', 'mark')"),
)
_DRIVERS = {"psycopg": _SYNC, "asyncpg": _ASYNC, "psycopg_async": _ASYNC}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the drivers that this repository does without."""
    folder = tmp_path_factory.mktemp("theirs")
    uv = REPOSITORY / ".venv/bin/uv"
    subprocess.run([uv, "venv", "--quiet", "--no-project", folder / "venv"], check=True)
    wanted = ["alembic", "sqlalchemy[asyncio]", "asyncpg", "psycopg[binary]", "rich", "pglast", "squawk-cli"]
    wanted += ["flask-migrate"]
    subprocess.run([uv, "pip", "install", "--quiet", "--python", folder / "venv/bin/python", *wanted], check=True)
    return folder / "venv/bin"


@pytest.fixture(scope="module")
def server() -> Iterator[URL]:
    with container.throwaway(None, None) as started:
        yield started.url


def _step(revision: str, after: str | None, up: str, down: str) -> str:
    return (
        "import sqlalchemy as sa\nfrom alembic import op\n"
        f"revision, down_revision = {revision!r}, {after!r}\n\n\n"
        f"def upgrade():\n    {up}\n\n\ndef downgrade():\n    {down}\n"
    )


def _with_steps(folder: Path) -> None:
    (folder / "versions").mkdir(parents=True, exist_ok=True)
    for step in _STEPS:
        (folder / f"versions/{step[0]}.py").write_text(_step(*step))


def _with_database(theirs: Theirs) -> Theirs:
    database = f"{theirs.driver}_{uuid4().hex[:8]}"
    theirs.sql(f"CREATE DATABASE {database}")
    return theirs._replace(database=database)


@pytest.fixture(params=_DRIVERS)
def theirs(request: pytest.FixtureRequest, programs: Path, server: URL, tmp_path: Path) -> Theirs:
    _with_steps(tmp_path / "m")
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/m\n")
    (tmp_path / "m/env.py").write_text(_DRIVERS[request.param])
    return _with_database(Theirs(programs, tmp_path, request.param, server, "postgres"))


def test_steps_of_an_untouched_env_py_are_tried_out_elsewhere(theirs: Theirs) -> None:
    assert "b2" in theirs.ok("tangga", "verify", "--rows", "5")
    assert "ALTER TABLE bins ADD COLUMN mark" in theirs.ok("tangga", "plan")
    assert theirs.sql("SELECT to_regclass('bins')::text") is None
    assert theirs.sql("SELECT to_regclass('alembic_version')::text") is None


def test_guarded_around_it_protects_it(theirs: Theirs) -> None:
    lock = f"SELECT pg_advisory_lock({LOCK_KEY})"
    holder = create_engine(
        theirs.server.set(database=theirs.database), isolation_level="AUTOCOMMIT", poolclass=NullPool
    )
    # Without it nobody is waited for, nothing is noted and nothing is kept.
    with holder.connect() as other:
        other.execute(text(lock))
        theirs.ok("alembic", "upgrade", "b1")
    assert theirs.sql("SELECT to_regclass('migration_log')::text") is None
    env = (theirs.folder / "m/env.py").read_text()
    (theirs.folder / "m/env.py").write_text(env.replace(*_GUARD))
    with holder.connect() as other:
        other.execute(text(lock))
        waited = theirs.run("alembic", "upgrade", "head", MIGRATE_LOCK_WAIT="1")
        assert waited.returncode != 0
        assert "another migrator holds the lock" in waited.stderr
        assert "waiting for the migration lock" in waited.stderr
    # A table that somebody holds is tried again, and who holds it is named.
    with holder.execution_options(isolation_level="READ COMMITTED").connect() as other:
        other.execute(text("LOCK TABLE bins"))
        gave_way = theirs.run("tangga", "upgrade", "head", MIGRATE_LOCK_TIMEOUT="0.3", MIGRATE_LOCK_RETRY_FOR="2")
        assert gave_way.returncode == 10, gave_way.stderr
        assert "pid " in gave_way.stderr
    theirs.ok("alembic", "upgrade", "head")
    assert (
        theirs.sql("SELECT string_agg(direction || ' ' || outcome, ', ' ORDER BY id) FROM tangga.migration_log")
        == "up done"
    )
    theirs.sql("INSERT INTO bins VALUES (1, 'kept')")
    assert "saved bins.mark: 1 rows" in theirs.ok("tangga", "downgrade", "-1")
    theirs.ok("alembic", "upgrade", "head")
    theirs.ok("tangga", "restore-data")
    assert theirs.sql("SELECT mark FROM bins") == "kept"
    # And the steps are tried out as they were.
    assert "b2" in theirs.ok("tangga", "verify", "--rows", "5")


# What a step opens beside its own connection; `bins` is locked by the step. And whether SQLAlchemy tells us of it.
_BESIDE = {
    "an asynchronous engine on asyncpg": ("asyncpg", True),
    "an asynchronous engine on psycopg": ("psycopg_async", True),
    "asyncpg": ("await asyncpg.connect(address)", False),
    "asyncpg, with a setting": ("await asyncpg.connect(address, server_settings={'jit': 'off'})", False),
    "psycopg": ("await psycopg.AsyncConnection.connect(address)", False),
}  # fmt: skip
_OPENS = """
    import asyncio, os
    import asyncpg, psycopg
    from sqlalchemy.ext.asyncio import create_async_engine
    op.execute("LOCK TABLE bins")
    address = os.environ["DATABASE_URL"].replace("+psycopg", "")
    async def beside():
        {}
    asyncio.run(beside())
"""


@pytest.mark.parametrize("how", _BESIDE)
def test_what_a_step_opens_beside_waits_no_longer_than_the_step(
    programs: Path, server: URL, tmp_path: Path, how: str
) -> None:
    theirs = _with_database(Theirs(programs, tmp_path, "psycopg", server, "postgres"))
    _with_steps(tmp_path / "m")
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/m\n")
    (tmp_path / "m/env.py").write_text(_SYNC.replace(*_GUARD))
    opened, told = _BESIDE[how]
    if told:
        engine = f"create_async_engine(address.replace('://', '+{opened}://')).begin()"
        body = f"async with {engine} as own: await own.execute(sa.text('DELETE FROM bins'))"
    else:
        body = f"await ({opened}).execute('DELETE FROM bins')"
    (tmp_path / "m/versions/b3.py").write_text(_step("b3", "b2", _OPENS.format(body), "pass"))
    ended = theirs.run("tangga", "upgrade", "head", MIGRATE_LOCK_TIMEOUT="0.3")
    assert ended.returncode == 3, ended.stderr
    assert ("waits for itself" if told else "canceling statement due to lock timeout") in ended.stderr
    assert theirs.sql("SELECT version_num FROM alembic_version") == "b2"


_FLASK = """
import os
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

db = SQLAlchemy()

class Bin(db.Model):
    __tablename__ = "bins"
    id = db.Column(db.Integer, primary_key=True)
    mark = db.Column(db.String)

def make():
    print("what an application prints is no output of a command")
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
    db.init_app(app)
    Migrate(app, db)
    return app
"""


def test_flask_migrate_as_its_own_command_made_it(programs: Path, server: URL, tmp_path: Path) -> None:
    theirs = _with_database(Theirs(programs, tmp_path, "psycopg", server, "postgres"))
    (tmp_path / "shop.py").write_text(_FLASK)
    # `flask db` loads the application; tangga finds what it has written, and the application where flask does.
    assert "'FLASK_APP'" in theirs.run("flask", "db", "init").stderr
    made = theirs.run("flask", "db", "init", FLASK_APP="shop:make")
    assert made.returncode == 0, made.stderr
    _with_steps(tmp_path / "migrations")
    lost = theirs.run("tangga", "plan")
    assert lost.returncode == 2
    assert "env.py asks for a Flask application, and none can be loaded" in lost.stderr
    assert "do: name it, as for flask run: FLASK_APP=" in lost.stderr

    # Files are read without it, from the project's folder.
    assert "b1 -> b2 (head)" in theirs.ok("tangga", "history")
    hurts = tmp_path / "migrations/versions/b3.py"
    hurts.write_text(_step("b3", "b2", "op.alter_column('bins', 'mark', nullable=False)", "pass"))
    linted = theirs.run("tangga", "lint", "--format", "json")
    assert {each["file"] for each in json.loads(linted.stdout)} == {"migrations/versions/b3.py"}
    theirs = theirs._replace(environment={"FLASK_APP": "shop:make"})
    assert theirs.run("tangga", "lint", "--format", "json").stdout == linted.stdout
    hurts.unlink()
    assert "ALTER TABLE bins ADD COLUMN mark" in theirs.ok("tangga", "plan")
    assert "b2" in theirs.ok("tangga", "verify", "--rows", "5")
    theirs.ok("tangga", "upgrade", "head")
    assert theirs.sql("SELECT version_num FROM alembic_version") == "b2"
    assert "no drift" in theirs.ok("tangga", "drift")
    assert "b2 (head)" in theirs.ok("flask", "db", "current")
    # What is not in this folder, and what says itself where its steps are, is as it was.
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/nowhere\n")
    assert "nowhere" in theirs.run("tangga", "history").stderr
