"""Stacks for the outermost tier: a copy of the tree, a project name and a port of its own, driven by make and docker."""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import httpx2
import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from tests.databases import PATIENCE, eventually
from tests.migrations.staircase import HEAD
from tests.stack.browser import Browser

REPOSITORY = Path(__file__).parents[2]
OWNER = "tangga_owner"


# Below those that the kernel gives to clients: a port that is free now is bound much later, and again at each start.
# Each worker of pytest-xdist has a range of its own, and so has a second session, which names its stacks otherwise.
PREFIX = os.environ.get("STACK_PREFIX", "tangga-s")
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_FIRST_PORT = int(os.environ.get("STACK_PORTS", "15000")) + 1_500 * _WORKER
_ports = iter(range(_FIRST_PORT, _FIRST_PORT + 1_500))


def free_port() -> int:
    for port in _ports:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port is free")


@pytest.fixture(scope="session", autouse=True)
def engine() -> Iterator[TextIO]:
    """The engine, shared with the other workers: a lock that each holds until its last test is done."""
    with (Path(tempfile.gettempdir()) / "tangga-stack-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield lock


_STEP = '''"""{title}"""

import sqlalchemy as sa
from alembic import op

from tangga import safe

revision: str = "{revision}"
down_revision: str | None = "{after}"
branch_labels: str | None = None
depends_on: str | None = None
{attributes}

def upgrade() -> None:
    {up}


def downgrade() -> None:
    {down}
'''

# A module that takes minutes and begins last has one worker wait for the others.
_LONGEST = (
    "test_deploy",
    "test_docs",
    "test_backup",
    "test_db_upgrade",
    "test_failures",
    "test_under_load",
    "test_bench",
)
# Modules that share the stack in production, and so a worker.
_IN_PRODUCTION = {"test_deploy", "test_proxy", "test_proxy_requests"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: n for n, name in enumerate(_LONGEST)} | {"test_swarm": 1000}  # it waits for the others' end
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))
    shared = {item.path.stem for item in items if "production" in getattr(item, "fixturenames", ())}
    assert shared <= _IN_PRODUCTION, "each worker would have a stack in production"


class _ByStack(LoadScopeScheduling):  # type: ignore[misc]
    """One worker has all tests of a module, and of those modules that share a stack."""

    def _split_scope(self, nodeid: str) -> str:
        module = Path(nodeid.partition("::")[0]).stem
        return "production" if module in _IN_PRODUCTION else module


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> _ByStack:
    return _ByStack(config, log)


