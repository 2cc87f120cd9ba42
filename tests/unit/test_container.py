"""`--scratch docker`: what is asked of docker, and what is said when it cannot be done; docker itself is a fake.

tests/stack/test_without_stack.py has real ones.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tangga import container
from tangga.exits import SCRATCH_FAILED, WRONG_SETTING, Stop

Docker = Callable[..., Path]
LINUX = '{"OSType": "linux", "OperatingSystem": "Debian", "SecurityOptions": ["name=seccomp"]}'
ROOTLESS = LINUX.replace("name=seccomp", "name=rootless")
DESKTOP = LINUX.replace("Debian", "Docker Desktop")


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docker:
    """Write a docker that has these images (name: PG_MAJOR), and notes what it is asked and handed."""

    def write(
        info: str = LINUX, images: dict[str, str] | None = None, run: str = "exit 7", pulls: bool = False
    ) -> Path:
        known = images or {}
        inspected = ",".join(
            f'{{"RepoTags":["{name}"],"Config":{{"Env":["PG_MAJOR={major}","LANG=C"]}}}}'
            for name, major in known.items()
        )
        program = tmp_path / "docker"
        program.write_text(f"""#!/bin/bash
echo "$@" | head -1 >>{tmp_path}/asked
case "$1 $2" in
  "info "*) cat <<<'{info}' ;;
  "image ls") printf '%s\\n' {" ".join(known)} '<none>:<none>' redis:7 ;;
  "image inspect")
    if [[ $3 == --format ]]; then echo '["entry.sh"]'
    elif (($# == 3)) && [[ " {" ".join(known)} " != *" $3 "* ]]; then exit 1
    else echo '[{inspected}]'; fi ;;
  "pull "*) {"exit 0" if pulls else "echo 'no such host' >&2; exit 1"} ;;
  "run "*) read -r handed; echo "$handed" >>{tmp_path}/handed; env >>{tmp_path}/environment; {run} ;;
esac
""")
        program.chmod(program.stat().st_mode | stat.S_IEXEC)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        return tmp_path

    return write


def _refused(image: str | None = None, major: str | None = None) -> Stop:
    with pytest.raises(Stop) as stop, container.throwaway(image, major):
        pass
    return stop.value


def test_without_docker_it_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    stop = _refused()
    assert (stop.what, stop.code) == ("there is no docker here to make a scratch server", WRONG_SETTING)
    assert stop.remedy == "install it, or name a server: --scratch postgresql://..."


@pytest.mark.parametrize("info", ['{"ServerErrors": ["permission denied"]}', "", "not json"])
def test_a_docker_that_does_not_answer_is_refused(docker: Docker, info: str) -> None:
    docker(info)
    stop = _refused()
    assert stop.what.startswith("docker does not answer: ")
    assert stop.code == SCRATCH_FAILED


@pytest.mark.parametrize(
    ("image", "major", "images", "taken"),
    [
        (None, "16", {"postgres:16": "16", "postgres:17": "17"}, "postgres:16"),
        (None, "16", {"local/postgres-mine:16": "16", "postgres:17": "17"}, "local/postgres-mine:16"),
        (None, None, {"pgvector/pgvector:pg18": "18", "postgis/postgis:17": "17"}, "pgvector/pgvector:pg18"),
        ("postgis/postgis:17", "16", {"postgres:16": "16", "postgis/postgis:17": "17"}, "postgis/postgis:17"),
    ],
)
def test_the_image_is_the_one_that_is_wanted_or_one_of_that_version(
    docker: Docker, image: str | None, major: str | None, images: dict[str, str], taken: str
) -> None:
    folder = docker(images=images)
    assert _refused(image, major).what == "the container of the scratch server ended: it says nothing"
    [run] = [line for line in (folder / "asked").read_text().splitlines() if line.startswith("run ")]
    assert f"--entrypoint=bash {taken} -c" in run


@pytest.mark.parametrize(("image", "named"), [(None, "postgres:16"), ("postgis/postgis:16", "postgis/postgis:16")])
def test_an_image_that_is_nowhere_is_named(docker: Docker, image: str | None, named: str) -> None:
    docker(images={"postgres:17": "17"})
    stop = _refused(image, "16")
    assert stop.what == f"the image {named} is neither here nor to be pulled: no such host"
    assert "--scratch-image" in stop.remedy
    assert stop.code == SCRATCH_FAILED


def test_the_password_is_handed_over_by_the_pipe_alone(docker: Docker) -> None:
    folder = docker(images={"postgres:17": "17"})
    _refused()
    [password] = (folder / "handed").read_text().splitlines()
    assert len(password) >= 32
    assert password not in (folder / "asked").read_text()
    assert password not in (folder / "environment").read_text()


@pytest.mark.parametrize(("info", "own"), [(LINUX, False), (ROOTLESS, True), (DESKTOP, True)])
def test_it_listens_on_127_0_0_1_only_or_is_published_there(docker: Docker, info: str, own: bool) -> None:
    folder = docker(info, {"postgres:17": "17"})
    _refused()
    asked = (folder / "asked").read_text()
    assert ("--network=host" in asked) is not own
    assert ("--publish=127.0.0.1::5432" in asked) is own


def test_the_reason_why_it_ended_is_said_and_it_is_removed(docker: Docker) -> None:
    folder = docker(images={"postgres:17": "17"}, run="echo 'initdb: no space left'; exit 1")
    assert _refused().what == "the container of the scratch server ended: initdb: no space left"
    assert "rm --force --volumes tangga-scratch-" in (folder / "asked").read_text()


def test_a_port_that_somebody_took_meanwhile_is_tried_again_and_not_for_ever(docker: Docker) -> None:
    folder = docker(images={"postgres:17": "17"}, run="echo 'bind: Address already in use'; exit 1")
    assert _refused().what == "no port of 127.0.0.1 is free"
    assert (folder / "asked").read_text().count("rm --force --volumes") == container._TRIES


def test_a_container_that_lets_nobody_in_is_not_waited_for_for_ever(
    docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "_START", 0.5)
    docker(images={"postgres:17": "17"}, run="exec cat >/dev/null")
    assert "let nobody in within 0.5 s: " in _refused().what
