"""tangga as a wheel, in environments of its own far from this repository: with the lowest and the newest versions of its
bounds, with psycopg2 and with psycopg (3), on a project whose own package is called `services` (tests/histories/foreign)."""

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest

from tangga.exits import UNPROVEN
from tests.databases import PATIENCE
from tests.stack.conftest import REPOSITORY, Stack

PACKAGE = REPOSITORY / "services/migrate"
UV = REPOSITORY / ".venv/bin/uv"
EXTRAS = ("lint", "draw")
OWNER, PASSWORD = "harbour master", r"a:b@c/d\e $HOME %41"


class Place(NamedTuple):
    """An environment with tangga in it, a copy of the foreign project, and where its databases are."""

    programs: Path
    project: Path
    urls: dict[str, str]

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{self.programs}:/usr/bin:/bin", "HOME": str(self.project), **self.urls}
        return subprocess.run(
            [self.programs / program, *arguments],
            cwd=self.project, env=environment, capture_output=True, text=True, timeout=2 * PATIENCE, check=False,
        )  # fmt: skip

    def tangga(self, *arguments: str, code: int = 0) -> str:
        finished = self.run("tangga", *arguments)
        assert finished.returncode == code, f"{arguments}: {finished.returncode}\n{finished.stdout}{finished.stderr}"
        return finished.stdout + finished.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build: list[str | Path] = [
        REPOSITORY / ".venv/bin/python",
        "-m",
        "hatchling",
        "build",
        "--target",
        "wheel",
        "--directory",
        folder,
    ]
    subprocess.run(build, cwd=PACKAGE, check=True, capture_output=True)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def server(make_stack: Callable[[str], Stack]) -> Iterator[Stack]:
    """A PostgreSQL, published on this machine: the live one and the one to try steps out on."""
    stack = make_stack("wheel")
    stack.ok("scripts/prepare/env.sh")
    stack.ok("scripts/prepare/images.sh")
    (stack.folder / "published.yaml").write_text(
        # On the same port inside: the server reads the live database, which is its own, at the same address as we do.
        f'services: {{ db: {{ networks: [published], ports: ["127.0.0.1:{stack.port}:{stack.port}"],'
        f' environment: {{ PGPORT: "{stack.port}" }} }} }}\n'
    )
    stack.env["COMPOSE_FILE"] = "compose.yaml:published.yaml"
    stack.compose("up", "--detach", "--wait", "db")
    yield stack
    stack.remove()


