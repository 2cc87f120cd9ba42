"""What an error says, in one line, and what to do about it where the words of it tell."""

import re

import psycopg2
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from tangga.exits import Stop

_LONG = 300
# Their DETAIL quotes values of rows, and these lines end in logs and in migration_log: a password's hash among them.
_QUOTES_A_KEY = ("23503", "23505", "23P01")
_QUOTES_A_ROW = ("23502", "23514")
_REMEDIES = {
    r"permission denied to create extension|must be superuser to create this extension": (
        "the owner of the schema may not make it: put its name into EXTENSIONS= in .env, then: make up (the superuser "
        "makes it before the migration, and on the scratch server)"
    ),
    r"must be owner of extension": (
        "the superuser made it (EXTENSIONS= in .env), so it stays when the step goes down: take its DROP EXTENSION out"
    ),
    r'extension "[^"]*" is not available|could not open extension control file': (
        "the image of the database does not hold it: take one that does (POSTGRES_IMAGE in .env; for the stand-in, "
        "POSTGRES_PACKAGES)"
    ),
    r'permission denied to (create|alter|drop|grant) role|(CREATEROLE|admin option)|role "[^"]*" does not exist': (
        "roles are the server's, and no step's: put the name into EXTRA_ROLES= in .env, then: make up (it is made "
        "before the migration, and on the scratch server)"
    ),
    r"permission denied for (table|sequence|view|schema|function|large object)|must be owner of ": (
        "somebody else made it: as the superuser, ALTER ... OWNER TO the owner of the schema (DB_OWNER_USERNAME), or "
        "GRANT what is missing"
    ),
}


def one_line(error: BaseException) -> str:
    """Return the first line of the message, with the server's DETAIL and HINT. A password is never in it.

    Values of rows that a DETAIL quotes are left out; MIGRATE_TRACEBACK shows the whole error.
    """
    original = error.orig if isinstance(error, DBAPIError) and error.orig else error
    if isinstance(original, psycopg2.Error) and original.diag.message_primary:
        return _of_the_server(original)
    if isinstance(original, SyntaxError) and original.filename and original.lineno:
        return f"{original.msg} ({original.filename.rpartition('/')[2]}:{original.lineno})"
    lines = [line.strip() for line in str(original).splitlines() if line.strip()]
    text = lines[0] if lines else type(original).__name__
    prefix = "" if isinstance(original, psycopg2.Error | CommandError | Stop) else f"{type(original).__name__}: "
    return f"{prefix}{text}"


def remedy(text: str) -> str | None:
    """Return what to do about an error of PostgreSQL's or of its programs; None if its words do not tell."""
    return next((do for pattern, do in _REMEDIES.items() if re.search(pattern, text, re.IGNORECASE)), None)


def of_program(stderr: list[str]) -> str:
    """Return the cause in what a client of PostgreSQL printed: its first error, with DETAIL and HINT."""
    stderr = [line for line in stderr if line.strip()]
    errors = [number for number, line in enumerate(stderr) if re.search(r"\b(error|fatal):", line, re.IGNORECASE)]
    if not errors:
        return _short(stderr[-1]) if stderr else "it printed no cause"
    first, *rest = stderr[errors[0] :]
    text = re.sub(r"^.*?\b(error|fatal): +(query failed: ERROR: +)?", "", first, flags=re.IGNORECASE)
    for line in rest[:4]:
        if more := re.match(r"(?:pg_dump: )?(detail|hint): +(.*)", line, re.IGNORECASE):
            text += f" {more[1].upper()}: {more[2]}"
    return _short(text)


def _of_the_server(error: psycopg2.Error) -> str:
    said = error.diag
    text = _short(said.message_primary or "")
    if detail := said.message_detail:
        if error.pgcode in _QUOTES_A_ROW:
            detail = re.sub(r"\(.*\)", "(…)", detail, flags=re.DOTALL)
        elif error.pgcode in _QUOTES_A_KEY:
            detail = re.sub(r"=\(.*\)", "=(…)", detail, flags=re.DOTALL)
        text += f" DETAIL: {_short('; '.join(detail.splitlines()))}"
    if said.message_hint:
        text += f" HINT: {_short(said.message_hint)}"
    return text


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONG else f"{line[: _LONG - 1]}…"