class Stack:
    """One stack, from outside: what a person types, and what the engine says of it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.verify = True
        self.env = {
            k: v for k, v in os.environ.items() if not k.startswith(("COMPOSE_", "DB_", "API_", "MAKE", "MFLAGS"))
        }
        self.env |= {"COMPOSE_PROJECT_NAME": name, "API_PORT": str(self.port)}

    def in_production(self, **settings: str) -> None:
        """Choose the overlay for production, in .env, as operators do. Its certificate is of its own making."""
        self.ok("scripts/prepare/env.sh")
        for name, value in {
            "COMPOSE_FILE": "compose.yaml:compose.prod.yaml",
            "HTTP_PORT": str(free_port()),
            "HTTPS_PORT": str(free_port()),
            **settings,
        }.items():
            self.set_env_file(name, value)
        self.url, self.verify = f"https://localhost:{self.setting('HTTPS_PORT')}", False

    def run(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the stack's folder; stdout and stderr together, no terminal."""
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                printed, _ = process.communicate(timeout=3600)
            except BaseException:  # a time-out, Ctrl-C
                # What it has started, too: nothing of it may go on into the next test.
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return subprocess.CompletedProcess(command, process.returncode, printed)

    def ok(self, *command: str, **env: str) -> str:
        """Run a command that must succeed; return what it printed."""
        result = self.run(*command, **env)
        assert result.returncode == 0, f"{' '.join(command)} -> {result.returncode}\n{result.stdout}"
        return result.stdout

    def make(self, *arguments: str, **env: str) -> str:
        return self.ok("make", *arguments, **env)

    def compose(self, *arguments: str, **env: str) -> str:
        return self.ok("docker", "compose", *arguments, **env)

    def in_database(self, *command: str) -> str:
        """Run a program in the database's container, as `docker compose exec -T db` does in twice the time."""
        # Debian's psql and pg_dump are programs that look for the newest version, in twice the time again.
        path = 'PATH=/usr/lib/postgresql/$PG_MAJOR/bin:$PATH exec "$@"'
        return self.ok("docker", "exec", f"{self.name}-db-1", "sh", "-c", path, "sh", *command)

    def sql(self, query: str, user: str = OWNER) -> str:
        return self.in_database(
            "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-U", user, "-d", "tangga", "-c", query
        ).strip()

    @contextmanager
    def session(self, statement: str, user: str = OWNER) -> Iterator[None]:
        """A session of the database that has run a statement, and stays open until the end of the block."""
        # By TCP, so that others see where it comes from.
        psql = ("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", user, "-d", "tangga")
        password = self.setting("DB_OWNER_PASS" if user == OWNER else "DB_PASS")
        with subprocess.Popen(
            ["docker", "compose", "exec", "-T", "--env", f"PGPASSWORD={password}", "db", *psql],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdin
            assert process.stdout
            process.stdin.write(f"{statement};\n\\echo done\n")
            process.stdin.flush()
            # Null, whatever functions return, is an empty line.
            assert any(line == "done\n" for line in process.stdout), f"{statement}: the session has ended"
            try:
                yield
            finally:
                process.stdin.close()

    def container(self, service: str) -> str:
        """Return the ids of a service's containers, a line each, as `docker compose ps --all --quiet` does."""
        labels = (f"project={self.name}", f"service={service}", "oneoff=False")
        filters = [word for label in labels for word in ("--filter", f"label=com.docker.compose.{label}")]
        return self.ok("docker", "ps", "--all", "--quiet", "--no-trunc", *filters).strip()

    def inspect(self, service: str, template: str) -> str:
        return self.ok("docker", "inspect", "--format", template, self.container(service)).strip()

    def schema(self, user: str = OWNER) -> str:
        """The whole schema as text, without the random \\restrict key that newer pg_dump versions print."""
        dump = self.in_database("pg_dump", "--schema-only", "-U", user, "tangga")
        return "\n".join(line for line in dump.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))

    def plant(
        self, revision: str, up: str, down: str = "pass", *, after: str = HEAD, title: str = "", attributes: str = ""
    ) -> Path:
        """Write a step with these bodies after the head, or after another step; again: in its place."""
        file = self.folder / f"migrations/versions/20991231_0000_{revision}_planted.py"
        title = title or f"planted {revision}"
        file.write_text(
            _STEP.format(revision=revision, up=up, down=down, after=after, title=title, attributes=attributes)
        )
        return file

    def revision(self) -> str:
        return self.sql("SELECT version_num FROM alembic_version")

    def steps(self) -> list[Path]:
        return sorted((self.folder / "migrations/versions").glob("*.py"))

    def setting(self, name: str) -> str:
        """What .env gives a variable, else what its manual says of the default."""
        lines = (self.folder / ".env").read_text().splitlines()
        found = [line.partition("=")[2] for line in lines if line.startswith((f"{name}=", f"#{name}="))]
        return found[-1]

    def set_env_file(self, name: str, value: str) -> None:
        """Change one variable in .env, as an operator would."""
        file = self.folder / ".env"
        lines = [line for line in file.read_text().splitlines() if not line.startswith(f"{name}=")]
        file.write_text("\n".join([*lines, f"{name}={value}", ""]))

    @contextmanager
    def changed_env_file(self, **settings: str) -> Iterator[None]:
        """Settings in .env that are taken back at the end."""
        before = (self.folder / ".env").read_text()
        for name, value in settings.items():
            self.set_env_file(name, value)
        try:
            yield
        finally:
            (self.folder / ".env").write_text(before)

    def get(self, path: str) -> httpx2.Response:
        return httpx2.get(f"{self.url}{path}", timeout=PATIENCE, verify=self.verify)

    def log_in(self, email: str = "user@example.com") -> dict[str, str]:
        """Register (if need be) and log in; return the header that routes ask for."""
        options: dict[str, Any] = {"timeout": PATIENCE, "verify": self.verify}
        httpx2.post(f"{self.url}/users", json={"email": email, "password": "rahasia-123"}, **options)
        answer = httpx2.post(f"{self.url}/login", data={"username": email, "password": "rahasia-123"}, **options)
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def remove(self) -> None:
        """Remove what there is of this stack, images too; nobody waits for a server to stop."""
        mine = ("--filter", f"label=com.docker.compose.project={self.name}")
        for kind in ("container", "network", "volume", "image"):
            every = ["--all"] if kind == "container" else []
            if found := set(self.ok("docker", kind, "ls", "--quiet", *every, *mine).split()):
                self.ok("docker", kind, "rm", "--force", *found)


