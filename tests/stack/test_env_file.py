"""How scripts read and write .env, beside what Compose makes of it, and what they remove by a name in it. No container runs."""

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest

from tests.databases import PATIENCE
from tests.stack.conftest import PREFIX, REPOSITORY

# A form in which people write a variable, V standing for its name; each is tried with a name that the manual has.
FORMS = [
    "\ufeffV=abc",  # a mark that only the first line can have
    "V=abc", "V=abc\r", "export V=abc", "V = abc", " V=abc", "V: abc", "V=abc  ", "\texport\tV\t=\tabc", 'V = "abc" \r',
    "V='abc' # note", 'V="abc" # note', "V=abc # note", "V=abc#note", "V= # note", "#V=abc", "V=", "V=''", "V",
    "V=a$$b", "V='a$b'", 'V="a$b"', r'V="a\$b"', "V=${NO_SUCH:-abc}", "V=${EARLIER}/deeper", "V=${FROM_OUTSIDE}",
    'V="two\nlines"', "V='two\nEARLIER=lines'", 'V="a\\nb"', "V='a\\nb'", r'V="a\\nb"', r"V='it\'s'", r'V="say \"hi\""',
    "V=a b=c", 'V=<a>&"b"', r"V=C:\new\table", "V=naïve", "V=first\nV=second", "V=of the file", "V=of the file",
]  # fmt: skip
EARLIER = "EARLIER=abc\n"
# What is in .env in this form, and in the environment.
OUTSIDE: dict[str | int, str] = {
    "FROM_OUTSIDE": 'it\'s "outside" $HOME',
    len(FORMS) - 1: "of the environment",
    len(FORMS) - 2: "",
}
DEFAULT = "the default"
SECRETS = dict.fromkeys(["DB_PASS", "DB_OWNER_PASS", "POSTGRES_PASSWORD", "TOKEN_KEY"], "x")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(REPOSITORY / "scripts", tmp_path / "scripts")
    for name in ("compose.yaml", ".env.example"):
        shutil.copy(REPOSITORY / name, tmp_path)
    for name in ("services", "migrations"):
        (tmp_path / name).mkdir()
    return tmp_path


def _run(folder: Path, command: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("COMPOSE_", "DB_", "API_"))}
    return subprocess.run(
        ["bash", "-Eeuo", "pipefail", "-c", f". scripts/lib/common.sh; {command}", "bash", *arguments],
        cwd=folder, env=clean | env, capture_output=True, text=True, timeout=2 * PATIENCE, check=False,
    )  # fmt: skip


def _scripts_say(folder: Path, names: list[str], **env: str) -> dict[str, str]:
    said = _run(folder, f'for n in "$@"; do setting "$n" "{DEFAULT}"; printf "\\0"; done', *names, **env)
    assert (said.returncode, said.stderr) == (0, "")
    return dict(zip(names, said.stdout.split("\0")[:-1], strict=True))


def _compose_says(folder: Path, names: list[str], **env: str) -> dict[str, str]:
    asks = {name: f"${{{name}:-{DEFAULT}}}" for name in names}
    (folder / "asks.json").write_text(json.dumps({"services": {"x": {"image": "x", "labels": asks}}}))
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("COMPOSE_", "DB_", "API_"))}
    said = subprocess.run(
        ["docker", "compose", "-f", "asks.json", "config", "--format", "json"],
        cwd=folder, env=clean | env, capture_output=True, text=True, timeout=2 * PATIENCE, check=True,
    )  # fmt: skip
    labels: dict[str, str] = json.loads(said.stdout)["services"]["x"]["labels"]
    return {name: value.replace("$$", "$") for name, value in labels.items()}


def _names(folder: Path) -> list[str]:
    """As many settings as there are forms, none of which changes what Compose does."""
    manual = (folder / ".env.example").read_text().splitlines()
    found = dict.fromkeys(line.lstrip("#").partition("=")[0] for line in manual if "=" in line and " " not in line)
    return [name for name in found if not name.startswith("COMPOSE_")][: len(FORMS)]


