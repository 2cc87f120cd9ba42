"""What the containers may do, and what the images hold."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.stack.conftest import PREFIX, Stack


@pytest.mark.parametrize("service", ["db", "migrate", "api"])
def test_containers_are_hardened(stack: Stack, service: str) -> None:
    container = json.loads(stack.inspect(service, "{{json .}}"))
    host = container["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["Privileged"] is False
    assert container["Config"]["User"] == ("postgres" if service == "db" else "10001:10001")
    # Only the API is published, and only on this machine.
    published = {port for port, where in (container["NetworkSettings"]["Ports"] or {}).items() if where}
    assert published == ({"8000/tcp"} if service == "api" else set())
    if service == "api":
        assert container["NetworkSettings"]["Ports"]["8000/tcp"][0]["HostIp"] == "127.0.0.1"
    # A way out has none of them: nothing but the stack, or no answer from beyond this machine.
    for name in container["NetworkSettings"]["Networks"]:
        network = json.loads(stack.ok("docker", "network", "inspect", name))[0]
        masquerade = network["Options"].get("com.docker.network.bridge.enable_ip_masquerade")
        assert network["Internal"] or masquerade == "false", name


@pytest.mark.parametrize("service", ["db", "api"])
def test_processes_have_no_uid_0_and_no_capabilities(stack: Stack, service: str) -> None:
    pid = stack.inspect(service, "{{.State.Pid}}")
    status = Path(f"/proc/{pid}/status").read_text()
    uids = re.search(r"^Uid:\s+(.*)$", status, re.M)
    assert uids is not None
    assert "0" not in uids[1].split()
    assert re.search(r"^CapEff:\s+0+$", status, re.M)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.M)


def test_the_root_file_system_cannot_be_written(stack: Stack) -> None:
    result = stack.run("docker", "compose", "exec", "-T", "api", "touch", "/app/file")
    assert result.returncode != 0
    assert "Read-only file system" in result.stdout


def test_one_image_serves_migrate_and_api(stack: Stack) -> None:
    assert stack.inspect("migrate", "{{.Image}}") == stack.inspect("api", "{{.Image}}")


def test_the_image_holds_no_tools_and_no_tests(stack: Stack) -> None:
    script = """
for program in pip pip3 gcc cc make git ruff pytest curl; do ! command -v $program >/dev/null || echo "$program"; done
python3 -c 'import pip' 2>/dev/null && echo 'module pip'
test ! -e tests || echo tests
test ! -e .env || echo .env
find services migrations -name '*.py' | while read -r file; do
  ls "$(dirname "$file")/__pycache__/$(basename "$file" .py)".*.pyc >/dev/null 2>&1 || echo "no byte code: $file"
done
python3 - <<'END'
import importlib.util, pathlib, sqlalchemy
if not pathlib.Path(importlib.util.cache_from_source(sqlalchemy.__file__)).exists():
    print("no byte code: sqlalchemy")
END
"""
    # gunicorn.conf.py is read by gunicorn with exec, never imported.
    found = stack.compose("exec", "-T", "api", "sh", "-c", script).split("\n")
    assert [line for line in found if line and "gunicorn.conf.py" not in line] == []


def test_the_image_adds_at_most_80_mb_to_its_base(stack: Stack) -> None:
    size = int(stack.ok("docker", "image", "inspect", "--format", "{{.Size}}", stack.inspect("api", "{{.Image}}")))
    python = re.search(r"^PYTHON_IMAGE=(.+)$", (stack.folder / ".env").read_text(), re.M)
    base = python[1] if python else re.findall(r"PYTHON_IMAGE:-([^}]+)", (stack.folder / "compose.yaml").read_text())[0]
    added = size - int(stack.ok("docker", "image", "inspect", "--format", "{{.Size}}", base))
    assert 0 < added <= 80_000_000, f"{added / 1e6:.1f} MB"


def test_no_secret_is_in_images_logs_or_process_lists(stack: Stack) -> None:
    stack.log_in()
    text = (stack.folder / ".env").read_text()
    secrets = re.findall(r"^(?:DB_PASS|DB_OWNER_PASS|POSTGRES_PASSWORD|TOKEN_KEY)=(.+)$", text, re.M)
    assert len(secrets) == 4
    image = stack.inspect("api", "{{.Image}}")
    places = {
        "history": stack.ok("docker", "history", "--no-trunc", image),
        "image": stack.ok("docker", "image", "inspect", image),
        "logs": stack.compose("logs"),
        "processes": stack.ok("ps", "-eo", "args"),
    }
    for place, printed in places.items():
        assert not any(secret in printed for secret in secrets), place
    # The same search finds a secret where one is: the guard can fail.
    assert any(secret in stack.inspect("api", "{{json .Config.Env}}") for secret in secrets)


def test_a_ca_bundle_reaches_the_build_and_no_layer(stack: Stack, tmp_path: Path) -> None:
    marker = "marker-of-a-private-authority-4711"
    bundle = tmp_path / "bundle.pem"
    here = stack.env.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt"
    bundle.write_text(f"{Path(here).read_text()}\n# {marker}\n")
    probe = stack.folder / "probe.Dockerfile"
    # The real file up to the end of `deps`, and a step that proves that the secret was there.
    text = (stack.folder / "Dockerfile").read_text().split("FROM deps AS deps-dev")[0]
    # Spelt in two halves: an instruction is part of the image too.
    probe.write_text(
        f"{text}\nRUN --mount=type=secret,id=ca grep -q {marker[:9]}{marker[9:10]}.{marker[11:]} /run/secrets/ca\n"
    )
    override = stack.folder / "compose.override.yaml"
    override.write_text(
        f"services: {{ migrate: {{ image: {PREFIX}-ca, build: {{ dockerfile: probe.Dockerfile, target: deps }} }} }}\n"
    )
    try:
        stack.compose("build", "--no-cache", "migrate", SSL_CERT_FILE=str(bundle))
        with subprocess.Popen(["docker", "save", f"{PREFIX}-ca"], stdout=subprocess.PIPE) as save:
            assert save.stdout is not None
            tail = b""
            found = False
            while block := save.stdout.read(1 << 20):
                found = found or marker.encode() in tail + block
                tail = block[-len(marker) :]
        assert not found, "the CA bundle is in a layer"
    finally:
        override.unlink()
        stack.run("docker", "image", "rm", f"{PREFIX}-ca")


def test_workers_follow_the_cpu_limit(stack: Stack) -> None:
    script = "import runpy; print(runpy.run_path('services/api/gunicorn.conf.py')['workers'])"
    image = stack.inspect("api", "{{.Image}}")
    settings = [
        "-e",
        "DB_USERNAME=x",
        "-e",
        "DB_PASS=x",
        "-e",
        "DB_HOSTNAME=x",
        "-e",
        "DB_NAME=x",
        "-e",
        f"TOKEN_KEY={'0123456789abcdef' * 2}",
    ]

    def workers(*options: str) -> str:
        return stack.ok("docker", "run", "--rm", *settings, *options, image, "python3", "-c", script).strip()

    assert workers("--cpus", "1") == "1"
    assert workers("--cpus", "0.5") == "1"
    assert workers("--cpus", "2") == "2"
    assert workers("--cpus", "1", "-e", "WEB_CONCURRENCY=3") == "3"
