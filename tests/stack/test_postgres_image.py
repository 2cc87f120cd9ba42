"""The contract of the official PostgreSQL image, on whichever image is in use: the stand-in must honour it too."""

import hashlib
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.databases import PATIENCE
from tests.stack.conftest import PREFIX, REPOSITORY, Stack, wait_for


class Server:
    """One PostgreSQL container outside Compose."""

    def __init__(self, image: str) -> None:
        self.image = image
        self.name = f"{PREFIX}-contract"

    def docker(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=2 * PATIENCE, check=False)

    def start(self, *options: str, command: tuple[str, ...] = ()) -> None:
        result = self.docker("run", "--detach", "--name", self.name, *options, self.image, *command)
        assert result.returncode == 0, result.stderr

    def ready(self) -> None:
        wait_for(
            lambda: self.docker("exec", self.name, "pg_isready", "-q", "-h", "127.0.0.1").returncode == 0,
            "PostgreSQL",
        )

    def psql(self, query: str, user: str = "postgres", database: str = "postgres") -> str:
        result = self.docker("exec", self.name, "psql", "-XqAt", "-U", user, "-d", database, "-c", query)
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    def logs(self) -> str:
        result = self.docker("logs", self.name)
        return result.stdout + result.stderr

    def exit_code(self) -> int:
        wait_for(
            lambda: self.docker("inspect", "-f", "{{.State.Running}}", self.name).stdout.strip() == "false",
            "the end",
        )
        return int(self.docker("inspect", "-f", "{{.State.ExitCode}}", self.name).stdout)


@pytest.fixture(scope="module")
def stack(make_stack: Callable[[str], Stack]) -> Stack:
    stack = make_stack("contract")
    stack.ok("scripts/prepare/env.sh")
    stack.ok("scripts/prepare/images.sh")
    return stack


@pytest.fixture(scope="module")
def image(stack: Stack) -> str:
    named = re.search(r"^POSTGRES_IMAGE=(.+)$", (stack.folder / ".env").read_text(), re.M)
    default = re.findall(r"POSTGRES_IMAGE:-([^}]+)", (REPOSITORY / "compose.yaml").read_text())[0]
    return named[1] if named else str(default)


@pytest.fixture
def server(image: str) -> Iterator[Server]:
    server = Server(image)
    yield server
    server.docker("rm", "--force", "--volumes", server.name)


def test_user_password_database_and_initdb_files(server: Server, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "1.sql").write_text("CREATE TABLE from_sql AS SELECT current_user AS who, current_database() AS db;")
    (tmp_path / "2.sh").write_text('psql -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "CREATE TABLE from_sh ()"\n')
    subprocess.run(
        ["gzip", "-c"], input=b"CREATE TABLE from_gz ();", stdout=(tmp_path / "3.sql.gz").open("wb"), check=True
    )
    (tmp_path / "README").write_text("not run")
    server.start(
        "-e", "POSTGRES_USER=somebody", "-e", "POSTGRES_PASSWORD=p@ss'w%o$rd", "-e", "POSTGRES_DB=things",
        "-v", f"{tmp_path}:/docker-entrypoint-initdb.d:ro",
    )  # fmt: skip
    server.ready()
    assert server.psql("SELECT who, db FROM from_sql", "somebody", "things") == "somebody|things"
    assert (
        server.psql("SELECT count(*) FROM pg_class WHERE relname IN ('from_sh', 'from_gz')", "somebody", "things")
        == "2"
    )

    def over_tcp(password: str) -> int:
        return server.docker(
            "exec", "-e", f"PGPASSWORD={password}", server.name,
            "psql", "-h", server.docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", server.name).stdout.strip(),
            "-U", "somebody", "-d", "things", "-c", "SELECT 1",
        ).returncode  # fmt: skip

    assert over_tcp("p@ss'w%o$rd") == 0
    assert over_tcp("wrong") != 0

    server.docker("restart", server.name)
    server.ready()
    assert server.psql("SELECT count(*) FROM from_sql", "somebody", "things") == "1", "the files ran again"


