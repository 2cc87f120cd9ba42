"""The proxy of compose.prod.yaml, from outside: who gets through it, who does not, and how it comes by its certificate."""

import json
import socket
import ssl
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import pytest

from tests.databases import PATIENCE
from tests.stack.conftest import Stack, wait_for

NAMES = ("api.example.test", "www.example.test")
FORGED = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "http"}


@pytest.fixture
def stack(production: Stack) -> Stack:
    return production


def _curl(stack: Stack, *arguments: str) -> str:
    """Return HTTP version, status and type of the answer, and its body's beginning."""
    form = "\n%{http_version} %{http_code} %{content_type} %{redirect_url}"
    printed = stack.run("curl", "--insecure", "--silent", "--max-time", "30", "--write-out", form, *arguments).stdout
    body, _, facts = printed.rpartition("\n")
    return f"{facts.strip()} {body[:200]}"


@contextmanager
def _connected(stack: Stack) -> Iterator[ssl.SSLSocket]:
    address = ("127.0.0.1", int(stack.setting("HTTPS_PORT")))
    with socket.create_connection(address, PATIENCE) as plain:
        context = ssl._create_unverified_context()
        with context.wrap_socket(plain, server_hostname="localhost") as connection:
            yield connection


def _said(stack: Stack, text: bytes) -> bytes:
    """Say this, and return all that is answered until the connection ends."""
    with _connected(stack) as connection:
        connection.sendall(text)
        answer = b""
        while part := connection.recv(4096):
            answer += part
        return answer


def test_it_speaks_http_2_over_tls_and_leads_others_there(stack: Stack) -> None:
    assert _curl(stack, f"{stack.url}/healthz").startswith('2 200 application/json {"status":"alive"}')
    assert _curl(stack, "--http1.1", f"{stack.url}/healthz").startswith("1.1 200 ")
    plain = f"http://localhost:{stack.setting('HTTP_PORT')}/posts?limit=3"
    assert _curl(stack, plain).startswith(f"1.1 308  {stack.url}/posts?limit=3")
    # But only to names of ours.
    for name in ("other.example.test", "localhost.other.example.test", "192.0.2.1", "localhost."):
        answer = _curl(stack, "--header", f"Host: {name}", plain)
        assert answer.startswith("1.1 421 application/problem+json"), name


