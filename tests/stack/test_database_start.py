"""The start of the database: a first one that is cut off is begun again, and every one leaves the roles as they should be.

Without an image of the API: nothing is migrated here.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.stack.conftest import OWNER, Stack, wait_for

APP = "tangga_app"


@pytest.fixture(scope="module")
def stack(make_stack: Callable[[str], Stack]) -> Iterator[Stack]:
    stack = make_stack("database-start")
    stack.ok("scripts/prepare/env.sh")
    stack.ok("scripts/prepare/images.sh")
    yield stack
    stack.remove()


def start(stack: Stack, **env: str) -> None:
    stack.compose("up", "--detach", "--wait", "db", **env)


def logs_in(stack: Stack, role: str, password: str) -> bool:
    variable = ("--env", f"PGPASSWORD={stack.setting(password)}")
    psql = ("psql", "-XqAt", "-h", "127.0.0.1", "-U", role, "-d", "tangga", "-c", "SELECT 1")
    return stack.run("docker", "compose", "exec", "-T", *variable, "db", *psql).returncode == 0


def test_what_is_mounted_can_be_read_by_containers(stack: Stack) -> None:
    """Under another umask nothing is to be said of it."""
    bundle = stack.folder / "ca.pem"
    bundle.write_text("")
    bundle.chmod(0o600)
    refused = stack.run("scripts/prepare/env.sh", DB_SSLROOTCERT=bundle.name)
    assert refused.returncode == 1
    assert f"error: DB_SSLROOTCERT={bundle.name} cannot be read by containers" in refused.stdout
    bundle.chmod(0o640)
    assert "chmod o+r ca.pem" in stack.run("scripts/prepare/env.sh", DB_SSLROOTCERT=bundle.name).stdout
    bundle.chmod(0o644)
    assert stack.ok("scripts/prepare/env.sh", DB_SSLROOTCERT=bundle.name) == ""
    for folder in ("services", "migrations"):
        for path in (stack.folder / folder).rglob("*"):
            assert path.stat().st_mode & 0o005 == (0o005 if path.is_dir() or path.stat().st_mode & 0o100 else 0o004)
    file = stack.folder / "services/postgres/roles.sql"
    file.chmod(0o640)
    assert "services and migrations made readable for containers" in stack.ok("scripts/prepare/env.sh")
    assert file.stat().st_mode & 0o777 == 0o644


# While initdb runs, by the engine's polite way and the other; while the server runs, and has no roles yet.
@pytest.mark.parametrize(
    ("moment", "end", "code"),
    [
        ("first-start", ("stop", "--time", "60"), "143"),
        ("first-start/PG_VERSION", ("kill",), "137"),
        ("postmaster.pid", ("kill",), "137"),
    ],
)
def test_a_first_start_that_was_cut_off_is_begun_again(
    stack: Stack, moment: str, end: tuple[str, ...], code: str
) -> None:
    stack.compose("down", "--volumes")
    stack.compose("up", "--no-start", "db")
    container = stack.container("db")
    there = ("docker", "exec", container, "bash", "-c", f"[[ -e $PGDATA/{moment} ]]")
    stack.ok("docker", "start", container)
    wait_for(lambda: stack.run(*there).returncode == 0, moment)
    stack.ok("docker", *end, container)
    assert stack.inspect("db", "{{.State.ExitCode}}") == code
    # Of those that are killed together, one may see the other go, and say so.
    cut_off = stack.compose("logs", "db")
    start(stack)
    assert logs_in(stack, OWNER, "DB_OWNER_PASS")
    assert logs_in(stack, APP, "DB_PASS")
    everything = stack.compose("logs", "db")
    assert everything.startswith(cut_off)
    assert not re.findall(r"^.*(?:ERROR|PANIC|error:).*$", everything.removeprefix(cut_off), re.M)


# What a server that was not killed has written is never thrown away, wherever it is found.
_VOLUMES = """
cd "$PGDATA"
again() { bash /etc/tangga/start.sh postgres -C port; }
mkdir first-start.whole && mv PG_VERSION base global pg_wal first-start.whole
again && [[ ! -e first-start.whole ]] && echo 'half moved: whole'
mv global/pg_control kept; again; mv kept global/pg_control
mv PG_VERSION kept; again; mv kept PG_VERSION
"""


def test_what_is_on_the_volume_is_completed_or_named_and_never_thrown_away(stack: Stack) -> None:
    start(stack)
    stack.sql("CREATE TABLE IF NOT EXISTS kept AS SELECT 42 AS answer")
    stack.compose("stop", "db")
    said = stack.compose("run", "--rm", "-T", "--no-deps", "--entrypoint", "bash", "db", "-c", _VOLUMES)
    assert "half moved: whole" in said
    assert "error: the database's volume lacks global/pg_control: its first start was cut off" in said
    assert re.search(r"error: the database's volume holds no database, but something: .*/base", said)
    assert len(re.findall(r"^   do: .*make clean", said, re.M)) == 2
    start(stack)
    assert stack.sql("SELECT answer FROM kept") == "42"


def settings(stack: Stack) -> str:
    columns = "rolname, rolconnlimit, setdatabase, setconfig"
    return stack.sql(
        f"SELECT string_agg(concat_ws(' ', {columns}), ', ' ORDER BY rolname, setdatabase) FROM pg_roles"
        " LEFT JOIN pg_db_role_setting ON setrole = pg_roles.oid WHERE rolname IN ('tangga_app', 'tangga_owner')"
    )


@pytest.mark.parametrize(
    "way",
    [("restart", "db"), ("exec", "-T", "db", "bash", "/etc/tangga/start.sh", "roles")],
    ids=["restart", "make up"],
)
def test_every_start_gives_the_roles_their_settings_back(stack: Stack, way: tuple[str, ...]) -> None:
    """And so does `make up`, which runs the second one."""
    start(stack)
    before = settings(stack)
    password = stack.sql("SELECT rolpassword FROM pg_authid WHERE rolname = 'tangga_app'", "postgres")
    # What a role may do to itself, and what only the superuser could do to it.
    stack.sql("ALTER ROLE tangga_app SET search_path = nothere", APP)
    stack.sql("ALTER ROLE tangga_app IN DATABASE tangga SET default_transaction_read_only = on", APP)
    stack.sql("ALTER ROLE tangga_owner SET lock_timeout = '1ms'")
    stack.sql("ALTER ROLE tangga_app CONNECTION LIMIT 1", "postgres")
    assert settings(stack) != before
    with stack.session("SELECT 1", APP):
        stack.compose(*way)
        start(stack)
        # Whoever began with those settings would go on with them.
        assert stack.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'tangga_app'") == "0"
    assert settings(stack) == before
    assert stack.sql("SELECT rolpassword FROM pg_authid WHERE rolname = 'tangga_app'", "postgres") == password


def test_others_get_in_when_the_app_has_all_that_it_may(stack: Stack) -> None:
    small = stack.folder / "small.yaml"
    small.write_text("services: { db: { command: [postgres, -c, max_connections=12] } }\n")
    start(stack, COMPOSE_FILE=f"compose.yaml:{small.name}")
    with ExitStack() as sessions:
        for _ in range(4):  # 12, less 3 of the superuser and 5 that are kept
            sessions.enter_context(stack.session("SELECT 1", APP))
        assert not logs_in(stack, APP, "DB_PASS")
        for _ in range(4):
            sessions.enter_context(stack.session("SELECT 1"))
        assert logs_in(stack, OWNER, "DB_OWNER_PASS")


def test_up_says_what_is_wrong_with_the_roles(stack: Stack) -> None:
    quick = stack.folder / "quick.yaml"
    quick.write_text("services: { db: { healthcheck: { interval: 1s, retries: 1, start_period: 1s } } }\n")
    refused = stack.run("make", "up", COMPOSE_FILE=f"compose.yaml:{quick.name}", EXTENSIONS="pg_trgm, no_such_thing")
    assert refused.returncode != 0
    said = r'^error: the database did not become healthy: roles\.sql:\d+: extension "no_such_thing" is not available$'
    assert re.search(said, refused.stdout, re.M), refused.stdout
    assert re.search(r"^   do: correct EXTENSIONS in \.env, .*POSTGRES_PACKAGES", refused.stdout, re.M)
    # All or nothing, and whoever is connected is served.
    assert stack.sql("SELECT count(*) FROM pg_extension WHERE extname = 'pg_trgm'") == "0"
