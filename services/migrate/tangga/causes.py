"""What an error says, in one line, and what to do about it where the words of it tell."""

import re

from alembic.util import CommandError

from tangga.connect import diagnosis, original, sqlstate
from tangga.exits import Stop
from tangga.remedies import say

_LONG = 300
# Their DETAIL quotes values of rows, and these lines end in logs and in migration_log: a password's hash among them.
_QUOTES_A_KEY = ("23503", "23505", "23P01")
_QUOTES_A_ROW = ("23502", "23514")
# What the server or one of its programs says -> the name of the remedy (remedies.py).
_REMEDIES = {
    r"permission denied to create extension|must be superuser to create this extension": "extension-denied",
    r"must be owner of extension": "extension-owned",
    r'extension "[^"]*" is not available|could not open extension control file': "extension-missing",
    r'permission denied to (create|alter|drop|grant) role|(CREATEROLE|admin option)|role "[^"]*" does not exist': (
        "role-denied"
    ),
    r"permission denied for (table|sequence|view|schema|function|large object)|must be owner of ": "not-owner",
}


def one_line(error: BaseException) -> str:
    """Return the first line of the message, with the server's DETAIL and HINT. A password is never in it.

    Values of rows that a DETAIL quotes are left out; MIGRATE_TRACEBACK shows the whole error.
    """
    if diagnosis(error):
        return _of_the_server(error)
    cause = original(error)
    if isinstance(cause, SyntaxError) and cause.filename and cause.lineno:
        return f"{cause.msg} ({cause.filename.rpartition('/')[2]}:{cause.lineno})"
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    text = lines[0] if lines else type(cause).__name__
    plain = isinstance(cause, CommandError | Stop) or hasattr(cause, "diag")  # a driver's error
    return text if plain else f"{type(cause).__name__}: {text}"


def remedy(text: str) -> str | None:
    """Return what to do about an error of PostgreSQL's or of its programs; None if its words do not tell."""
    name = next((name for pattern, name in _REMEDIES.items() if re.search(pattern, text, re.IGNORECASE)), None)
    return say(name) if name else None


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


def _of_the_server(error: BaseException) -> str:
    said = diagnosis(error)
    text = _short(said.message_primary or "")
    if detail := said.message_detail:
        if sqlstate(error) in _QUOTES_A_ROW:
            detail = re.sub(r"\(.*\)", "(…)", detail, flags=re.DOTALL)
        elif sqlstate(error) in _QUOTES_A_KEY:
            detail = re.sub(r"=\(.*\)", "=(…)", detail, flags=re.DOTALL)
        text += f" DETAIL: {_short('; '.join(detail.splitlines()))}"
    if said.message_hint:
        text += f" HINT: {_short(said.message_hint)}"
    return text


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONG else f"{line[: _LONG - 1]}…"
