"""Failures in one line with the cause, one with the remedy, and an exit code that says which kind it was."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import psycopg2
from alembic import context
from alembic.script.revision import MultipleHeads, ResolutionError
from alembic.util import CommandError
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from services.api.settings import MigrateSettings
from services.migrate.authoring import NotWritable
from services.migrate.constraints import NotValidated
from services.migrate.lock import LockNotObtained

# Documented in docs/authors.md. 1 and 2 are left to the interpreter and to argparse; 255 is Alembic's own.
STEP_FAILED = 3
LOCK_NOT_OBTAINED = 4
UNREACHABLE = 5
UNKNOWN_REVISION = 6
SEVERAL_HEADS = 7
ALEMBIC_REFUSES = 255


class Failure(NamedTuple):
    """What happened, what to do next, and the exit code."""

    what: str
    remedy: str
    code: int


@contextmanager
def reported_failures(settings: MigrateSettings) -> Iterator[None]:
    """End the program with a message instead of a traceback (MIGRATE_TRACEBACK=true shows both)."""
    try:
        yield
    except Exception as error:
        if settings.migrate_traceback:
            traceback.print_exc()
        failure = _explain(error, settings)
        sys.stderr.write(f"error: {failure.what}\n   do: {failure.remedy}\n")
        raise SystemExit(failure.code) from None


def _explain(error: Exception, settings: MigrateSettings) -> Failure:
    address = f"{settings.db_hostname}:{settings.db_port}"
    cause = error.__cause__
    if isinstance(error, LockNotObtained):
        return Failure(
            str(error), "wait for it to end, or end it; MIGRATE_LOCK_WAIT sets how long to wait", LOCK_NOT_OBTAINED
        )
    if isinstance(cause, MultipleHeads):
        heads = ", ".join(sorted(context.script.get_heads()))
        return Failure(
            f"several heads, so `head` is not one revision: {heads}",
            'join them with: make merge m="...", or go to one of them: make migrate to=...',
            SEVERAL_HEADS,
        )
    if isinstance(cause, ResolutionError):
        return _unknown_revision(cause.argument, settings)
    if isinstance(error, KeyError) and (missing := _missing_down_revision(error)):
        return Failure(
            f"can't locate revision {missing}, which a file in migrations/versions names as its down_revision",
            "bring the file of that revision back, or correct the name; make history shows the chain",
            UNKNOWN_REVISION,
        )
    if isinstance(error, NotValidated):
        return Failure(
            f"{error}: {_one_line(cause or error)}",
            "the step stands, and the constraint holds for new rows; correct the old ones, or wait until the table is "
            "free, then migrate again: that finishes it",
            STEP_FAILED,
        )
    if step := _running_step(error.__traceback__):
        return Failure(
            f"{step}: {_one_line(error)}",
            "mend the step, then run it again; it was rolled back, the steps before it stand",
            STEP_FAILED,
        )
    if isinstance(error, OperationalError) and isinstance(error.orig, psycopg2.OperationalError):
        return _no_connection(_one_line(error), settings, address)
    if isinstance(error, NotWritable):
        return Failure(
            str(error),
            "use the container that has it mounted: make revision, or docker compose run --rm tools alembic ...",
            ALEMBIC_REFUSES,
        )
    if isinstance(error, CommandError):
        behind = "not up to date" in str(error)
        return Failure(
            _one_line(error), "make migrate first" if behind else "see alembic --help, or make help", ALEMBIC_REFUSES
        )
    return Failure(_one_line(error), "MIGRATE_TRACEBACK=true in .env shows where", STEP_FAILED)


def _unknown_revision(revision: str, settings: MigrateSettings) -> Failure:
    if not context.is_offline_mode() and _database_is_at(revision, settings):
        return Failure(
            f"can't locate revision {revision}: the database is at it, but this image does not have it, "
            "so the image is older than the database",
            "deploy the image that has this revision, or downgrade from that image first",
            UNKNOWN_REVISION,
        )
    return Failure(
        f"can't locate revision {revision}",
        "make history lists the revisions",
        UNKNOWN_REVISION,
    )


def _database_is_at(revision: str, settings: MigrateSettings) -> bool:
    """Ask on a new connection: the one that migrated is closed by now."""
    engine = create_engine(settings.url, poolclass=NullPool, connect_args={"connect_timeout": 5})
    try:
        with engine.connect() as connection:
            return revision in connection.scalars(text("SELECT version_num FROM alembic_version")).all()
    except DBAPIError:
        return False


def _missing_down_revision(error: KeyError) -> str | None:
    """Alembic has no error of its own for this: building the map of revisions ends in a plain KeyError."""
    tb = error.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    in_map = tb is not None and tb.tb_frame.f_code.co_filename.endswith("alembic/script/revision.py")
    return str(error.args[0]) if in_map and error.args else None


def _no_connection(text: str, settings: MigrateSettings, address: str) -> Failure:
    if "password authentication failed" in text or 'role "' in text:
        return Failure(
            f"the database at {address} refuses {settings.db_username}: {text}",
            "the volume keeps the password of its first start: put that one back into .env, "
            "or change the role's (ALTER ROLE ... PASSWORD), or start over without the data (make clean)",
            UNREACHABLE,
        )
    return Failure(f"no database at {address}: {text}", "see: make ps, and: make logs s=db", UNREACHABLE)


def _running_step(tb: TracebackType | None) -> str | None:
    """Name the step whose code is in the traceback, with the line that failed."""
    found = None
    while tb is not None:
        file = Path(tb.tb_frame.f_code.co_filename)
        if file.parent.name == "versions":
            module = tb.tb_frame.f_globals
            title = (module.get("__doc__") or "").strip().partition("\n")[0]
            direction = tb.tb_frame.f_code.co_name
            step = f"step {module.get('revision')} ({title})" if "revision" in module else f"file {file.name}"
            where = f"{file.parent.parent.name}/versions/{file.name}:{tb.tb_lineno}"
            found = f"{step} failed in {direction} at {where}"
        tb = tb.tb_next
    return found


def _one_line(error: BaseException) -> str:
    """Return the first line of the message, with the server's DETAIL if it gave one. A password is never in either."""
    original = error.orig if isinstance(error, DBAPIError) and error.orig else error
    if isinstance(original, SyntaxError) and original.filename:
        return f"{original.msg} ({Path(original.filename).name}:{original.lineno})"
    lines = [line.strip() for line in str(original).splitlines() if line.strip()]
    text = lines[0] if lines else type(original).__name__
    detail = next((line for line in lines[1:] if line.startswith("DETAIL:")), "")
    prefix = "" if isinstance(original, psycopg2.Error | CommandError) else f"{type(original).__name__}: "
    return f"{prefix}{text} {detail}".strip()
