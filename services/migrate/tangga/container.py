"""A throwaway PostgreSQL in a container of its own, for `--scratch docker`.

Its life hangs on a pipe: its first line is the password, so that no process list and no `docker inspect` holds it, and
when nobody holds the other end any more (this process was interrupted, terminated or killed), the container ends, and
docker removes it with its volume.
"""

import contextlib
import json
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any
from uuid import uuid4

from sqlalchemy import URL, text
from sqlalchemy.exc import OperationalError

from tangga import connect
from tangga.causes import one_line
from tangga.exits import SCRATCH_FAILED, WRONG_SETTING, Stop
from tangga.settings import ScratchSettings, address_of

# Seconds: a question to docker; a pull; a first start on a busy machine.
_ASK, _PULL, _START = 30, 600, 120
_POLL = 0.2
_TRIES = 3
# Where nobody says which: no live server answers.
_MAJOR = "17"
_URL_INSTEAD = "or name a server: --scratch postgresql://..."
# Standard input of a job is /dev/null unless it is said otherwise. When process 1 ends, so does the container.
_RUN = """
read -r POSTGRES_PASSWORD && export POSTGRES_PASSWORD
exec 3<&0
"$@" 3<&- &
cat <&3 >/dev/null &
wait -n
"""
_QUICK = [f"-c{name}=off" for name in ("fsync", "full_page_writes", "synchronous_commit")]


