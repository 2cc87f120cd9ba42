"""Databases to try steps out on: on a throwaway server, never on the live one.

pg_dump and psql are run by that server (COPY ... PROGRAM, which its superuser may): so they are of the server's own
version, and no image needs a client. The passwords of the live database are in the server's environment or secrets, so
they are in no statement and in no process list (ScratchSettings.credentials).
"""

import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from uuid import uuid4

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError

from tangga import causes, connect
from tangga.catalogue.sql import execute, literal, quoted
from tangga.exits import SCRATCH_FAILED, Stop
from tangga.project import Project, applied

# Begins the line after which a program that failed says why; no dump has such a line.
_FAILED = "\x03failed: "

_LIVE = """
export PGCONNECT_TIMEOUT=5 PGHOST={host} PGPORT={port} PGDATABASE={database} {tls}
export PGUSER PGPASSWORD
{credentials}
pg_dump --no-password --schema-only --no-subscriptions --lock-wait-timeout=10s"""


class Scratch:
    """The throwaway server."""

    def __init__(self, project: Project) -> None:
        self._settings, self._scratch = project.settings, project.scratch
        self._roles_made = False
        # One connection, kept: a log-in takes as long as half a dump.
        self._server = create_engine(
            self._scratch.url.set(database="postgres"), isolation_level="AUTOCOMMIT",
            connect_args={"application_name": "tangga-scratch", "connect_timeout": 5},
        )  # fmt: skip

    @contextmanager
    def database(self) -> Iterator[Engine]:
        """Make a database as the first start of the stack leaves it (roles, no table); yield an engine as its owner.

        The database is dropped afterwards.
        """
        self._make_roles()
        name = f"scratch_{os.getpid()}_{uuid4().hex[:12]}"
        owner, template = quoted(self._settings.url.username or ""), quoted(self._scratch.url.database or "")
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {owner}")
        try:
            self._execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
            at = self._scratch.url
            url = self._settings.url.set(host=at.host, port=at.port, database=name, query={})
            yield connect.engine(url, "scratch")
        finally:
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def copy_of_live(self) -> Iterator[Engine]:
        """The same, with the live database's schema and revision, and no rows."""
        with self.database() as engine:
            command = f"({self._pg_dump_live()}) | psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username "
            command += f"{shlex.quote(self._scratch.url.username or '')} --dbname {engine.url.database} >/dev/null"
            self._program(f"set -o pipefail; {command}", "the live schema could not be copied to the scratch server")
            with connect.engine(self._settings.url, "scratch").connect() as source, engine.begin() as copy:
                for revision in applied(source):
                    copy.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": revision})
            yield engine

    def dump(self, engine: Engine) -> list[str]:
        """Return pg_dump's schema of a scratch database, as lines."""
        user, database = shlex.quote(self._scratch.url.username or ""), engine.url.database
        command = f"pg_dump --schema-only --username {user} --dbname {database}"
        return self._program(command, "the schema of a scratch database could not be read")

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
        for line in self._program(self._pg_dump_live(), "the schema of the live database could not be read"):
            secret = line.startswith("CREATE USER MAPPING") or (secret and line.startswith(" "))
            lines.append(re.sub(r"^( +\S+) '.*'", r"\1 '...'", line) if secret else line)
        return lines

    def _pg_dump_live(self) -> str:
        at = self._settings.url
        # What the URL says besides is of TLS: sslmode, sslrootcert.
        tls = " ".join(f"PG{name.upper()}={shlex.quote(str(value))}" for name, value in at.query.items())
        host, database, owner = (shlex.quote(value or "") for value in (at.host, at.database, at.username))
        credentials = self._scratch.credentials.format(owner=owner)
        return _LIVE.format(host=host, port=at.port or 5432, database=database, tls=tls, credentials=credentials)

    def _make_roles(self) -> None:
        """Make the live server's roles, without a log-in and without members: objects and steps name them."""
        if self._roles_made:
            return
        self._roles_made = True
        live = connect.engine(self._settings.url, "scratch")
        names = text("SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 1")
        try:
            with live.connect() as source:
                wanted = [*source.scalars(names)]
        except OperationalError:
            return  # Not every command needs the live one; those that do will say so.
        with self._server.connect() as server:
            missing = sorted({*wanted} - {*server.scalars(names)})
        for name in missing:
            self._execute(f"CREATE ROLE {quoted(name)} NOLOGIN")
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
            server.execute(text("DROP TABLE IF EXISTS pg_temp.output"))
            server.execute(text("CREATE TEMPORARY TABLE output (n bigint GENERATED ALWAYS AS IDENTITY, line text)"))
            # CSV whose delimiter and quote occur in no text: a line is a value, as it is.
            copy = "COPY output (line) FROM PROGRAM {} WITH (FORMAT csv, DELIMITER e'\\x01', QUOTE e'\\x02')"
            execute(server, copy.format(literal(f"exec bash -c {shlex.quote(script)}")))
            lines = [line or "" for line in server.scalars(text("SELECT line FROM output ORDER BY n"))]
        failed = next((number for number, line in enumerate(lines) if line.startswith(_FAILED)), None)
        if failed is not None:
            cause = causes.of_program(lines[failed + 1 :])
            do = causes.remedy(cause) or "mend what it names; nothing was changed in the live database"
            raise Stop(f"{otherwise}: {cause}", do, SCRATCH_FAILED)
        return lines
