"""The scratch server says why a program that it ran has failed; a start leaves no error in the server's log."""

import functools
import os
from contextlib import closing
from dataclasses import replace
from typing import Any
from unittest import mock

import psycopg2
import pytest

from services.migrate import quick
from tangga import precheck
from tangga.exits import SCRATCH_FAILED, Stop
from tests.databases import owner_environment, query
from tests.migrations.proving import scratch
from tests.migrations.staircase import HEAD


@pytest.mark.parametrize(
    ("command", "cause"),
    [
        ("echo 'ERROR:  role \"x\" does not exist' >&2; exit 3", 'role "x" does not exist'),
        ("set -o pipefail; { echo a; echo 'pg_dump: error: no such luck' >&2; exit 1; } | cat", "no such luck"),
        ("set -o pipefail; echo a | { echo 'ERROR:  too\tmuch' >&2; exit 3; }", "too much"),
        ("no-such-program", "no-such-program: command not found"),
        ("exit 7", "it printed no cause"),
        ("seq 1 200000 >&2; echo 'FATAL:  at last' >&2; exit 1", "at last"),
    ],
)
def test_the_cause_is_what_the_program_printed(command: str, cause: str) -> None:
    with pytest.raises(Stop) as stop:
        scratch()._program(command, "it could not be done")
    assert stop.value.what.startswith("it could not be done: ")
    assert stop.value.what.endswith(cause)
    assert stop.value.code == SCRATCH_FAILED


def test_a_program_that_succeeds_may_print_what_it_likes() -> None:
    assert scratch()._program("echo 'ERROR:  of no importance' >&2; printf 'a\\n\\n%s\\n' 'b%'", "") == ["a", "", "b%"]


def test_a_live_database_that_cannot_be_dumped_is_explained(database: str) -> None:
    server = scratch(database)
    nowhere = replace(server._settings, url=server._settings.url.set(database="nowhere"))
    with mock.patch.object(server, "_settings", nowhere), pytest.raises(Stop) as stop:
        server.dump_live()
    assert stop.value.what.startswith("the schema of the live database could not be read: ")
    assert 'database "nowhere" does not exist' in stop.value.what
    assert os.environ["DB_OWNER_PASS"] not in stop.value.what


class _Noting(psycopg2.extensions.cursor):
    errors: list[str]

    def execute(self, *arguments: Any) -> None:
        try:
            super().execute(*arguments)
        except psycopg2.Error as error:
            self.errors.append(str(error))
            raise


def test_the_look_at_an_empty_database_is_no_error_in_the_servers_log(
    database: str, at_head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Noting, "errors", [], raising=False)
    monkeypatch.setattr(psycopg2, "connect", functools.partial(psycopg2.connect, cursor_factory=_Noting))
    for name, found in ((database, None), (at_head, [HEAD])):
        with mock.patch.dict(os.environ, owner_environment(name)), closing(quick.connect()) as connection:
            assert precheck._revisions(connection) == found
    query(database, "CREATE TABLE alembic_version (version_num varchar)")
    with mock.patch.dict(os.environ, owner_environment(database)), closing(quick.connect()) as connection:
        assert precheck._revisions(connection) is None
    assert _Noting.errors == []