def test_values_from_files(server: Server, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for name, value in (("user", "filed"), ("password", "from-a-file"), ("db", "filed_db")):
        (tmp_path / name).write_text(value)
    server.start(
        "-e", "POSTGRES_USER_FILE=/s/user", "-e", "POSTGRES_PASSWORD_FILE=/s/password", "-e", "POSTGRES_DB_FILE=/s/db",
        "-v", f"{tmp_path}:/s:ro",
    )  # fmt: skip
    server.ready()
    assert server.psql("SELECT current_user", "filed", "filed_db") == "filed"
    assert "from-a-file" not in server.logs()


def test_no_password_is_refused(server: Server) -> None:
    server.start()
    assert server.exit_code() == 1
    assert "POSTGRES_PASSWORD" in server.logs()


def test_both_forms_of_a_variable_are_refused(server: Server) -> None:
    server.start("-e", "POSTGRES_PASSWORD=x", "-e", "POSTGRES_PASSWORD_FILE=/etc/hostname")
    assert server.exit_code() == 1
    assert "POSTGRES_PASSWORD_FILE" in server.logs()


def test_a_failing_initdb_file_ends_the_container(server: Server, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "1.sql").write_text("SELECT no_such_function();")
    server.start("-e", "POSTGRES_PASSWORD=x", "-v", f"{tmp_path}:/docker-entrypoint-initdb.d:ro")
    assert server.exit_code() != 0
    assert "no_such_function" in server.logs()


def test_pgdata_elsewhere_and_server_options(server: Server) -> None:
    server.start(
        "-e", "POSTGRES_PASSWORD=x", "-e", "PGDATA=/var/lib/postgresql/data/deeper", command=("-c", "work_mem=5MB")
    )
    server.ready()
    assert server.psql("SHOW data_directory") == "/var/lib/postgresql/data/deeper"
    assert server.psql("SHOW work_mem") == "5MB"
    assert server.docker("exec", server.name, "stat", "-c", "%U", "/proc/1").stdout.strip() == "postgres"


@pytest.mark.parametrize("signal", ["SIGINT", "SIGTERM", "SIGQUIT"])
def test_signals_reach_the_server(server: Server, signal: str) -> None:
    server.start("-e", "POSTGRES_PASSWORD=x")
    server.ready()
    server.docker("kill", "--signal", signal, server.name)
    server.exit_code()
    said = {"SIGINT": "fast shutdown", "SIGTERM": "smart shutdown", "SIGQUIT": "immediate shutdown"}[signal]
    assert f"received {said} request" in server.logs()


def test_docker_stop_is_a_clean_shutdown(server: Server) -> None:
    server.start("-e", "POSTGRES_PASSWORD=x")
    server.ready()
    server.docker("stop", server.name)
    assert server.exit_code() == 0
    assert "database system is shut down" in server.logs()


def test_other_commands_are_run_as_they_are(server: Server) -> None:
    server.start(command=("echo", "hello"))
    assert server.exit_code() == 0
    assert server.logs().strip() == "hello"


def test_other_packages_are_another_stand_in(stack: Stack, image: str) -> None:
    """Built, it takes a minute; here it is there already."""
    plain, names = "localhost/tangga/postgres-stand-in:17-trixie-0", {}
    for major, release in (("15", "bookworm"), ("17", "trixie")):
        packages = f"postgresql-{major}-one\npostgresql-{major}-two\nthree\n"
        digest = hashlib.sha256(packages.encode()).hexdigest()[:8]
        names[major] = f"localhost/tangga/postgres-stand-in:{major}-{release}-{digest}"
    for name in (plain, *names.values()):
        stack.ok("docker", "image", "tag", image, name)
    try:
        with stack.changed_env_file(
            POSTGRES_IMAGE=plain, POSTGRES_PACKAGES="'three, postgresql-17-two postgresql-17-one'"
        ):
            stack.ok("scripts/prepare/images.sh")
            assert stack.setting("POSTGRES_IMAGE") == names["17"]
            # make db-upgrade takes them along.
            assert stack.ok("scripts/prepare/images.sh", "--postgres", "15").splitlines()[-1] == names["15"]
            stack.set_env_file("POSTGRES_IMAGE", "somebody/elses:17")
            stack.ok("docker", "image", "tag", image, "somebody/elses:17")
            refused = stack.run("scripts/prepare/images.sh")
            assert refused.returncode == 1
            assert (
                "error: POSTGRES_PACKAGES is for the stand-in, and somebody/elses:17 is an image of" in refused.stdout
            )
    finally:
        stack.run("docker", "image", "rm", plain, *names.values(), "somebody/elses:17")