def _written(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Write .env with every form; return the names, and the environment that belongs to it."""
    names = _names(folder)
    lines = [form.replace("V", name) for form, name in zip(FORMS, names, strict=True)]
    (folder / ".env").write_bytes("\n".join([lines[0], EARLIER, *lines[1:], ""]).encode())
    return names, {name if isinstance(name, str) else names[name]: value for name, value in OUTSIDE.items()}


def test_scripts_read_every_form_as_compose_does(folder: Path) -> None:
    names, env = _written(folder)
    expected = _compose_says(folder, names, **env)
    assert len(set(expected.values())) > 15, "the forms do not say different things"
    said = _scripts_say(folder, names, **env)
    differ = {form: (said[n], expected[n]) for form, n in zip(FORMS, names, strict=True) if said[n] != expected[n]}
    assert not differ
    # What was said is kept, for nobody else, and only for as long as it is true.
    assert stat.S_IMODE((folder / ".env.read").stat().st_mode) == 0o600
    assert _scripts_say(folder, names, PATH=_without_docker(folder), **env) == expected
    env["FROM_OUTSIDE"] = "changed"
    assert _scripts_say(folder, names, **env) == _compose_says(folder, names, **env)
    (folder / ".env").write_text(f"{names[1]}=changed\n")
    assert _scripts_say(folder, names) == _compose_says(folder, names)
    (folder / ".env").unlink()
    assert set(_scripts_say(folder, names).values()) == {DEFAULT}


def _without_docker(folder: Path) -> str:
    """Return a PATH on which docker answers nothing."""
    (folder / "bin").mkdir()
    (folder / "bin/docker").write_text("#!/bin/sh\nexit 1\n")
    (folder / "bin/docker").chmod(0o755)
    return f"{folder / 'bin'}:{os.environ['PATH']}"


def test_a_written_value_is_read_back_and_nothing_else_changes(folder: Path) -> None:
    names, _ = _written(folder)
    before = _compose_says(folder, names)
    values = cycle(["plain", "it's $5 # 1", "a\\", 'q"\\"', " two\nlines ", "$${X}", ""])
    changed = dict(zip(names[::2], values, strict=False)) | {"NEW": "last"}
    result = _run(folder, 'replaced "$@" -NO_SUCH | write_file .env', *(f"{n}={v}" for n, v in changed.items()))
    assert (result.returncode, result.stderr) == (0, "")
    read = _compose_says(folder, [*names, "NEW"])
    assert read == before | {name: value or DEFAULT for name, value in changed.items()}


def test_a_variable_is_changed_where_it_stands(folder: Path) -> None:
    before = "# first\r\n\r\nexport DB_PASS = 'old' # a note\r\nTAG: v1\r\nX='\r\nTAG=\r\n'\r\nDB_PORT=1\r\nlast=1"
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "env").write_bytes(before.encode())
    (folder / ".env").symlink_to("elsewhere/env")
    result = _run(folder, 'replaced DB_PASS=new TAG=v2 "API_PORT=9 9" -DB_PORT | write_file .env')
    assert result.returncode == 0, result.stderr
    after = (
        "# first\r\n\r\nexport DB_PASS = new # a note\r\nTAG: v2\r\nX='\r\nTAG=\r\n'\r\nlast=1\r\nAPI_PORT='9 9'\r\n"
    )
    assert (elsewhere / "env").read_bytes().decode() == after
    assert (folder / ".env").is_symlink()
    assert stat.S_IMODE((elsewhere / "env").stat().st_mode) == 0o600
    assert [each.name for each in elsewhere.iterdir()] == ["env"], "something is left over"


# What is wrong, and what is said of it.
BROKEN = {
    "TAG=1\nsome words": "line 2: no NAME=value",
    "TAG=1\nsome words\n": "line 2: key cannot contain a space",
    "TAG=1\nDB_PASS+=geheim": 'line 2: unexpected character "+"',
    "TAG=1\nDB_PASS='geheim\nX=2\n": "line 2: a quote that is not closed",
    "TAG=1\nDB_PASS=geheim${\n": "line 2: a ${...} that is none",
    "COMPOSE_PROJECT_NAME=Shop\n": 'invalid project name "Shop"',
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_line_that_compose_cannot_read_ends_a_script(folder: Path, text: str) -> None:
    (folder / ".env").write_text(text)
    for command in ("scripts/clean.sh", "scripts/backup.sh --list", "read_stack; echo went on"):
        said = _run(folder, command, yes="1")
        assert said.returncode == 1, command
        assert BROKEN[text] in said.stderr
        assert "geheim" not in said.stderr + said.stdout
        assert "went on" not in said.stdout


@pytest.mark.parametrize(
    ("written", "made"),
    [("~/bk", "home/bk"), ("bk2", "bk2"), ("$PWD/x/y", "x/y"), ("./a b", "a b"), ("", "backups")],
)
def test_backup_dir_in_the_forms_that_people_write(folder: Path, written: str, made: str) -> None:
    written = written.replace("$PWD", str(folder))
    (folder / ".env").write_text(f"BACKUP_DIR={written}\n")
    # Compose itself, about the folder that it mounts.
    secrets = SECRETS | {"HOME": str(folder / "home")}
    said = json.loads(_run(folder, "docker compose config --format json", **secrets).stdout)
    mount = next(each for each in said["services"]["migrate"]["volumes"] if each["target"] == "/backups")
    assert (mount["type"], mount["source"]) == ("bind", str(folder / made))
    assert _run(folder, "scripts/prepare/env.sh", **secrets).stderr == ""
    assert stat.S_IMODE((folder / made).stat().st_mode) == 0o700
    shutil.rmtree(folder / made)
    # In the environment as well.
    (folder / ".env").write_text("BACKUP_DIR=other\n")
    assert _run(folder, "scripts/prepare/env.sh", BACKUP_DIR=written, **secrets).returncode == 0
    assert (folder / made).is_dir()


def test_backup_dir_of_a_user_by_name_or_in_a_file_is_refused(folder: Path) -> None:
    (folder / "file").touch()
    for written, cause in (("~operator/bk", "BACKUP_DIR=~operator/bk"), ("file/bk", "Not a directory")):
        (folder / ".env").write_text(f"BACKUP_DIR={written}\n")
        said = _run(folder, "scripts/prepare/env.sh")
        assert said.returncode == 1
        assert cause in said.stderr


@pytest.fixture
def volumes() -> Iterator[list[str]]:
    """Volumes of two projects, as Compose labels them."""
    names = [f"{PREFIX}-env-one", f"{PREFIX}-env-two"]
    for name in names:
        label = f"com.docker.compose.project={name}"
        subprocess.run(["docker", "volume", "create", "--label", label, name], check=True, capture_output=True)
    yield names
    subprocess.run(["docker", "volume", "rm", "--force", *names], check=True, capture_output=True)


def _volumes() -> list[str]:
    return subprocess.run(["docker", "volume", "ls", "-q"], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize(
    "line",
    ["export COMPOSE_PROJECT_NAME={}", "COMPOSE_PROJECT_NAME : {} \r", 'NAME={}\nCOMPOSE_PROJECT_NAME="${{NAME}}"'],
)
def test_clean_removes_what_compose_calls_this_project(folder: Path, volumes: list[str], line: str) -> None:
    default, chosen = volumes
    file = folder / "compose.yaml"
    file.write_text(file.read_text().replace("name: tangga\n", f"name: {default}\n"))
    (folder / ".env").write_text(line.format(chosen) + "\n")
    said = _run(folder, "scripts/clean.sh", yes="1", **SECRETS)
    assert said.returncode == 0, said.stderr
    assert (default in _volumes(), chosen in _volumes()) == (True, False)


def test_nothing_is_removed_where_an_overlay_has_another_name(folder: Path, volumes: list[str]) -> None:
    one, two = volumes
    (folder / "overlay.yaml").write_text(f"name: {two}\n")
    file = folder / "compose.yaml"
    file.write_text(file.read_text().replace("name: tangga\n", f"name: {one}\n"))
    said = _run(folder, "scripts/clean.sh", yes="1", COMPOSE_FILE="compose.yaml:overlay.yaml", **SECRETS)
    assert said.returncode == 1
    assert f'this stack is called {one} here, and "{two}" by Compose' in said.stderr
    assert set(volumes) <= set(_volumes())


# Docker, with a proxy and two live replicas. Compose itself is asked what it is asked about settings.
_DOCKER = """#!/bin/bash
printf '%s\n' "$*" >>"$(dirname "$0")/calls"
case "$*" in
{broken}
  *' config '*) PATH=${{PATH#*:}} exec docker "$@" ;;
  'compose ps'*) echo proxy ;;
  'exec --interactive proxy socat'*) echo 'Uptime: 1' ;;
  'network ls'*) [[ "$*" != *project=shop' '* ]] || echo shop_rotation ;;
  'ps '*service=proxy*network=shop_rotation*) echo proxy ;;
  'ps '*network=shop_rotation*) printf 'one\ntwo\n' ;;
  'ps '*network=*) ;;
  'ps '*) printf 'one\ntwo\n' ;;
