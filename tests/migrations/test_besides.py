"""Steps that do more than statements: seen and named by a plan, which comes to an end."""

import socket
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.databases import query, scratch_database
from tests.support.library import HEAD, alembic, plant
from tests.support.planning import plan_of, printed
from tests.support.schema import revision

STEP = "0000000000a1"
WHERE = f"at migrations/versions/planted_{STEP}.py:10"
BESIDES = {
    "a sleep": ("time.sleep(600)", f"waits 600 s {WHERE}"),
    "a print": ("print('working on it')", f"prints {WHERE}"),
    "a program": ("__import__('subprocess').run(['true'])", f"starts the program true {WHERE}"),
}


@pytest.mark.parametrize("how", BESIDES)
def test_a_plan_names_what_a_step_does_besides(shelved: str, library: Path, how: str) -> None:
    body, said = BESIDES[how]
    plant(library, STEP, body)
    began = time.monotonic()
    made = plan_of(shelved, library)
    assert made.steps[0].besides == [said]
    assert f"besides: {said}" in printed(made)
    assert time.monotonic() - began < 300


@pytest.mark.parametrize("command", ["lint", "graph", "drift", "verify --rows 5", "squash 0000000000a1", "plan"])
def test_no_command_that_tries_steps_out_waits_for_one_that_sleeps(shelved: str, library: Path, command: str) -> None:
    file = plant(library, STEP, "__import__('time').sleep(600)", downgrade="sleep(600)")
    file.write_text(f"from time import sleep\n{file.read_text()}")
    with scratch_database(shelved) as database:
        alembic(database, "stamp", HEAD if command == "plan" else "head", project=library)
        began = time.monotonic()
        finished = alembic(database, *command.split(), project=library)
    assert finished.returncode in (0, 12), finished.stderr
    assert time.monotonic() - began < 300


def test_a_plan_names_whom_a_step_connects_to(shelved: str, library: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        host, port = server.getsockname()
        plant(library, STEP, f"__import__('socket').create_connection(('{host}', {port})).close()")
        [said] = plan_of(shelved, library).steps[0].besides
    assert said == f"connects to {host}:{port} {WHERE}"


def test_a_step_of_statements_alone_has_nothing_besides(shelved: str, library: Path) -> None:
    plant(library, STEP, "op.execute('CREATE INDEX ON books (title)')")
    assert plan_of(shelved, library).steps[0].besides == []


# Statements that go past SQLAlchemy, and imports that fail.
RAW = {
    "COPY by the driver": """
    import io
    cursor = op.get_bind().connection.cursor()
    cursor.copy_expert("COPY authors (name, secret) FROM STDIN", io.StringIO("a\\tb\\n"))""",
    "executemany by the driver": """
    cursor = op.get_bind().connection.cursor()
    cursor.executemany("INSERT INTO authors (name, secret) VALUES (%s, %s)", [("a", "b"), ("c", "d")])""",
}


@pytest.mark.parametrize("how", RAW)
def test_rows_by_the_drivers_own_cursor_are_the_steps(shelved: str, library: Path, how: str) -> None:
    plant(library, STEP, RAW[how])
    with scratch_database(shelved) as database:
        [step] = plan_of(database, library).steps
        assert step.error is None, step
        assert [touch.table for statement in step.statements for touch in statement.touches][:1] == ["authors"]
        assert alembic(database, "upgrade", "head", project=library).returncode == 0
        assert revision(database) == STEP
        assert query(database, "SELECT count(*) > 0 FROM authors") == [(True,)]


@pytest.mark.parametrize("line", ["import no_such_application", "from tangga import no_such_name", "1 / 0"])
def test_a_file_whose_imports_fail_is_named(shelved: str, library: Path, line: str) -> None:
    file = plant(library, STEP, "pass")
    file.write_text(f"{line}\n{file.read_text()}")
    for command in ("plan", "upgrade head", "log"):
        finished = alembic(shelved, *command.split(), project=library)
        assert finished.returncode != 0
        assert f"planted_{STEP}.py" in finished.stderr, command
    assert revision(shelved) == HEAD