def test_what_is_not_http_or_too_large_does_not_reach_the_api(stack: Stack, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_text("x" * (64 * 1024 + 1))
    problem = "application/problem+json"
    assert _said(stack, b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert _said(stack, b"GET /healthz HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert _said(stack, b"\x16\x03 nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    for status, *request in (
        (413, "--data-binary", f"@{large}", f"{stack.url}/posts"),
        (
            413,
            "--http1.1",
            "--header",
            "Transfer-Encoding: chunked",
            "--data-binary",
            f"@{large}",
            f"{stack.url}/posts",
        ),
        (414, f"{stack.url}/posts?search={'x' * 4096}"),
        (431, "--header", f"X-Large: {'x' * 16384}", f"{stack.url}/posts"),
    ):
        assert f" {status} {problem}" in _curl(stack, *map(str, request)), request[:2]


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "/%6Detrics", "/METRICS?x", "//metrics", "/./metrics"])
def test_figures_are_not_for_outside(stack: Stack, path: str) -> None:
    answer = _curl(stack, "--path-as-is", f"{stack.url}{path}")
    assert answer.startswith("2 404 application/problem+json")


def test_nobody_else_says_who_asks(stack: Stack) -> None:
    began = stack.ok("date", "-u", "+%Y-%m-%dT%H:%M:%SZ").strip()
    path = "/users/123456789"
    assert httpx2.get(f"{stack.url}{path}", headers=FORGED, verify=False, timeout=PATIENCE).status_code == 404

    def logged() -> str:
        """The API's line of that request, from the replica that had it."""
        logs = [stack.ok("docker", "logs", "--since", began, each) for each in stack.container("api").split()]
        return "".join(line for log in logs for line in log.splitlines() if '"/users/{user_id}"' in line)

    wait_for(lambda: logged() != "", "the line of the request")
    network = json.loads(stack.ok("docker", "network", "inspect", f"{stack.name}_public"))[0]
    peer = network["IPAM"]["Config"][0]["Gateway"]  # who connects from this machine
    assert json.loads(logged())["client"] == peer
    assert "203.0.113.7" not in logged()


# What never comes to an end: a request's head, and its body.
_SLOW = (
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    b"POST /posts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\nContent-Type: application/json\r\n\r\n{",
)


def test_slow_clients_wait_at_the_proxy_and_not_for_long(stack: Stack) -> None:
    sent: list[bytes] = []
    answers: list[bytes] = []

    def slow(text: bytes) -> None:
        with _connected(stack) as connection:
            connection.sendall(text)
            sent.append(text)
            connection.settimeout(0.5)
            for _ in range(900):  # fewer than the body lacks: a byte now and then buys no time
                try:
                    answers.append(connection.recv(4096))
                except TimeoutError:
                    connection.sendall(b"x")
                else:
                    return

    slow_ones = [threading.Thread(target=slow, args=(text,)) for text in _SLOW * 50]
    for thread in slow_ones:
        thread.start()
    wait_for(lambda: len(sent) == len(slow_ones), "all of them to have begun")
    for _ in range(20):
        assert stack.get("/readyz").status_code == 200
    # None has got as far as the API.
    count = stack.compose("exec", "-T", "proxy", "sh", "-c",
                          "echo 'show stat api 2 -1' | socat - UNIX-CONNECT:/run/haproxy/admin.sock | tail -n +2 | cut -d , -f 5")  # fmt: skip
    assert int(count.split()[0]) < 10
    for thread in slow_ones:
        thread.join()
    assert len(answers) == len(slow_ones)
    assert {answer.split(b"\r\n")[0] for answer in answers} == {b"HTTP/1.1 408 Request Time-out"}


def test_the_proxy_reaches_the_api_and_nothing_else_and_nobody_reaches_past_it(stack: Stack) -> None:
    database = stack.inspect("db", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")

    def reaches(address: str) -> bool:
        return stack.run("docker", "compose", "exec", "-T", "proxy", "socat", "-T", "3", "/dev/null",
                         f"TCP:{address},connect-timeout=3").returncode == 0  # fmt: skip

    assert reaches("api:8000")
    assert not reaches("db:5432")
    assert not reaches(f"{database}:5432")
    published = stack.ok("docker", "ps", "--filter", f"label=com.docker.compose.project={stack.name}",
                         "--format", '{{.Label "com.docker.compose.service"}} {{.Ports}}')  # fmt: skip
    assert {line.split()[0] for line in published.splitlines() if "->" in line} == {"proxy"}
    # All clients by IPv6 would have one address, the bridge's.
    assert "[::]" not in published
    with suppress(OSError), socket.create_connection(("::1", int(stack.setting("HTTPS_PORT"))), 5):
        pytest.fail("published for IPv6")


def test_nobody_but_the_proxy_has_a_way_out(stack: Stack) -> None:
    target = f"{stack.name}-target"  # on another network, and published on every address of this machine
    stack.ok("docker", "run", "--detach", "--name", target, "--publish", "0.0.0.0::8000", stack.setting("PYTHON_IMAGE"),
             "python3", "-m", "http.server", "8000")  # fmt: skip
    try:
        port = stack.ok("docker", "port", target, "8000").strip().rpartition(":")[2]
        gateway = "{{(index .IPAM.Config 0).Gateway}}"

        def reaches(service: tuple[str, ...], *networks: str) -> bool:
            """Whether this machine is reached at one of its addresses in these networks."""
            at = [stack.ok("docker", "network", "inspect", "--format", gateway, each).strip() for each in networks]
            connect = " || ".join(f"timeout 1 bash -c '</dev/tcp/{address}/{port}'" for address in at)
            return stack.run("docker", "compose", *service, "sh", "-c", connect).returncode == 0

        for service in ("proxy", "certificates"):
            out = ("exec", "-T", service)
            wait_for(lambda out=out: reaches(out, "bridge"), f"the target, from {service}")  # type: ignore[misc]
        inside, rotation = f"{stack.name}_inside", f"{stack.name}_rotation"
        assert not reaches(("exec", "-T", "api"), "bridge", inside, rotation)
        assert not reaches(("exec", "-T", "db"), "bridge", inside)
        assert not reaches(("run", "--rm", "--no-deps", "-T", "migrate"), "bridge", inside)
    finally:
        stack.ok("docker", "rm", "--force", target)


def test_every_container_is_bounded_and_hardened_and_has_no_secret_in_its_environment(stack: Stack) -> None:
    ids = stack.compose("ps", "--all", "--quiet").split()
    containers = json.loads(stack.ok("docker", "inspect", *ids))
    assert len(containers) == 6  # db, migrate, two of the API, certificates, proxy
    secrets = [stack.setting(name) for name in ("DB_PASS", "DB_OWNER_PASS", "POSTGRES_PASSWORD", "TOKEN_KEY")]
    for each in containers:
        host, name = each["HostConfig"], each["Name"]
        assert host["Memory"] > 0, name
        assert host["PidsLimit"] > 0, name
        assert host["LogConfig"]["Config"]["max-size"], name
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert each["Config"]["User"] not in ("", "0", "root"), name
        assert not [secret for secret in secrets if secret in json.dumps(each)], name
    for form in ("yaml", "json"):
        shown = stack.compose("--profile", "*", "config", "--format", form)
        assert "POSTGRES_PASSWORD_FILE" in shown
        assert not [secret for secret in secrets if secret in shown], form
    assert stat.S_IMODE((stack.folder / "secrets").stat().st_mode) == 0o700


_ACME = f"""
services:
  acme: # what it asks our names on port 80 goes to the proxy, as it would from the internet
    build:
      context: .
      dockerfile_inline: |
        ARG PYTHON_IMAGE
        FROM $$PYTHON_IMAGE
        RUN --mount=type=secret,id=ca \\
            if [ -s /run/secrets/ca ]; then set -- -o Acquire::https::CAInfo=/run/secrets/ca; fi; \\
            apt-get "$$@" update -qq && apt-get "$$@" install -y -qq --no-install-recommends caddy socat
      args: {{ PYTHON_IMAGE: "${{PYTHON_IMAGE:-python:3.13.9-slim-trixie}}" }}
      secrets: [ca]
    networks: [public]
    extra_hosts: ["{NAMES[0]}:127.0.0.1", "{NAMES[1]}:127.0.0.1"]
    configs: [{{ source: caddyfile, target: /etc/Caddyfile }}]
    command: [sh, -c, "socat TCP-LISTEN:80,fork,reuseaddr TCP:proxy:8080 & exec caddy run --config /etc/Caddyfile --adapter caddyfile"]
configs:
  caddyfile:
    content: |
      {{
        admin off
        auto_https disable_redirects
        skip_install_trust
      }}
      https://acme {{
        tls internal
        acme_server
      }}
"""


def test_certificates_come_from_an_acme_server_to_the_running_proxy(make_stack: Callable[[str], Stack]) -> None:
    stack = make_stack("acme")
    (stack.folder / "acme.yaml").write_text(_ACME)
    root = stack.folder / "root.crt"
    root.touch()
    stack.in_production(
        COMPOSE_FILE="compose.yaml:compose.prod.yaml:acme.yaml",
        DOMAIN=" ".join(NAMES),
        ACME_SERVER="https://acme/acme/local/directory",
        ACME_CA_FILE="./root.crt",
    )
    stack.ok("scripts/prepare/env.sh")
    stack.ok("scripts/prepare/images.sh")
    stack.compose("build", "acme", "certificates")
    stack.compose("up", "--detach", "acme")
    made = "acme:/root/.local/share/caddy/pki/authorities/local/root.crt"
    wait_for(lambda: stack.run("docker", "compose", "cp", made, str(root)).returncode == 0, "the ACME server")
    root.chmod(0o644)
    stack.compose("pause", "acme")
    stack.compose("up", "--detach", "--wait", "proxy")
    started = stack.inspect("proxy", "{{.State.StartedAt}}")
    context = ssl.create_default_context(cafile=str(root))
    port = int(stack.setting("HTTPS_PORT"))

    def certificate(name: str = NAMES[0]) -> bytes | None:
        """What the proxy shows to who trusts the ACME server; None: nothing that can be trusted."""
        with (
            suppress(ssl.SSLError),
            socket.create_connection(("127.0.0.1", port), 10) as plain,
            context.wrap_socket(plain, server_hostname=name) as connection,
        ):
            return connection.getpeercert(binary_form=True)
        return None

    assert certificate() is None
    stack.compose("unpause", "acme")
    # Five minutes later it tries again, if it has given up by now.
    wait_for(lambda: certificate() is not None, "a certificate for the domain", 3 * PATIENCE)
    first = certificate()
    assert first == certificate(NAMES[1])
    # The names are served, and no other; there is no API in this test.
    for name, status in (*((name, 503) for name in NAMES), ("other.example.test", 421)):
        resolved = ("--resolve", f"{name}:{port}:127.0.0.1")
        assert _curl(stack, *resolved, f"https://{name}:{port}/").startswith(f"2 {status} application/problem+json")
    # It has twelve hours, and certbot makes a new one of whatever ends so soon. Nobody waits here for the service to look
    # again by itself, twice a day.
    stack.compose("restart", "certificates")
    wait_for(lambda: certificate() not in (None, first), "the next certificate")
    assert stack.inspect("proxy", "{{.State.StartedAt}}") == started
    stack.remove()
