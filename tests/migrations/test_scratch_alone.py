"""A scratch server given by its URL alone: it is handed the live database's password, and keeps nothing of it."""

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from unittest import mock

import pytest
from sqlalchemy import text

from tangga.exits import SCRATCH_FAILED, WRONG_SETTING, Stop
from tangga.scratch import server as scratch_server
from tangga.scratch.password import handed_over
from tangga.scratch.server import Scratch
from tangga.settings import ScratchSettings, address_of
from tests.databases import query, template, url
from tests.migrations.proving import project_of
from tests.support.library import FOLDER

MEMBER, PASSWORD = "h r", r"a:b@c/d\e $HOME 'f' %41"


@pytest.fixture
def alone(shelved: str) -> Scratch:
    """One whose machine does not know the live database's users: of the library's, which has rows and steps."""
    project = project_of(FOLDER, shelved)
    project.scratch = ScratchSettings(address_of(url(template(), "superuser")))
    return Scratch(project)


@pytest.fixture
def member(shelved: str) -> Iterator[str]:
    """A role whose name and password need every kind of escape; it may read what the owner may."""
    query(shelved, f'CREATE ROLE "{MEMBER}" LOGIN IN ROLE tangga_owner', role="superuser")
    query(shelved, f'ALTER ROLE "{MEMBER}" PASSWORD %s', PASSWORD, role="superuser")
    query("postgres", f'GRANT CONNECT ON DATABASE postgres TO "{MEMBER}"', role="superuser")
    yield MEMBER
    query("postgres", f'DROP OWNED BY "{MEMBER}"', role="superuser")
    query(shelved, f'DROP OWNED BY "{MEMBER}"; DROP ROLE "{MEMBER}"', role="superuser")


def test_the_live_schema_is_copied_for_a_user_with_any_password(alone: Scratch, member: str) -> None:
    with_url = alone._settings.url.set(username=member, password=PASSWORD)
    alone._settings, alone._owner = replace(alone._settings, url=with_url), member
    with alone.copy_of_live() as engine, engine.connect() as copy:
        assert copy.scalar(text("SELECT count(*) FROM books")) == 0
        assert copy.scalar(text("SELECT current_user")) == member
    assert any("CREATE TABLE public.books" in line for line in alone.dump_live())
    # With another password it is not: the one that was handed over was needed.
    alone._settings = replace(alone._settings, url=with_url.set(password="another"))
    with pytest.raises(Stop, match="password authentication failed") as stop:
        alone.dump_live()
    assert stop.value.code == SCRATCH_FAILED


def test_a_password_in_the_query_of_the_url_is_handed_over_too(alone: Scratch) -> None:
    at = alone._settings.url
    password = str(at.password)
    alone._settings = replace(alone._settings, url=at.set(password=None).update_query_dict({"password": password}))
    with mock.patch.object(alone, "_program", wraps=alone._program) as program:
        assert any("CREATE TABLE public.books" in line for line in alone.dump_live())
    assert password not in str(program.mock_calls)


def test_only_the_server_reads_it_and_nothing_is_left(alone: Scratch) -> None:
    files = "find /tmp -name 'tangga-*' -printf '%m %s\\n'"
    assert alone._program(files, "") == []
    with alone._server.connect() as server, handed_over(server, PASSWORD) as printing:
        assert alone._program(files, "") == [f"600 {len(PASSWORD) + 1}"]
        assert alone._program(f'printf %s "{printing}"', "") == [PASSWORD]
        assert alone._program(files, "") == []
    # Whoever fails before it was read leaves nothing either.
    with pytest.raises(KeyError), alone._server.connect() as server, handed_over(server, PASSWORD):
        raise KeyError
    assert alone._program(files, "") == []


def test_it_is_in_no_log_and_no_process_list(alone: Scratch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "sqlalchemy.dialects.postgresql")  # where it puts what the server notes
    # A test before this one may have configured logging, which puts others' loggers out.
    logging.getLogger("sqlalchemy.dialects.postgresql").disabled = False
    with alone._server.connect() as server:
        driver = server.connection.driver_connection
        assert driver is not None
        server.execute(text("SET log_statement = 'all'"))
        server.execute(text("SET log_min_duration_statement = 0"))
        server.execute(text("SET client_min_messages = 'log'"))  # what goes to the log comes here, too
        # What is looked for can be seen.
        server.execute(text("SELECT :password"), {"password": PASSWORD})
        assert "$HOME" in caplog.text
        caplog.clear()
        with handed_over(server, PASSWORD) as printing:
            # As the dump reads it: the shell that has it in its environment is in the list.
            listing = r"cat /proc/[0-9]*/cmdline | tr '\0' ' '"
            ran = alone._program(f"PGPASSWORD={printing}; export PGPASSWORD; {listing}", "")
        logged = caplog.text + "".join(driver.notices)
    assert "TO PROGRAM" in logged
    assert "$HOME" not in logged
    assert "PGPASSWORD=$(cat /tmp/tangga-" in "".join(ran)
    assert "$HOME" not in "".join(ran)


def test_a_user_who_is_no_superuser_there_is_refused(member: str) -> None:
    project = project_of(FOLDER)
    project.scratch = ScratchSettings(address_of(url(template())).set(username=member, password=PASSWORD))
    with pytest.raises(Stop) as stop:
        Scratch(project).dump_live()
    assert stop.value.what.startswith(f"{member} is no superuser of the scratch server")
    assert stop.value.code == WRONG_SETTING
    assert "pg_dump and psql" in stop.value.remedy


def test_a_server_that_lets_nobody_in_is_not_taken_for_the_live_one(alone: Scratch) -> None:
    project = project_of(FOLDER)
    project.scratch = ScratchSettings(alone._scratch.url.set(password="wrong"))
    with pytest.raises(Stop, match=r"^the scratch server at .* lets nobody in: .* authentication failed") as stop:
        Scratch(project).dump_live()
    assert stop.value.code == SCRATCH_FAILED


def test_a_server_without_pg_dump_is_refused(alone: Scratch) -> None:
    lacking = scratch_server._MISSING.replace("pg_dump", "no-pg_dump")
    with mock.patch.object(scratch_server, "_MISSING", lacking), pytest.raises(Stop) as stop, alone.database():
        pass
    assert stop.value.what == "the scratch server's machine lacks no-pg_dump"
    assert stop.value.code == WRONG_SETTING


def test_an_address_that_is_right_only_here_is_explained(alone: Scratch) -> None:
    alone._be_ready()
    alone._settings = replace(alone._settings, url=alone._settings.url.set(host="127.0.0.9", port=1))
    with pytest.raises(Stop, match="connection to server at") as stop:
        alone.dump_live()
    assert stop.value.remedy == "the scratch server itself reads the live one: 127.0.0.9:1 must be right there too"
    assert os.environ["DB_OWNER_PASS"] not in stop.value.what


def test_steps_run_there_with_the_rights_of_the_live_databases_user(alone: Scratch) -> None:
    with alone.database() as engine, engine.connect() as connection:
        assert connection.scalar(text("SELECT current_user")) == "tangga_owner"
        assert connection.scalar(text("SELECT session_user")) == os.environ["POSTGRES_USER"]
        assert connection.scalar(text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")) is False
