"""Every make target does what its line of the help says."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import PATIENCE
from tests.migrations.staircase import HEAD
from tests.stack.conftest import Stack, wait_for

HOSTILE = [
    'it\'s "quoted", costs $5, $HOME, $$ and ${PATH}, 100% done %s %(here)s',
    "; touch /tmp/tangga-semicolon; `touch /tmp/tangga-backtick` and $(touch /tmp/tangga-dollar) #",
    'three """ quotes, a back\\slash, and at the end a quote"',
]


@pytest.fixture
def keep_steps(stack: Stack) -> Iterator[None]:
    """Whatever the test adds to migrations/versions is gone afterwards."""
    before = set(stack.steps())
    yield
    for file in set(stack.steps()) - before:
        file.unlink()


def new_step(stack: Stack, before: list[Path]) -> Path:
    (file,) = set(stack.steps()) - set(before)
    return file


def test_help_names_every_target_and_its_arguments(stack: Stack) -> None:
    printed = stack.make()
    makefile = (stack.folder / "Makefile").read_text()
    targets = set(re.findall(r"^\.PHONY: (.+)$", makefile, re.M))
    names = {name for line in targets for name in line.split() if not name.startswith(".")}
    documented = set(re.findall(r"^  ([a-z-]+)", printed, re.M))
    assert documented == names
    for required in (
        "up down restart ps logs build clean migrate rollback upgrade downgrade revision history current heads show check",
        "plan migration-lint compat restore-data verify graph squash reparent under-load bench loadtest",
        "backup backups backup-verify restore restore-confirm restore-undo db-upgrade",
        "sql stamp merge psql shell dev lint format test test-unit test-api test-migrations test-stack",
    ):
        assert names >= set(required.split())
    # An argument that a recipe reads is named in its help.
    for name, text, recipe in re.findall(r"^([a-z-]+):[^\n#]*## ([^\n]*)\n((?:\t.*\n)+)", makefile, re.M):
        for variable in set(re.findall(r"\$\$\{?(m|to|from|r|s|f|at|ref|rows|page|rounds|minutes)\b", recipe)) | set(
            re.findall(r"\$\(if \$\((\w+)\)", recipe)
        ):
            assert f"{variable}=" in text, f"make {name} reads {variable}, its help does not name it"


@pytest.mark.usefixtures("keep_steps")
@pytest.mark.parametrize("message", HOSTILE)
def test_revision_takes_any_message_as_text(stack: Stack, message: str) -> None:
    before = stack.steps()
    stack.make("revision", f"m={message}")
    file = new_step(stack, before)
    code = file.read_text()
    namespace: dict[str, object] = {}
    exec(compile(code.split("import sqlalchemy")[0], file.name, "exec"), namespace)
    assert str(namespace["__doc__"]).splitlines()[0] == message
    assert (file.stat().st_uid, file.stat().st_gid) == (os.getuid(), os.getgid())
    assert re.fullmatch(r"\d{8}_\d{4}_[0-9a-f]{12}_\w+\.py", file.name)
    assert not any(Path(f"/tmp/tangga-{what}").exists() for what in ("backtick", "dollar", "semicolon")), (
        "it was executed"
    )
    stack.make("migrate")
    stack.make("rollback")


@pytest.mark.usefixtures("keep_steps")
def test_revision_from_the_models(stack: Stack) -> None:
    before = stack.steps()
    assert "no file was written" in stack.make("revision", "m=nothing to do", "auto=1")
    assert stack.steps() == before

    models = stack.folder / "services/api/db/models.py"
    text = models.read_text()
    models.write_text(
        text.replace(
            "    no_hp: Mapped[str | None]\n", "    no_hp: Mapped[str | None]\n    catatan: Mapped[str | None]\n"
        )
    )
    stack.make("revision", "m=tambah catatan", "auto=1")
    file = new_step(stack, before)
    assert 'safe.add_column("posts", sa.Column("catatan", sa.String(), nullable=True))' in file.read_text()
    assert stack.compose("ps", "--quiet", "--all", "scratch") == ""
    assert stack.compose("run", "--rm", "--no-deps", "-T", "tools", "ruff", "format", "--check", "migrations")
    stack.make("migrate")
    stack.make("check")
    stack.make("rollback")
    models.write_text(text)