def major_of(url: URL) -> str | None:
    """Return the major version of a server; None if it does not answer."""
    with contextlib.suppress(OperationalError), connect.engine(url, "scratch").connect() as live:
        return str(int(live.scalar(text("SHOW server_version_num"))) // 10000)
    return None


@contextmanager
def throwaway(image: str | None, major: str | None) -> Iterator[ScratchSettings]:
    """Start a server of an image, or of this major version; remove it afterwards. Raises Stop if that cannot be."""
    told = _answers()
    image = _image(image, major)
    for attempt in range(1, _TRIES + 1):
        with contextlib.ExitStack() as ends:
            started = ends.enter_context(_started(image, here=_is_here(told)))
            if started is None and attempt < _TRIES:
                continue  # somebody else took the port meanwhile
            if started is None:
                raise Stop("no port of 127.0.0.1 is free", _URL_INSTEAD[3:], SCRATCH_FAILED)
            sys.stderr.write(f"note: the scratch server is a container of {image}\n")
            yield started
            return


def found(image: str | None) -> str:
    """Return the image that is here for a server; raises Stop without docker, or if it would have to be pulled."""
    _answers()
    there = image if image and _docker("image", "inspect", image).returncode == 0 else None
    if named := there or (None if image else _newest(None)):
        return named
    raise Stop(f"no image {image or 'of PostgreSQL'} is here", f"docker pull {image or 'postgres'}", SCRATCH_FAILED)


def _answers() -> dict[str, Any]:
    """Return what docker says of itself; raises Stop if it says nothing."""
    if shutil.which("docker") is None:
        raise Stop("there is no docker here to make a scratch server", f"install it, {_URL_INSTEAD}", WRONG_SETTING)
    told = _docker("info", "--format", "{{json .}}")
    with contextlib.suppress(ValueError):
        found: dict[str, Any] = json.loads(told.stdout)
        if told.returncode == 0 and not found.get("ServerErrors"):
            return found
    cause = (told.stderr or told.stdout).strip().splitlines()
    raise Stop(
        f"docker does not answer: {cause[-1] if cause else 'it says nothing'}",
        f"start it, or take a user who may use it, {_URL_INSTEAD}", SCRATCH_FAILED,
    )  # fmt: skip


def _is_here(told: dict[str, Any]) -> bool:
    """Tell whether this machine's network can be a container's: then it reads a live server at localhost, too."""
    rootless = any("rootless" in option for option in told.get("SecurityOptions") or ())
    return told.get("OSType") == "linux" and "Desktop" not in told.get("OperatingSystem", "") and not rootless


def _image(image: str | None, major: str | None) -> str:
    wanted = image or f"postgres:{major or _MAJOR}"
    if _docker("image", "inspect", wanted).returncode == 0:
        return wanted
    # Without a wish, what is here is taken rather than nothing: of that version, or the newest.
    own = None if image or major else _newest(None)
    if own:
        return own
    pulled = _docker("pull", "--quiet", wanted, seconds=_PULL)
    if pulled.returncode == 0:
        return wanted
    if image is None and (own := _newest(major)):
        return own
    cause = pulled.stderr.strip().splitlines()
    raise Stop(
        f"the image {wanted} is neither here nor to be pulled{f': {cause[-1]}' if cause else ''}",
        f"name one that is here (docker image ls) with --scratch-image, {_URL_INSTEAD}", SCRATCH_FAILED,
    )  # fmt: skip


def _newest(major: str | None) -> str | None:
    """Return an image that is here, by its name one of PostgreSQL, of this major version or else the newest."""
    names = [
        name
        for name in _docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
        if name.rpartition("/")[2].startswith(("postgres", "postgis", "pgvector")) and "<none>" not in name
    ]
    told = _docker("image", "inspect", *names) if names else None
    found = []
    for each in json.loads(told.stdout or "[]") if told else ():
        version = dict(line.partition("=")[::2] for line in each["Config"].get("Env") or ()).get("PG_MAJOR", "")
        if each["RepoTags"] and version.isdigit() and version == (major or version):
            found.append((int(version), min(each["RepoTags"])))
    return max(found)[1] if found else None


@contextmanager
def _started(image: str, *, here: bool) -> Iterator[ScratchSettings | None]:
    """Start a container and wait until it lets us in; None if its port was taken meanwhile."""
    name, password = f"tangga-scratch-{uuid4().hex[:12]}", secrets.token_urlsafe(24)
    port = _free_port() if here else 5432
    with tempfile.TemporaryFile("w+") as said:
        client = subprocess.Popen(  # noqa: S603 - no shell, and what is not ours in it is an image's name
            _command(name, image, port, here=here),
            stdin=subprocess.PIPE, stdout=said, stderr=said, text=True,
            # Control-C is for us, who remove it then; not for docker, which would hand it on.
            start_new_session=True,
        )  # fmt: skip
        assert client.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # what it said tells
                client.stdin.write(f"{password}\n")
                client.stdin.flush()
            yield _let_in(client, said, name, password, port if here else None)
        finally:
            _removed(client, name)


def _removed(client: "subprocess.Popen[str]", name: str) -> None:
    assert client.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        client.stdin.close()
    _docker("rm", "--force", "--volumes", name)
    with contextlib.suppress(subprocess.TimeoutExpired):
        client.wait(_ASK)
    client.kill()
    client.wait()


def _command(name: str, image: str, port: int, *, here: bool) -> list[str]:
    entry = json.loads(_docker("image", "inspect", "--format", "{{json .Config.Entrypoint}}", image).stdout) or []
    network = (
        ["--network=host"] if here else ["--publish=127.0.0.1::5432", "--add-host=host.docker.internal:host-gateway"]
    )
    return [
        "docker", "run", "--rm", "--interactive", "--pull=never", f"--name={name}", "--label=tangga.scratch", *network,
        # Also from this machine nobody gets in without the password.
        f"--env=PGPORT={port}", "--env=POSTGRES_INITDB_ARGS=--auth-host=scram-sha-256",
        "--entrypoint=bash", image, "-c", _RUN, "bash", *entry, "postgres", *_QUICK,
        f"-clisten_addresses={'127.0.0.1' if here else '*'}",
    ]  # fmt: skip


def _let_in(
    client: "subprocess.Popen[str]", said: IO[str], name: str, password: str, port: int | None
) -> ScratchSettings | None:
    end, last = time.monotonic() + _START, ""
    while time.monotonic() < end and client.poll() is None:
        if at := port or _published(name):
            url = address_of(f"postgresql://postgres:{password}@127.0.0.1:{at}/postgres")
            try:
                with connect.engine(url, "scratch").connect():
                    return ScratchSettings(url, gateway="" if port else "host.docker.internal")
            except OperationalError as error:
                last = one_line(error)
        time.sleep(_POLL)
    said.seek(0)
    lines = [line for line in said.read().splitlines() if line.strip()]
    if any("Address already in use" in line for line in lines):
        return None
    raise Stop(
        f"the container of the scratch server let nobody in within {_START} s: {lines[-1] if lines else last}"
        if client.poll() is None
        else f"the container of the scratch server ended: {lines[-1] if lines else 'it says nothing'}",
        f"take another image (--scratch-image), {_URL_INSTEAD}", SCRATCH_FAILED,
    )  # fmt: skip


def _published(name: str) -> int | None:
    port = _docker("port", name, "5432/tcp").stdout.partition("\n")[0].rpartition(":")[2]
    return int(port) if port.isdigit() else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _docker(*arguments: str, seconds: float = _ASK) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(  # noqa: S603 - as above
            ["docker", *arguments],  # noqa: S607 - whose docker is on PATH is the user's to say
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(arguments, 124, "", f"docker {arguments[0]} took more than {seconds:.0f} s")
