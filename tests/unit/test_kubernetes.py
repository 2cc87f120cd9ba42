"""What deploy/kubernetes gives a cluster, without a cluster: built by kustomize, held against the API's own schemas."""

import base64
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from services.api.settings import Settings
from services.migrate.settings import MigrateSettings

PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "docs/scaling.md").read_text()
OLDEST, NEWEST = "1.31", "1.37"
SECRETS = {"DB_PASS": "a#b='c\"", "DB_OWNER_PASS": "owner's", "TOKEN_KEY": "0123456789abcdef" * 4}

# Answers for Compose, which alone reads .env (scripts/lib/settings.sh; that it does: tests/stack/test_env_file.py).
COMPOSE = """#!{python}
import json, re, sys
names = re.findall("^  ([A-Z0-9_]+): ", sys.stdin.read(), re.M)
print(json.dumps({{"name": "tangga", "x-settings": {{name: {settings}.get(name, "") for name in names}}}}, indent=2))
"""

Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """Make the files with the secrets as docs/scaling.md says, and build."""
    folder = tmp_path_factory.mktemp("kubernetes")
    for part in ("deploy/kubernetes", "scripts"):
        shutil.copytree(PROJECT / part, folder / part)
    (folder / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    for name in ("compose.yaml", ".env.example"):
        shutil.copy(PROJECT / name, folder)
    docker = folder / "bin/docker"
    docker.parent.mkdir()
    docker.write_text(COMPOSE.format(python=sys.executable, settings=SECRETS | {"DB_SSLROOTCERT": "ca.pem"}))
    docker.chmod(0o755)
    [commands] = re.findall(r"^```sh\n(\. scripts/lib/common\.sh\numask .*?)^```", PAGE, re.M | re.S)
    environment = {"PATH": f"{docker.parent}:/usr/bin:/bin"}
    subprocess.run(["bash", "-euc", commands], cwd=folder, env=environment, check=True)
    made = folder / "deploy/kubernetes/production"
    assert (made / "api.env").stat().st_mode & 0o777 == 0o600
    text = subprocess.run(["kustomize", "build", made], check=True, capture_output=True, text=True).stdout
    return list(yaml.safe_load_all(text))


def one(built: list[Manifest], kind: str, name: str) -> Manifest:
    """Return the one of this kind and name, or of this name and a hash behind it."""
    pattern = rf"{name}(-[0-9a-z]{{10}})?" if kind in ("ConfigMap", "Secret") else name
    [found] = [m for m in built if m["kind"] == kind and re.fullmatch(pattern, m["metadata"]["name"])]
    return found


def pods(built: list[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    """Yield each pod's labels and specification."""
    for kind, name in (("Job", "migrate"), ("Deployment", "api")):
        template = one(built, kind, name)["spec"]["template"]
        yield template["metadata"]["labels"], template["spec"]


def environment(built: list[Manifest], kind: str, name: str) -> dict[str, str]:
    """Return the variables of a pod's program; what comes later wins."""
    [container] = one(built, kind, name)["spec"]["template"]["spec"]["containers"]
    given: dict[str, str] = {}
    for source in container["envFrom"]:
        given |= one(built, "ConfigMap", source["configMapRef"]["name"])["data"]
    for variable in container.get("env", []):
        source = variable["valueFrom"]["configMapKeyRef"]
        given[variable["name"]] = one(built, "ConfigMap", source["name"])["data"][source["key"]]
    return given


def secrets(built: list[Manifest], name: str) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in one(built, "Secret", name)["data"].items()}


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_is_as_the_schema_of_the_cluster_has_it(built: list[Manifest], version: str) -> None:
    for manifest in built:
        kubernetes_validate.validate(manifest, version, strict=True)
    wrong = one(built, "Deployment", "api")
    wrong = {**wrong, "spec": {**wrong["spec"], "minReadySecond": 5}}
    with pytest.raises(kubernetes_validate.ValidationError, match="minReadySecond"):
        kubernetes_validate.validate(wrong, version, strict=True)


def test_what_is_named_is_there(built: list[Manifest]) -> None:
    names = {(m["kind"], m["metadata"]["name"]) for m in built}
    for _, spec in pods(built):
        [container] = spec["containers"]
        used = {("Secret", v["secret"]["secretName"]) for v in spec["volumes"] if "secret" in v}
        used |= {("ConfigMap", v["configMap"]["name"]) for v in spec["volumes"] if "configMap" in v}
        used |= {("ConfigMap", source["configMapRef"]["name"]) for source in container["envFrom"]}
        assert used <= names
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
    [rule] = one(built, "Ingress", "api")["spec"]["rules"]
    ports = {name: [p["name"] for p in one(built, "Service", name)["spec"]["ports"]] for name in ("api", "nothing")}
    for path in rule["http"]["paths"]:
        service = path["backend"]["service"]
        assert service["port"]["name"] in ports[service["name"]]
    assert one(built, "Ingress", "api")["spec"]["tls"][0]["hosts"] == [rule["host"]]
    labels, spec = list(pods(built))[1]
    for selector in (
        one(built, "Service", "api")["spec"]["selector"],
        one(built, "Deployment", "api")["spec"]["selector"]["matchLabels"],
        one(built, "PodDisruptionBudget", "api")["spec"]["selector"]["matchLabels"],
        one(built, "NetworkPolicy", "from-the-ingress")["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    assert one(built, "Service", "api")["spec"]["ports"][0]["targetPort"] == spec["containers"][0]["ports"][0]["name"]
    policy = one(built, "NetworkPolicy", "to-the-database")["spec"]
    for labels, _ in pods(built):
        assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    for kind, name in (("Job", "migrate"), ("Deployment", "api")):
        allowed = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
        assert int(environment(built, kind, name)["DB_PORT"]) in allowed


def test_the_programs_get_the_settings_that_they_know(built: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, name, settings in (("Deployment", "api", Settings), ("Job", "migrate", MigrateSettings)):
        given, files = environment(built, kind, name), secrets(built, name)
        aside = {"TAG"} if name == "api" else set()  # what else is in the map that both share
        known = {field.upper() for field in settings.model_fields}
        assert set(given) - known <= aside | {"DB_OWNER_USERNAME"}
        assert {key.upper() for key in files} <= known
        with monkeypatch.context() as patch:
            for variable, value in given.items():
                patch.setenv(variable, value)
            assert settings(**files).db_sslmode == "verify-full"  # type: ignore[arg-type]


def test_each_has_its_own_password_and_no_more(built: list[Manifest]) -> None:
    assert secrets(built, "migrate") == {"db_pass": SECRETS["DB_OWNER_PASS"]}
    api = {"db_pass": SECRETS["DB_PASS"], "token_key": SECRETS["TOKEN_KEY"], "token_key_previous": ""}
    assert secrets(built, "api") == api
    assert environment(built, "Job", "migrate")["DB_USERNAME"] == "tangga_owner"
    assert environment(built, "Deployment", "api")["DB_USERNAME"] == "tangga_app"
    shown = yaml.safe_dump_all([m for m in built if m["kind"] != "Secret"])
    assert not [value for value in SECRETS.values() if value in shown]


def test_pods_are_as_closed_as_the_namespace_asks(built: list[Manifest]) -> None:
    assert one(built, "Namespace", "tangga")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for _, spec in pods(built):
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not spec["automountServiceAccountToken"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert {key for v in spec["volumes"] for key in v if key != "name"} <= {"secret", "configMap", "emptyDir"}
        for container in spec["containers"]:
            closed = {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["securityContext"] == closed
            assert "memory" in container["resources"]["limits"]
    assert one(built, "NetworkPolicy", "nobody")["spec"]["podSelector"] == {}


def test_one_release_and_one_number_of_replicas(built: list[Manifest]) -> None:
    [image] = {container["image"] for _, spec in pods(built) for container in spec["containers"]}
    deployment = one(built, "Deployment", "api")["spec"]
    assert image.rpartition(":")[2] == environment(built, "Job", "migrate")["TAG"]
    assert deployment["replicas"] == int(environment(built, "Deployment", "api")["API_REPLICAS"])
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    gunicorn = (PROJECT / "services/api/gunicorn.conf.py").read_text()
    [graceful] = re.findall(r"^graceful_timeout = (\d+)", gunicorn, re.M)
    spec = deployment["template"]["spec"]
    pause = int(spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert spec["terminationGracePeriodSeconds"] >= pause + int(graceful)


def test_the_first_command_brings_all_but_the_api(built: list[Manifest]) -> None:
    """Docs/scaling.md applies what is not named api, waits for the job, and applies the rest."""
    assert "-l 'app.kubernetes.io/name!=api'" in PAGE
    left = [m["kind"] for m in built if m["metadata"].get("labels", {}).get("app.kubernetes.io/name") == "api"]
    assert left == ["Deployment"]
