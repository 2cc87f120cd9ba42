"""What `make up` says on a machine that lacks something. The engine's own installation is shown by CI on a bare one."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.databases import PATIENCE
from tests.stack.conftest import Stack


@pytest.fixture
def bare(make_stack: Callable[[str], Stack], tmp_path: Path) -> Iterator[tuple[Stack, Path]]:
    """A fresh tree, and a PATH without docker on which programs can be planted."""
    stack = make_stack("bare")
    programs = tmp_path / "bin"
    programs.mkdir()
    for folder in ("/usr/bin", "/bin"):
        for program in Path(folder).iterdir():
            if not program.name.startswith("docker") and not (programs / program.name).exists():
                (programs / program.name).symlink_to(program)
    path = stack.env["PATH"]
    stack.env["PATH"] = str(programs)
    yield stack, programs
    stack.env["PATH"] = path


def plant(programs: Path, name: str, script: str) -> None:
    file = programs / name
    file.unlink(missing_ok=True)
    file.write_text(f"#!/bin/bash\n{script}\n")
    file.chmod(0o755)


def refused(stack: Stack, **env: str) -> str:
    result = stack.run("scripts/up.sh", **env)
    assert result.returncode == 1, result.stdout
    assert result.stdout.count("error:") == 1, result.stdout
    assert "   do: " in result.stdout
    assert not (stack.folder / ".env").exists(), "an effect before the checks"
    return result.stdout


def apt_sources() -> dict[str, bytes]:
    folder = Path("/etc/apt")
    return {
        str(file): file.read_bytes()
        for file in [*folder.glob("sources.list*"), *folder.glob("sources.list.d/*")]
        if file.is_file()
    }


def test_no_engine_and_not_to_be_installed(bare: tuple[Stack, Path]) -> None:
    stack, _ = bare
    before = apt_sources()
    # No engine on this PATH; one that is installed elsewhere on this machine must not be started either.
    printed = refused(stack, INSTALL_ENGINE="no")
    assert "INSTALL_ENGINE=no" in printed
    assert apt_sources() == before


def test_a_remote_engine_that_does_not_answer(bare: tuple[Stack, Path]) -> None:
    stack, programs = bare
    plant(programs, "docker", 'echo "cannot connect" >&2; exit 1')
    assert "DOCKER_HOST=tcp://127.0.0.1:1" in refused(stack, DOCKER_HOST="tcp://127.0.0.1:1")


def test_a_closed_socket(bare: tuple[Stack, Path]) -> None:
    stack, programs = bare
    plant(
        programs, "docker", 'echo "permission denied while trying to connect to the Docker daemon socket" >&2; exit 1'
    )
    assert "usermod -aG docker" in refused(stack)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ("20.10.24|compose=2.26.1 buildx=0.13.1 ", "Docker Engine 20.10.24 is too old"),
        ("24.0.9|compose=2.26.1 buildx=0.13.1 ", "Docker Engine 24.0.9 is too old"),
        ("25.0.0|buildx=0.13.1 compose=v2.23.3 ", "Docker Compose 2.23.3 is too old"),
        ("25.0.0|buildx=0.13.1 ", "compose plugin is missing"),
        ("25.0.0|compose=2.24.0 ", "buildx plugin is missing"),
    ],
)
def test_versions_that_are_too_old(bare: tuple[Stack, Path], facts: str, said: str) -> None:
    stack, programs = bare
    plant(programs, "docker", f'[[ $1 == info ]] && echo "{facts}"')
    assert said in refused(stack)


@pytest.mark.parametrize(
    ("program", "script", "said"),
    [
        ("awk", 'if [[ "$*" == *meminfo* ]]; then echo 100; else exec /usr/bin/awk "$@"; fi', "only 100 MiB of memory"),
        (
            "df",
            'printf "Filesystem 1M-blocks Used Available Use%% Mounted\\n/dev/x 10 1 9 10%% /\\n"',
            "only 9 MiB are free",
        ),
    ],
)
def test_too_little_room(bare: tuple[Stack, Path], program: str, script: str, said: str) -> None:
    stack, programs = bare
    plant(programs, "docker", '[[ $1 == info ]] && echo "26.1.5|buildx=0.13.1 compose=2.26.1 "')
    plant(programs, program, script)
    assert said in refused(stack)


def test_an_image_that_somebody_chose_is_not_replaced(make_stack: Callable[[str], Stack]) -> None:
    stack = make_stack("chosen")
    stack.ok("scripts/prepare/env.sh")
    before = (stack.folder / ".env").read_text()
    result = stack.run("scripts/prepare/images.sh", POSTGRES_IMAGE="127.0.0.1:1/nobody/postgres:17")
    assert result.returncode == 1
    assert "POSTGRES_IMAGE=127.0.0.1:1/nobody/postgres:17 is neither here nor to be pulled" in result.stdout
    assert (stack.folder / ".env").read_text() == before


def test_an_existing_env_file_is_kept(make_stack: Callable[[str], Stack]) -> None:
    stack = make_stack("kept")
    stack.ok("scripts/prepare/env.sh")
    file = stack.folder / ".env"
    # As an operator might have it, quotes and odd characters included.
    file.write_text(file.read_text().replace("DB_PASS=", "DB_PASS='a b#$c'#", 1))
    before = file.read_text()
    stack.ok("scripts/prepare/env.sh")
    stack.ok("scripts/prepare/images.sh")
    assert file.read_text().startswith(before)


def test_passwords_with_odd_characters_work(make_stack: Callable[[str], Stack]) -> None:
    stack = make_stack("odd")
    stack.ok("scripts/prepare/env.sh")
    for name in ("DB_PASS", "DB_OWNER_PASS", "POSTGRES_PASSWORD"):
        stack.set_env_file(name, f"""'{name} p@ss:w%o$rd/"\\?&#{{}}'""")
    stack.make("up")
    assert stack.get("/posts").status_code == 200
    stack.remove()


def test_a_terminal_is_asked_first_and_a_pipe_is_not(make_stack: Callable[[str], Stack]) -> None:
    """The question that scripts/prepare/engine.sh puts before it installs or starts anything."""
    stack = make_stack("asked")
    script = stack.folder / "ask.sh"
    script.write_text('. scripts/lib/common.sh\nconfirm "Install it now?" && echo INSTALLED || echo LEFT\n')
    for answer, expected in (("n", "LEFT"), ("y", "INSTALLED"), ("", "INSTALLED")):
        on_a_terminal = subprocess.run(
            ["script", "--quiet", "--command", "bash ask.sh", "/dev/null"],
            cwd=stack.folder, input=f"{answer}\n", capture_output=True, text=True, timeout=2 * PATIENCE, check=True,
        )  # fmt: skip
        assert expected in on_a_terminal.stdout
    assert "INSTALLED" in stack.ok("bash", "ask.sh"), "without a terminal it goes on"
