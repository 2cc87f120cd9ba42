"""Databases to try steps out on: on a throwaway server, never on the live one.

pg_dump and psql are run by that server (COPY ... PROGRAM, which its superuser may): so they are of the server's own
version, and no image needs a client. The live database's password is in no statement, no process list and no log: the
server has it in its environment or secrets (ScratchSettings.credentials), or it is handed over (password.py).
"""

import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from uuid import uuid4

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from tangga import causes, connect
from tangga.catalogue.sql import execute, literal, quoted
from tangga.exits import SCRATCH_FAILED, WRONG_SETTING, Stop
from tangga.project import Project, applied, version_options, version_table
from tangga.scratch.password import AS_IT_IS, handed_over

# Begins the line after which a program that failed says why; no dump has such a line.
_FAILED = "\x03failed: "

# The database that we are connected to.
_HOME = "postgres"
_HERE = (None, "localhost", "127.0.0.1", "::1")
_MISSING = "for each in bash pg_dump psql; do command -v $each >/dev/null || echo $each; done"
_TAKE = "take a server with a superuser, bash, pg_dump and psql, as in the image postgres (docs/architecture.md)"

_LIVE = """
export PGCONNECT_TIMEOUT=5 PGHOST={host} PGPORT={port} PGDATABASE={database} {tls}
export PGUSER PGPASSWORD
{credentials}
pg_dump --no-password --schema-only --no-subscriptions --lock-wait-timeout=10s"""