esac
"""


@pytest.mark.parametrize(
    ("project", "broken", "cause"),
    [
        ("shop", "'network ls'*) ;;", "the network of the proxy is not there"),
        ("shop", "'network ls'*) exit 1 ;;", ""),
        ("shop", "'exec --interactive proxy socat'*) exit 1 ;;", "the proxy does not say which replicas serve"),
        ("shop", "'ps '*network=*) exit 1 ;;", ""),
        ("shop ", "'image inspect'*) exit 1 ;;", "there is no image shop-api:v1 here"),
        ("shop\r", "'image inspect'*) exit 1 ;;", "there is no image shop-api:v1 here"),
    ],
)
def test_live_replicas_stay_where_nobody_says_who_serves(folder: Path, project: str, broken: str, cause: str) -> None:
    shutil.copy(REPOSITORY / "compose.prod.yaml", folder)
    path = _without_docker(folder)
    (folder / "bin/docker").write_text(_DOCKER.format(broken=broken))
    (folder / ".env").write_text(f"COMPOSE_PROJECT_NAME={project}\nCOMPOSE_FILE=compose.yaml:compose.prod.yaml\n")
    said = _run(folder, "scripts/deploy.sh v1", PATH=path, **SECRETS)
    calls = (folder / "bin/calls").read_text().splitlines()
    assert "compose ps --quiet --status running proxy" in calls, said.stderr
    assert not [call for call in calls if call.startswith(("rm", "stop", "kill", "container"))]
    assert said.returncode != 0
    assert cause in said.stderr


# Docker without a registry, and with the images that $IMAGES names.
_IMAGES = """#!/bin/bash
printf '%s\n' "$*" >>"$(dirname "$0")/calls"
case "$*" in
  *' config '*) PATH=${PATH#*:} exec docker "$@" ;;
  'image inspect '*) for image in "${@:3}"; do [[ " $IMAGES " == *" $image "* ]] || exit 1; done ;;
  'image tag '*) [[ " $IMAGES " == *" $3 "* ]] ;;
  *) exit 1 ;;