def _lowest(*extras: str) -> list[str]:
    """Return the package's bounds, each as its lowest version."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    bounds = [*project["dependencies"]]
    for extra in extras:
        bounds += project["optional-dependencies"][extra]
    return [bound.replace(">=", "==") for bound in bounds]


@pytest.fixture(
    params=[f"{versions} {driver}" for versions in ("lowest", "newest") for driver in ("psycopg2", "psycopg")]
)
def place(request: pytest.FixtureRequest, tmp_path: Path, wheel: Path, server: Stack) -> Place:
    versions, driver = request.param.split()
    extras = (*EXTRAS, driver)
    pins = _lowest(*extras) if versions == "lowest" else []
    environment = tmp_path / "venv"
    python = environment / "bin/python"
    subprocess.run([UV, "venv", "--quiet", "--no-project", "--python", "3.11", environment], cwd=tmp_path, check=True)
    install: list[str | Path] = [
        UV,
        "pip",
        "install",
        "--quiet",
        "--python",
        python,
        f"tangga[{','.join(extras)}] @ file://{wheel}",
        *pins,
    ]
    subprocess.run(install, cwd=tmp_path, check=True, env=os.environ)
    shutil.copytree(REPOSITORY / "tests/histories/foreign", tmp_path / "project")
    database = f"{versions}_{driver}"
    # Somebody whom the scratch server lets in only by the password that it is handed.
    server.sql(f"CREATE ROLE \"{OWNER}\" LOGIN PASSWORD '{PASSWORD}'" if not _is_there(server) else "", "postgres")
    server.sql(f'CREATE DATABASE {database} OWNER "{OWNER}"', "postgres")
    at = f"@127.0.0.1:{server.port}"
    urls = {
        "DATABASE_URL": f"postgresql+{driver}://{quote(OWNER)}:{quote(PASSWORD, safe='')}{at}/{database}",
        "SCRATCH_URL": f"postgresql+{driver}://postgres:{server.setting('POSTGRES_PASSWORD')}{at}/postgres",
    }
    return Place(environment / "bin", tmp_path / "project", urls)


def _is_there(server: Stack) -> bool:
    return server.sql(f"SELECT count(*) FROM pg_roles WHERE rolname = '{OWNER}'", "postgres") == "1"


def test_a_project_that_is_nobodys_is_served(place: Place) -> None:
    # Nothing of this repository can be imported, and the project's own package of that name can.
    for name in ("services.migrate", "services.api", "tests"):
        assert "ModuleNotFoundError" in place.run("python", "-c", f"import tangga, {name}").stderr
    assert place.run("python", "-c", "import services.models, tangga.cli").returncode == 0
    assert "restore-data" in place.tangga("--help")
    assert "make " not in place.tangga("--help")
    # Without a database.
    found = place.tangga("lint", code=12)
    assert re.search(r"^db/versions/2_berth\.py:\d+  require-concurrent-index-creation \(up\)$", found, re.M)
    assert "b0a7000001 -> b0a7000002 (head), berth" in place.tangga("history")
    # With one.
    assert "Running upgrade b0a7000001 -> b0a7000002, berth" in place.tangga("upgrade", "head")
    assert "at b0a7000002 | head b0a7000002 | nothing pending" in place.tangga("log")
    shown = place.tangga("graph")
    assert "berth │ text null" in shown
    assert "graphs/graph-steps.svg" in place.tangga("graph", "--svg")
    assert "No new upgrade operations" in place.tangga("check")
    # A step down keeps what it would lose, and gives it back.
    filled = "import os, sqlalchemy as sa; e = sa.create_engine(os.environ['DATABASE_URL']); c = e.connect(); "
    filled += "c.execute(sa.text(\"INSERT INTO boats VALUES (1, 'Bahari', 'east')\")); c.commit()"
    assert place.run("python", "-c", filled).returncode == 0
    assert "boats.berth" in place.tangga("losses", code=11)
    assert "saved boats.berth: 1 rows" in place.tangga("downgrade", "-1")
    assert "1 pending: alembic upgrade head" in place.tangga("log")
    # What is tried out is tried on the scratch server, with the live database's schema.
    planned = place.tangga("plan")
    assert "CREATE INDEX ix_boats_berth ON boats (berth)" in planned
    behind = place.tangga("drift", code=UNPROVEN)
    assert "not compared: the database is not at head, so the models were not compared" in behind
    assert "no drift between steps and database" in behind
    place.tangga("upgrade", "head")
    assert "boats.berth" in place.tangga("restore-data")
    assert re.search(r"^no drift: \d+ objects compared", place.tangga("drift"), re.M)
    verified = place.tangga("verify", "--rows", "5")
    assert "b0a7000002" in verified
    # The addresses may be given instead.
    given = ("--url", place.urls.pop("DATABASE_URL"), "--scratch", place.urls.pop("SCRATCH_URL"))
    assert "SCRATCH_URL or --scratch" in place.tangga("verify", *given[:2], code=2)
    assert "no drift: " in place.tangga("drift", *given)
    place.urls["DATABASE_URL"] = given[1]
    # What goes wrong is said in words that name nothing of ours.
    refused = place.tangga("upgrade", "nowhere", code=13)
    assert refused == "error: can't locate revision nowhere\n   do: tangga log lists the revisions\n"
