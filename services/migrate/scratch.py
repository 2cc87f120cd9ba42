"""Databases to try steps out on: on a throwaway server (`scratch` in compose.yaml), never on the live one.

pg_dump and psql are run by that server (COPY ... PROGRAM, which its superuser may): so they are of the server's own
version, and no image needs a client. The password of the live database is in the server's environment (it gets the same
variables as `db`), so it is in no statement and in no process list.
"""

import os
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from uuid import uuid4

from sqlalchemy import URL, Engine, create_engine, text
from sqlalchemy.pool import NullPool

from services.api.settings import ScratchSettings
from services.migrate import causes
from services.migrate.exits import SCRATCH_FAILED, Stop
from services.migrate.runs import applied

# Begins the line after which a program that failed says why; no dump has such a line.
_FAILED = "\x03failed: "


class Scratch:
    """The throwaway server."""

    def __init__(self, settings: ScratchSettings) -> None:
        self._settings = settings
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
            command = f"{self._pg_dump_live()} | psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username "
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
        """Return pg_dump's schema of the live database, as lines."""
        return self._program(self._pg_dump_live(), "the schema of the live database could not be read")

    def _pg_dump_live(self) -> str:
        at = self._settings
        tls = "".join(f"PG{name.upper()}={shlex.quote(value)} " for name, value in at.tls.items())
        return (
            f'{tls}PGPASSWORD="$DB_OWNER_PASS" pg_dump --schema-only --lock-wait-timeout=10s '
            f"--host {shlex.quote(at.db_hostname)} "
            f"--port {at.db_port} --username {shlex.quote(at.db_username)} --dbname {shlex.quote(at.db_name)}"
        )

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
