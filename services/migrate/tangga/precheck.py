"""`alembic upgrade head` on a database that is at head already: say so, without loading Alembic.

Loading Alembic, SQLAlchemy and every revision takes most of the time of such a run, and it is the run that every start
of the stack makes. This reads the heads from the text of the files and asks the database one question. Whatever is not
plainly "at head, nothing left over" goes to Alembic, which has the last word and the error messages.
"""

import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from tangga.catalogue.ours import LEFT_OVER, TO_MOVE

_REVISION = re.compile(r"^revision\b[^=\n]*= *[\"']([^\"'\n]+)[\"'] *$", re.MULTILINE)
_DOWN_REVISION = re.compile(r"^down_revision\b[^=\n]*= *(None|[\"'][^\"'\n]+[\"']) *$", re.MULTILINE)
# A head that another depends on has no row in alembic_version: Alembic knows which.
_DEPENDS_ON = re.compile(r"^depends_on\b[^=\n]*=(?! *None *$)", re.MULTILINE)
# What is left over, Alembic's run mends.
_QUESTION = f"SELECT pg_backend_pid(), array_agg(version_num), ({LEFT_OVER}) OR ({TO_MOVE}) FROM alembic_version"  # noqa: S608


def nothing_to_do(arguments: Sequence[str], folder: str, connect: Callable[[], Any]) -> bool:
    """Tell whether `alembic <arguments>` is an upgrade to head that has nothing to do; if so, say it on stderr.

    `folder` holds the revisions. `connect` returns a connection of psycopg2's, or None if it cannot.
    """
    if list(arguments) not in (["upgrade", "head"], ["upgrade", "heads"]):
        return False
    # First: where there is no database, or two heads in it, the files need not be read.
    connection = connect()
    if connection is None:
        return False
    try:
        found = _revisions(connection)
    except connection.Error:  # Alembic's run says what it is
        return False
    finally:
        connection.close()
    if found is None or len(found) != 1 or found != heads_of_files(folder):
        return False
    sys.stderr.write(f"migrate: the database is at {found[0]} (head): nothing to do\n")
    return True


def heads_of_files(folder: str) -> list[str]:
    """Return the heads of a folder of revisions; [] if a file is written in a way that only Python can read."""
    steps = steps_of_files(folder)
    return [revision for revision in steps if revision not in steps.values()]


def steps_of_files(folder: str) -> dict[str, str | None]:
    """Return each revision with the one below it; {} if a file is written in a way that only Python can read.

    {} too where Alembic has something to say: of an id that is there twice, of one that is missing, of a circle.
    """
    steps: dict[str, str | None] = {}
    try:
        names = [name for name in os.listdir(folder) if name.endswith(".py")]
        for name in names:
            with open(f"{folder}/{name}", encoding="utf-8") as file:
                text = file.read()
            revision, down = _REVISION.findall(text), _DOWN_REVISION.findall(text)
            if len(revision) != 1 or len(down) != 1 or revision[0] in steps or _DEPENDS_ON.search(text):
                return {}
            steps[revision[0]] = None if down[0] == "None" else down[0].strip("\"'")
    except (OSError, UnicodeDecodeError):
        return {}
    return steps if _hang_together(steps) else {}


def _hang_together(steps: dict[str, str | None]) -> bool:
    """Tell whether every step can be reached from a head, by steps that are there."""
    reached: set[str] = set()
    for head in steps.keys() - set(steps.values()):
        step: str | None = head
        while step is not None and step not in reached:
            if step not in steps:
                return False
            reached.add(step)
            step = steps[step]
    return len(reached) == len(steps)


def _revisions(connection: Any) -> list[str] | None:
    """Return the revisions in alembic_version; None if the database has something else to say."""
    with connection, connection.cursor() as cursor:
        # A new database has no such table. It is asked for, so that the server has no error to log.
        cursor.execute("SELECT to_regclass('alembic_version') IS NOT NULL")
        if cursor.fetchone() != (True,):
            return None
        cursor.execute(_QUESTION)
        pid, found, left_over = cursor.fetchone()
    # A pooler answers: it will not do for migrations, and Alembic's run says so.
    return None if left_over or pid != connection.info.backend_pid else found