def copy_tree(folder: Path) -> None:
    """Copy what a clone under umask 077 would have: tracked files, and new ones that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (source := REPOSITORY / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name)
            (folder / name).chmod(source.stat().st_mode & 0o700)
    for path in folder.rglob("*/"):
        path.chmod(0o700)


@pytest.fixture(scope="session")
def make_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Stack]]:
    """Make stacks, not yet started; all are removed at the end."""
    made: list[Stack] = []

    def make(name: str) -> Stack:
        folder = tmp_path_factory.mktemp(name)
        copy_tree(folder)
        made.append(Stack(folder, f"{PREFIX}-{name}"))
        return made[-1]

    yield make
    for stack in made:
        stack.remove()


@pytest.fixture(scope="module")
def stack(make_stack: Callable[[str], Stack], request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A running stack for the tests of one module."""
    stack = make_stack(request.module.__name__.rpartition(".")[2].removeprefix("test_").replace("_", "-"))
    stack.make("up")
    yield stack
    stack.remove()


@pytest.fixture(scope="session")
def production(make_stack: Callable[[str], Stack]) -> Stack:
    """A running stack behind its proxy, for the tests of several modules: each leaves it as it was."""
    stack = make_stack("production")
    stack.in_production()
    stack.make("up")
    _started.append(stack)
    return stack


_started: list[Stack] = []  # in production, until its last test


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """Remove the stack in production after the last of its modules: to look after its replicas costs the others."""
    if _started and (nextitem is None or nextitem.path.stem not in _IN_PRODUCTION):
        _started.pop().remove()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    program = subprocess.run([REPOSITORY / "scripts/prepare/browser.sh"], stdout=subprocess.PIPE, text=True, check=True)
    with Browser(program.stdout.strip(), tmp_path) as browser:
        yield browser


def wait_for(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Wait until the condition holds. A failure names what did not happen."""
    assert eventually(condition, seconds), f"{what}: not within {seconds:.0f} s"


def killing_docker(folder: Path, when: str, first: str = "") -> str:
    """Return a PATH whose docker kills everything in its session at the command that contains `when`.

    Run the command behind `setsid --wait`. `first` is shell code that comes before; every other call goes through.
    """
    docker = folder / "docker"
    docker.write_text(
        "#!/bin/bash\n"
        "PATH=${PATH#*:}\n"
        f'if [[ "$*" == *{when!r}* ]]; then\n'
        f"  {first}\n"
        "  kill -9 $(ps -o pid= -s $(ps -o sid= -p $$) | grep -vw $$); exit 1\n"
        "fi\n"
        'exec docker "$@"\n'
    )
    docker.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"