esac
"""
_OLD = "tangga/python-stand-in:3.13-trixie tangga/postgres-stand-in:17-trixie"
_NEW = _OLD.replace("tangga/", "localhost/tangga/")
_OFFICIAL = "python:3.13.9-slim-trixie postgres:17.7-trixie"


@pytest.mark.parametrize(
    ("chosen", "here", "then"),
    [
        ("", "", ("", "", "")),  # it tries, and there is nothing to build them from
        ("", _OFFICIAL, ("", "", "")),
        (_NEW, _NEW, (*_NEW.split(), "never")),
        # Built by an earlier release: the database is not restarted for its image's name.
        (_OLD, _OLD, (_NEW.split()[0], _OLD.split()[1], "never")),
        (_OLD, "", (*_NEW.split(), "never")),
        (
            "python:3.13 tangga/postgres-stand-in:16-sid",
            "python:3.13",
            ("python:3.13", "localhost/tangga/postgres-stand-in:16-sid", "never"),
        ),
    ],
)
def test_no_registry_is_asked_for_a_stand_in(folder: Path, chosen: str, here: str, then: tuple[str, str, str]) -> None:
    names = ["PYTHON_IMAGE", "POSTGRES_IMAGE", "POSTGRES_PULL_POLICY"]
    path = _without_docker(folder)
    (folder / "bin/docker").write_text(_IMAGES)
    # Nothing can be built.
    for program in ("mmdebstrap", "sudo"):
        (folder / "bin" / program).write_text("#!/bin/sh\nexit 1\n")
        (folder / "bin" / program).chmod(0o755)
    (folder / ".env").write_text("".join(f"{n}={v}\n" for n, v in zip(names, chosen.split(), strict=False)))
    said = _run(folder, "scripts/prepare/images.sh", PATH=path, IMAGES=here)
    calls = (folder / "bin/calls").read_text()
    assert "pull" not in calls or "stand-in" not in "".join(line for line in calls.splitlines() if "pull" in line)
    assert (said.returncode == 0) == bool(here and "16-sid" not in chosen), said.stderr
    assert "-sid" not in chosen or "POSTGRES_IMAGE=localhost/tangga/postgres-stand-in:16-sid is not here" in said.stderr
    expected = dict(zip(names, (value or DEFAULT for value in then), strict=True))
    assert _scripts_say(folder, names) == expected
    if then[2]:
        config = _run(folder, "docker compose --profile '*' config --format json", **SECRETS)
        services = json.loads(config.stdout)["services"]
        assert {each.get("pull_policy") for each in services.values() if "postgres" in each["image"]} == {"never"}


def _functions_of(folder: Path, script: str) -> None:
    """Make of a script one that can be sourced: without its last line, which runs it."""
    (folder / "scripts/functions.sh").write_text("\n".join((folder / script).read_text().splitlines()[:-1]))


def test_leftovers_are_those_of_this_project_and_neither_serve_nor_are_kept(folder: Path) -> None:
    _functions_of(folder, "scripts/db-upgrade.sh")
    (folder / ".env").write_text(f"export COMPOSE_PROJECT_NAME={PREFIX}-env\nDB_VOLUME_PREVIOUS: kept # note\n")
    stay = [f"{PREFIX}-env_db-data", f"{PREFIX}-env_kept", f"{PREFIX}-env-two_db-data"]
    names = [*stay, f"{PREFIX}-env_db-data-17-1"]
    try:
        for name in names:
            labels = {"project": name.partition("_")[0], "volume": "db-data"}
            options = [f"--label=com.docker.compose.{key}={value}" for key, value in labels.items()]
            subprocess.run(["docker", "volume", "create", *options, name], check=True, capture_output=True)
        said = _run(folder, ". scripts/functions.sh; remove_leftovers", **SECRETS)
        assert (said.returncode, said.stderr) == (0, "")
        assert [name for name in names if name in _volumes()] == stay
    finally:
        subprocess.run(["docker", "volume", "rm", "--force", *names], check=True, capture_output=True)
