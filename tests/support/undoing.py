"""Steps down in the library: what they would lose, and what comes back."""

import json
import os
from pathlib import Path
from unittest import mock

import pytest
from psycopg2 import sql

from tangga import cli
from tangga.exits import WOULD_LOSE_DATA
from tests.databases import PROJECT, owner_environment, query
from tests.support.library import FOLDER, migrate, plant
from tests.support.plain_words import plain_words

STEP = "0000000000b1"
PACKAGE = {"PYTHONPATH": str(PROJECT / "services/migrate")}


def command(database: str, *arguments: str, project: Path = FOLDER) -> int:
    """Run one of our commands in this process and return its exit code."""
    with mock.patch.dict(os.environ, owner_environment(database)), plain_words():
        try:
            cli.main(["--config", str(project / "alembic.ini"), *arguments])
        except SystemExit as end:
            return int(end.code or 0)
    return 0


def losses(database: str, capsys: pytest.CaptureFixture[str], *to: str, project: Path = FOLDER) -> dict[str, int]:
    """Return what steps down would lose: rows by "kind table.columns"; checks the exit code."""
    capsys.readouterr()
    code = command(database, "losses", "--json", *to, project=project)
    printed = capsys.readouterr()
    assert code in (0, WOULD_LOSE_DATA), printed.err
    found = {
        f"{loss['kind']} {loss['table']} {','.join(name for name in loss['columns'] if name not in loss['key'])}": loss[
            "rows"
        ]
        for step in json.loads(printed.out)
        for loss in step["losses"]
    }
    assert code == (WOULD_LOSE_DATA if found else 0)
    return {name.removeprefix("public."): count for name, count in found.items()}


def contents(database: str) -> dict[str, list[str]]:
    """Return every value of every table, as text."""
    tables = query(
        database,
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        " AND relname NOT LIKE 'migration%' ORDER BY 1",
    )
    statement = "SELECT t::text FROM {} AS t ORDER BY 1"
    return {
        name: [row for (row,) in query(database, sql.SQL(statement).format(sql.Identifier(name)))] for (name,) in tables
    }


def there_and_back(database: str, library: Path = FOLDER, to: str = "") -> None:
    """Take back the planted step, or the last one, whose column holds something; and up again."""
    migrate(database, "downgrade", to or "-1", project=library)
    migrate(database, "upgrade", "head", project=library)


def planted(database: str, library: Path, downgrade: str, upgrade: str = "pass") -> None:
    """Plant a step, and go up to it."""
    plant(library, STEP, upgrade, downgrade=downgrade)
    migrate(database, "upgrade", "head", project=library)


def add_author(database: str, name: str) -> int:
    """Insert an author and return the id."""
    [(author,)] = query(database, "INSERT INTO authors (name, secret) VALUES (%s, 'x') RETURNING id", name)
    return int(author)
