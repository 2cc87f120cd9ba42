"""A database elsewhere: TLS with the server verified, no `db` in the stack, and an administrator who is no superuser."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from tests.databases import PATIENCE
from tests.migrations.staircase import HEAD
from tests.stack.conftest import Stack, wait_for
from tests.stack.elsewhere import NAME, OTHER_NAME, Elsewhere


def sessions(elsewhere: Elsewhere) -> set[str]:
    """Who has sessions there, from where, and whether by TLS."""
    clients = "pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE client_addr IS NOT NULL"
    return set(elsewhere.sql(f"SELECT usename, host(client_addr), ssl FROM {clients}").splitlines())


def address(stack: Stack, service: str, **env: str) -> str:
    container = stack.compose("ps", "--quiet", service, **env).strip()
    template = f'{{{{(index .NetworkSettings.Networks "{stack.name}").IPAddress}}}}'
    return stack.ok("docker", "inspect", "--format", template, container).strip()


@pytest.fixture(scope="module")
def stack(make_stack: Callable[[str], Stack]) -> Iterator[Stack]:
    stack = make_stack("external")
    stack.make(".ready")
    (stack.folder / "network.yaml").write_text(f"networks: {{ outside: {{ name: {stack.name}, external: true }} }}\n")
    stack.set_env_file("COMPOSE_FILE", "compose.yaml:deploy/external-db.yaml:network.yaml")
    stack.ok("docker", "network", "create", stack.name)
    yield stack
    stack.remove()
    stack.ok("docker", "network", "rm", stack.name)


@pytest.fixture(scope="module")
def elsewhere(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    server = Elsewhere(stack, stack.name, tmp_path_factory.mktemp("elsewhere"))
    stack.set_env_file("DB_HOSTNAME", NAME)
    stack.set_env_file("DB_SSLROOTCERT", str(server.ca))
    yield server
    stack.run("docker", "compose", "--profile", "*", "down")  # it is on the network
    server.remove()


def test_the_stack_stands_on_it(stack: Stack, elsewhere: Elsewhere) -> None:
    refused = stack.run("docker", "compose", "config", "--quiet", DB_SSLROOTCERT="")
    assert "DB_SSLROOTCERT" in refused.stdout
    assert "left out pg_read_all_stats" in elsewhere.make_roles(stack)
    printed = stack.make("up")
    assert f"revision  {HEAD}" in printed
    assert "db" not in stack.compose("ps", "--all", "--services").split()
    assert f"{stack.name}_db-data" not in stack.ok("docker", "volume", "ls", "--quiet").split()

    body = {"nama": "Ani", "umur": 1, "alamat": ""}
    assert httpx2.post(f"{stack.url}/posts", headers=stack.log_in(), json=body, timeout=PATIENCE).status_code == 201
    of_api = {f"tangga_app|{address(stack, 'api')}|t"}
    wait_for(lambda: sessions(elsewhere) == of_api, "sessions of the API alone")
    for command in (["migrate"], ["history"], ["check"], ["status"], ["backup"], ["rollback"], ["migrate"]):
        stack.make(*command)
    asked = stack.ok("scripts/psql.sh", "-qAtc", "SELECT nama FROM posts")
    assert asked.splitlines()[-1] == "Ani"


def test_a_pooler_before_it_verifies_it_too(stack: Stack, elsewhere: Elsewhere) -> None:
    pooled = {"COMPOSE_FILE": "compose.yaml:deploy/external-db.yaml:deploy/pooler.yaml:network.yaml"}
    stack.make("up", **pooled)
    assert '"nama":"Ani"' in stack.get("/posts").text
    of_pooler = {f"tangga_app|{address(stack, 'pooler', **pooled)}|t"}
    wait_for(lambda: sessions(elsewhere) == of_pooler, "sessions of the pooler alone")
    stack.compose("rm", "--stop", "--force", "pooler", **pooled)


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("DB_SSLROOTCERT", "another CA", "not signed by the CA in DB_SSLROOTCERT"),
        ("DB_HOSTNAME", OTHER_NAME, "for another name than DB_HOSTNAME"),
        ("DB_SSLMODE", "disable", "takes nobody without TLS"),
    ],
)
def test_another_server_is_refused(stack: Stack, setting: str, value: str, words: str, tmp_path: Path) -> None:
    if value == "another CA":
        value = str(tmp_path / "ca.pem")
        subject = ("-subj", "/CN=another", "-keyout", "/dev/null", "-out", value)
        stack.ok("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject)
    wrong = {setting: value}
    migrate = stack.run("docker", "compose", "run", "--rm", "-T", "migrate", "alembic", "upgrade", "head", **wrong)
    assert migrate.returncode == 5, migrate.stdout
    assert words in migrate.stdout
    assert "   do: " in migrate.stdout

    stack.compose("up", "--detach", "--no-deps", "api", **wrong)
    wait_for(lambda: words in stack.run("curl", "-s", f"{stack.url}/readyz").stdout, "the reason in /readyz")