@pytest.mark.usefixtures("keep_steps")
def test_two_heads_are_merged(stack: Stack) -> None:
    for name in ("kiri", "kanan"):
        stack.compose("run", "--rm", "-T", "tools", "alembic", "revision", "--splice", "--head", HEAD, "-m", name)
    assert len(re.findall(r"\(head\)", stack.make("heads"))) == 2
    assert "several heads" in stack.run("make", "migrate").stdout
    stack.make("merge", "m=kiri dan kanan")
    stack.make("migrate")
    assert stack.make("heads").count("(head)") == 1
    stack.make("downgrade", f"to={HEAD}")
    assert stack.revision() == HEAD


def test_migrate_refuses_to_write_a_revision_that_would_be_lost(stack: Stack) -> None:
    result = stack.run("docker", "compose", "run", "--rm", "-T", "migrate", "alembic", "revision", "-m", "lost")
    assert result.returncode == 255
    assert "make revision" in result.stdout
    assert "Traceback" not in result.stdout


def test_show_sql_stamp(stack: Stack) -> None:
    assert "v4 add foreign-key to posts table" in stack.make("show", "r=af786b740296")
    sql = stack.make("sql", "from=28801a7e4404", "to=8c82b1632f52")
    assert "CREATE TABLE users" in sql
    assert "CREATE TABLE posts" not in sql
    assert "SET lock_timeout" in sql
    stack.make("stamp", "r=b25a1c6f7e13")
    assert stack.revision() == "b25a1c6f7e13"
    stack.make("stamp", "r=head")
    assert stack.revision() == HEAD
    assert "current" in stack.make("history")


@pytest.mark.parametrize("target", ["upgrade", "downgrade", "revision", "show", "stamp", "merge", "squash"])
def test_a_missing_argument_is_asked_for(stack: Stack, target: str) -> None:
    result = stack.run("make", target)
    assert result.returncode != 0
    assert f"make {target} " in result.stdout


def test_ps_and_restart(stack: Stack) -> None:
    assert "migrate" in stack.make("ps")
    before = stack.inspect("api", "{{.State.StartedAt}}")
    stack.make("restart")
    assert stack.inspect("api", "{{.State.StartedAt}}") != before
    wait_for(lambda: stack.run("curl", "-fs", f"{stack.url}/readyz").returncode == 0, "the API")


def test_psql_and_shell_take_commands(stack: Stack) -> None:
    for target, command, expected in (
        ("psql", "SELECT current_user;", "tangga_owner"),
        ("shell", "alembic heads", HEAD),
    ):
        result = subprocess.run(
            # `script` gives a terminal, as a person has.
            ["script", "--quiet", "--return", "--command", f"make {target}", "/dev/null"],
            cwd=stack.folder, env=stack.env, input=f"{command}\nexit\n", capture_output=True, text=True, timeout=2 * PATIENCE, check=False,
        )  # fmt: skip
        assert expected in result.stdout, result.stdout


def test_logs_follow_one_service(stack: Stack) -> None:
    printed = stack.folder / "printed.log"
    with printed.open("w") as output, subprocess.Popen(
        ["make", "logs", "s=migrate"], cwd=stack.folder, env=stack.env,
        stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
    ) as follower:  # fmt: skip
        try:
            wait_for(lambda: "migrate-1" in printed.read_text(), "the log")
            time.sleep(1)
        finally:
            os.killpg(follower.pid, signal.SIGTERM)
    assert "api-1" not in printed.read_text()
    printed.unlink()


def test_dev_reloads_on_a_change(stack: Stack) -> None:
    stack.make("down")
    with subprocess.Popen(
        ["make", "dev"], cwd=stack.folder, env=stack.env | {"DB_PUBLISHED_PORT": "0"}, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    ) as dev:  # fmt: skip

        def answers(what: str) -> bool:
            return what in stack.run("curl", "-fs", f"{stack.url}/").stdout

        try:
            wait_for(lambda: answers('"name":"Tangga"'), "the API")
            main = stack.folder / "services/api/main.py"
            changed = main.read_text().replace('title="Tangga"', 'title="Berubah"')

            def reloaded() -> bool:
                # The reloader takes its first look at the files a moment after the worker answers: saved once more,
                # a file is newer than that.
                main.write_text(changed)
                time.sleep(2)
                return answers('"name":"Berubah"')

            wait_for(reloaded, "the reload")
        finally:
            os.killpg(dev.pid, signal.SIGINT)
            dev.wait(timeout=PATIENCE)
    main.write_text(main.read_text().replace('title="Berubah"', 'title="Tangga"'))