class Scratch:
    """The throwaway server."""

    def __init__(self, project: Project) -> None:
        self._settings, self._scratch = project.trial_settings, project.scratch
        self._has_live = project.names_a_database
        self._owner = self._settings.url.username or ""
        self._ready = False
        self._version_schema: str | None = None
        # One connection, kept: a log-in takes as long as half a dump.
        self._server = create_engine(
            self._scratch.url.set(database=_HOME), isolation_level="AUTOCOMMIT",
            connect_args={"application_name": "tangga-scratch", "connect_timeout": 5},
        )  # fmt: skip

    @contextmanager
    def database(self, like: Engine | None = None, *, empty: bool = False) -> Iterator[Engine]:
        """Make a database as the first start of the stack leaves it (roles, no table); yield an engine as its owner.

        The schema of Alembic's own table, which no step makes, is there too, unless it is to be `empty`. Or make a copy
        of another scratch database, to which nobody may be connected. The database is dropped afterwards.
        """
        self._be_ready()
        name = f"scratch_{os.getpid()}_{uuid4().hex[:12]}"
        template = like.url.database if like else self._scratch.url.database
        # We are connected to that one, and then none can be copied from it.
        template = "template1" if template in (None, _HOME) else template
        self._execute(f"CREATE DATABASE {name} TEMPLATE {quoted(template)} OWNER {quoted(self._owner)}")
        try:
            self._execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
            engine = self._engine(name)
            if self._version_schema and not empty:
                with engine.begin() as connection:
                    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {quoted(self._version_schema)}"))
            yield engine
        finally:
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _engine(self, name: str) -> Engine:
        at = self._scratch.url
        if self._scratch.credentials:
            url = self._settings.url.set(host=at.host, port=at.port, database=name, query={})
            return connect.engine(url, "scratch")
        # There the owner has no password; the superuser takes its place, and with it its privileges.
        return connect.engine(
            at.set(database=name), "scratch", session={"role": re.sub(r"([\\\s])", r"\\\1", self._owner)}
        )

    def seeing_all(self, engine: Engine) -> Engine:
        """Return an engine to the same database as the superuser: no policy hides a row from it, and no privilege."""
        return connect.engine(self._scratch.url.set(database=engine.url.database), "scratch")

    @contextmanager
    def copy_of_live(self) -> Iterator[Engine]:
        """The same, with the live database's schema and revision, and no rows."""
        with self.database(empty=True) as engine:
            self._of_live("the live schema could not be copied to the scratch server", self._into(engine))
            with connect.engine(self._settings.url, "scratch").connect() as source, engine.begin() as copy:
                insert = f"INSERT INTO {version_table(source)} VALUES (:revision)"  # noqa: S608 - quoted
                for revision in applied(source):
                    copy.execute(text(insert), {"revision": revision})
            yield engine

    def dump(self, engine: Engine) -> list[str]:
        """Return pg_dump's schema of a scratch database, as lines."""
        user, database = shlex.quote(self._scratch.url.username or ""), engine.url.database
        command = f"pg_dump --schema-only --username {user} --dbname {database}"
        return self._program(command, "the schema of a scratch database could not be read")

    def loaded(self, engine: Engine) -> list[str]:
        """Return pg_dump's schema of a scratch database, loaded into another one and dumped from there, as lines."""
        user, database = shlex.quote(self._scratch.url.username or ""), engine.url.database
        with self.database(empty=True) as again:
            printed = f"pg_dump --schema-only --username {user} --dbname {database}"
            into = self._into(again)
            self._program(f"set -o pipefail; {printed} | {into}", "the schema of a scratch database cannot be loaded")
            return self.dump(again)

    def _into(self, engine: Engine) -> str:
        user, database = shlex.quote(self._scratch.url.username or ""), engine.url.database
        return f"psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username {user} --dbname {database} >/dev/null"

    def dump_rows(self, engine: Engine, without: Iterable[str] = ()) -> list[str]:
        """Return pg_dump's INSERT statements of a scratch database, as lines, without some tables."""
        user, database = shlex.quote(self._scratch.url.username or ""), engine.url.database
        excluded = " ".join(f"--exclude-table={shlex.quote(name)}" for name in without)
        command = f"pg_dump --data-only --column-inserts {excluded} --username {user} --dbname {database}"
        return self._program(command, "the rows of a scratch database could not be read")

    def dump_live(self) -> list[str]:
        """Return pg_dump's schema of the live database, as lines; the secrets of user mappings are left out."""
        secret = False
        lines = []
        self._be_ready()
        for line in self._of_live("the schema of the live database could not be read"):
            secret = line.startswith("CREATE USER MAPPING") or (secret and line.startswith(" "))
            lines.append(re.sub(r"^( +\S+) '.*'", r"\1 '...'", line) if secret else line)
        return lines

    def _of_live(self, otherwise: str, into: str = "cat") -> list[str]:
        """Give pg_dump's schema of the live database to a program there; return what that prints."""
        at = self._settings.url
        # What the URL says besides is of TLS: sslmode, sslrootcert.
        said = {name: value for name, value in at.query.items() if name != "password"}
        tls = " ".join(f"PG{name.upper()}={shlex.quote(str(value))}" for name, value in said.items())
        address = self._scratch.gateway if at.host in _HERE and self._scratch.gateway else at.host
        host, database, owner = (shlex.quote(value or "") for value in (address, at.database, self._owner))
        with self._server.connect() as server, ExitStack() as secrets:
            if self._scratch.credentials:
                credentials = self._scratch.credentials.format(owner=owner)
            else:
                credentials = f"PGUSER={owner}"
                if password := str(at.password or at.query.get("password") or ""):
                    credentials += f" PGPASSWORD={secrets.enter_context(handed_over(server, password))}"
            dump = _LIVE.format(host=host, port=at.port or 5432, database=database, tls=tls, credentials=credentials)
            return self._program(f"set -o pipefail; ({dump}) | {into}", otherwise)

    def _be_ready(self) -> None:
        """Refuse a server on which nothing can be tried out; make the live server's roles. Once."""
        if self._ready:
            return
        try:
            server = self._server.connect()
        except OperationalError as error:
            at = self._scratch.url
            raise Stop(
                f"the scratch server at {at.host}:{at.port or 5432} lets nobody in: {causes.one_line(error)}",
                "correct its address, the user or the password", SCRATCH_FAILED,
            ) from error  # fmt: skip
        with server:
            self._require_rights(server)
            self._make_roles(server)
        self._ready = True

    def _require_rights(self, server: Connection) -> None:
        user = self._scratch.url.username
        if server.scalar(text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")) is not True:
            raise Stop(
                f"{user} is no superuser of the scratch server, and pg_dump and psql are run by that server", _TAKE,
                WRONG_SETTING,
            )  # fmt: skip
        try:
            missing = self._printed(server, _MISSING)
        except DBAPIError as error:
            raise Stop(f"the scratch server runs no program: {causes.one_line(error)}", _TAKE, WRONG_SETTING) from error
        if missing:
            raise Stop(f"the scratch server's machine lacks {', '.join(missing)}", _TAKE, WRONG_SETTING)

    def _make_roles(self, server: Connection) -> None:
        """Make the live server's roles, without a log-in and without members: objects and steps name them."""
        # A superuser's steps may do there what they may do here.
        names = text("SELECT rolname, rolsuper FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 1")
        wanted = {self._owner: False}
        # Not every command needs the live one; those that do will say so.
        with suppress(OperationalError), ExitStack() as ends:
            if self._has_live:
                source = ends.enter_context(connect.engine(self._settings.url, "scratch").connect())
                wanted = {row.rolname: row.rolsuper for row in source.execute(names)}
                self._version_schema = version_options(source).get("version_table_schema")
        missing = sorted(wanted.keys() - {name for name, _ in server.execute(names)})
        for name in missing:
            server.execute(text(f"CREATE ROLE {quoted(name)} NOLOGIN{' SUPERUSER' if wanted[name] else ''}"))
        if missing:
            sys.stderr.write(f"note: made on the scratch server, without a log-in: {', '.join(missing)}\n")

    def _execute(self, statement: str) -> None:
        with self._server.connect() as server:
            server.execute(text(statement))

    def _program(self, command: str, otherwise: str) -> list[str]:
        """Run a command on the server's machine and return the lines that it prints.

        Raises Stop if it fails: `otherwise`, and the cause that it printed.
        """
        # The server would say of it only that it failed, so it always ends well, and says how it went itself.
        script = (
            f"exec 3>&1; said=$({{ {command}; }} 2>&1 >&3 3>&-) && exit 0; status=$?; "
            f'printf \'\\n{_FAILED}%s\\n%s\\n\' "$status" "$(tail -n 50 <<<"$said")"'
        )
        with self._server.connect() as server:
            lines = self._printed(server, f"exec bash -c {shlex.quote(script)}")
        failed = next((number for number, line in enumerate(lines) if line.startswith(_FAILED)), None)
        if failed is not None:
            cause = causes.of_program(lines[failed + 1 :])
            do = causes.remedy(cause) or "mend what it names; nothing was changed in the live database"
            if re.search("connection to server|could not translate host name", cause):
                do = f"the scratch server itself reads the live one: {self._settings.address} must be right there too"
            raise Stop(f"{otherwise}: {cause}", do, SCRATCH_FAILED)
        return lines

    def _printed(self, server: Connection, command: str) -> list[str]:
        server.execute(text("DROP TABLE IF EXISTS pg_temp.output"))
        server.execute(text("CREATE TEMPORARY TABLE output (n bigint GENERATED ALWAYS AS IDENTITY, line text)"))
        execute(server, f"COPY pg_temp.output (line) FROM PROGRAM {literal(command)} WITH {AS_IT_IS}")
        return [line or "" for line in server.scalars(text("SELECT line FROM pg_temp.output ORDER BY n"))]
