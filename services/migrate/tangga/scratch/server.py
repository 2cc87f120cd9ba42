"""Databases to try steps out on: on a throwaway server (`scratch` in compose.yaml), never on the live one.

pg_dump and psql are run by that server (COPY ... PROGRAM, which its superuser may): so they are of the server's own
version, and no image needs a client. The passwords of the live database are in the server's environment or secrets (it
gets the same as `db`), so they are in no statement and in no process list.
"""

import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from uuid import uuid4

from sqlalchemy import URL, Engine, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from services.api.settings import ScratchSettings
from tangga import causes
from tangga.exits import SCRATCH_FAILED, Stop
from tangga.runs import applied

# Begins the line after which a program that failed says why; no dump has such a line.
_FAILED = "\x03failed: "

# As the superuser, who alone may lock every table (pg_dump does), if the live server lets one in; else as the owner.
_LIVE = """
secret() {{ cat "/run/secrets/$1" 2>/dev/null || printf %s "$2"; }}
export PGCONNECT_TIMEOUT=5 PGHOST={host} PGPORT={port} PGDATABASE={database} {tls}
export PGUSER="$POSTGRES_USER" PGPASSWORD
PGPASSWORD=$(secret postgres_password "${{LIVE_SUPERUSER_PASS:-}}")
[ -n "$PGPASSWORD" ] && psql -Xwqc '' >/dev/null 2>&1 ||
  {{ PGUSER={owner} PGPASSWORD=$(secret db_owner_pass "${{DB_OWNER_PASS:-}}"); }}
pg_dump --no-password --schema-only --no-subscriptions --lock-wait-timeout=10s"""


class Scratch:
    """The throwaway server."""

    def __init__(self, settings: ScratchSettings) -> None:
        self._settings = settings
        self._roles_made = False
        superuser = URL.create(
            "postgresql+psycopg2",
            username=settings.scratch_username,
            password=settings.scratch_pass.get_secret_value(),
            host=settings.scratch_hostname,
            port=settings.scratch_port,
        )
        # One connection, kept: a log-in takes as long as half a dump.
        self._server = create_engine(
            superuser, isolation_level="AUTOCOMMIT",
            connect_args={"application_name": "tangga-scratch", "connect_timeout": 5},
        )  # fmt: skip

    @contextmanager
    def database(self) -> Iterator[Engine]:
        """Make a database as the first start of the stack leaves it (roles, no table); yield an engine as its owner.

        The database is dropped afterwards.
        """
        self._make_roles()
        name = f"scratch_{os.getpid()}_{uuid4().hex[:12]}"
        owner, template = _quoted(self._settings.db_username), _quoted(self._settings.scratch_name)
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {owner}")
        try:
            self._execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
            url = self._settings.url.set(
                host=self._settings.scratch_hostname, port=self._settings.scratch_port, database=name, query={}
            )
            yield create_engine(url, poolclass=NullPool, connect_args={"application_name": "tangga-scratch"})
        finally:
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def copy_of_live(self) -> Iterator[Engine]:
        """The same, with the live database's schema and revision, and no rows."""
        with self.database() as engine:
            command = f"({self._pg_dump_live()}) | psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username "
            command += f"{shlex.quote(self._settings.scratch_username)} --dbname {engine.url.database} >/dev/null"
            self._program(f"set -o pipefail; {command}", "the live schema could not be copied to the scratch server")
            live = create_engine(self._settings.url, poolclass=NullPool, connect_args={"connect_timeout": 5})
            with live.connect() as source, engine.begin() as copy:
                for revision in applied(source):
                    copy.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": revision})
            yield engine

    def dump(self, engine: Engine) -> list[str]:
        """Return pg_dump's schema of a scratch database, as lines."""
        user, database = shlex.quote(self._settings.scratch_username), engine.url.database
        command = f"pg_dump --schema-only --username {user} --dbname {database}"
        return self._program(command, "the schema of a scratch database could not be read")

    def dump_rows(self, engine: Engine, without: Iterable[str] = ()) -> list[str]:
        """Return pg_dump's INSERT statements of a scratch database, as lines, without some tables."""
        user, database = shlex.quote(self._settings.scratch_username), engine.url.database
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
        at = self._settings
        tls = " ".join(f"PG{name.upper()}={shlex.quote(value)}" for name, value in at.tls.items())
        host, database, owner = (shlex.quote(value) for value in (at.db_hostname, at.db_name, at.db_username))
        return _LIVE.format(host=host, port=at.db_port, database=database, owner=owner, tls=tls)

    def _make_roles(self) -> None:
        """Make the live server's roles, without a log-in and without members: objects and steps name them."""
        if self._roles_made:
            return
        self._roles_made = True
        live = create_engine(self._settings.url, poolclass=NullPool, connect_args={"connect_timeout": 5})
        names = text("SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 1")
        try:
            with live.connect() as source:
                wanted = [*source.scalars(names)]
        except OperationalError:
            return  # Not every command needs the live one; those that do will say so.
        with self._server.connect() as server:
            missing = sorted({*wanted} - {*server.scalars(names)})
        for name in missing:
            self._execute(f"CREATE ROLE {_quoted(name)} NOLOGIN")
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
            literal = "'" + f"exec bash -c {shlex.quote(script)}".replace("'", "''") + "'"
            server.exec_driver_sql(copy.format(literal).replace("%", "%%"))
            lines = [line or "" for line in server.scalars(text("SELECT line FROM output ORDER BY n"))]
        failed = next((number for number, line in enumerate(lines) if line.startswith(_FAILED)), None)
        if failed is not None:
            cause = causes.of_program(lines[failed + 1 :])
            do = causes.remedy(cause) or "mend what it names; nothing was changed in the live database"
            raise Stop(f"{otherwise}: {cause}", do, SCRATCH_FAILED)
        return lines


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
