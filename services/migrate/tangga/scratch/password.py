"""The live database's password, for the programs that the scratch server runs.

It is handed over as a file that only that server's user can read: as rows of COPY ... FROM STDIN, which no log shows,
written by COPY ... TO PROGRAM, whose command does not hold it. Who reads it removes it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from sqlalchemy import Connection, text

from tangga import connect
from tangga.catalogue.sql import execute, literal

# As a line of a text: its delimiter and its quote occur in none.
AS_IT_IS = r"(FORMAT csv, DELIMITER e'\x01', QUOTE e'\x02')"


class _Once:
    """A file that is read once, as COPY ... FROM STDIN takes a value."""

    def __init__(self, value: str) -> None:
        for plain, escaped in (("\\", r"\\"), ("\n", r"\n"), ("\r", r"\r"), ("\t", r"\t")):
            value = value.replace(plain, escaped)
        self._rest = f"{value}\n".encode()

    def read(self, size: int, /) -> bytes:
        found, self._rest = self._rest[:size], self._rest[size:]
        return found


@contextmanager
def handed_over(server: Connection, password: str) -> Iterator[str]:
    """Yield a piece of shell that prints the password on the server's machine, once; `server` is in autocommit."""
    # Made anew (-C), and by a name that nobody can foresee: no link that somebody else has put there is followed.
    file = f"/tmp/tangga-{uuid4().hex}"  # noqa: S108
    try:
        server.execute(text("CREATE TEMPORARY TABLE secret (line text)"))
        try:
            connect.copy_in(server, "pg_temp.secret", _Once(password))
            _run(server, "TABLE pg_temp.secret", f"umask 077; set -C; cat >{file}")
        finally:
            server.execute(text("DROP TABLE pg_temp.secret"))
        yield f"$(cat {file}; rm -f {file})"
    finally:
        _run(server, "SELECT WHERE false", f"rm -f {file}")


def _run(server: Connection, rows: str, command: str) -> None:
    execute(server, f"COPY ({rows}) TO PROGRAM {literal(command)} WITH {AS_IT_IS}")
