"""PgBouncer in transaction mode between API and database: the same answers, few connections, and no migration through it."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator

import httpx2
import pytest

from tests.databases import PATIENCE, eventually
from tests.stack.conftest import Stack, wait_for

BODY = {"nama": "Ani", "umur": 1, "alamat": ""}
THROUGH = {"DB_HOSTNAME": "pooler", "DB_PORT": "6432"}


@pytest.fixture(scope="module")
def stack(make_stack: Callable[[str], Stack]) -> Iterator[Stack]:
    stack = make_stack("pooler")
    stack.make(".ready")
    for name, value in {
        "COMPOSE_FILE": "compose.yaml:deploy/pooler.yaml",
        "POOLER_CONNECTIONS": "3",
        "DB_POOL_SIZE": "10",
        "WEB_CONCURRENCY": "2",
        "LOG_LEVEL": "warning",
    }.items():
        stack.set_env_file(name, value)
    stack.make("up")
    yield stack
    stack.remove()


def ask(stack: Stack, query: str) -> str:
    """Ask the database through the pooler, as the API's role."""
    password = f"PGPASSWORD={stack.setting('DB_PASS')}"
    words = ("-h", "127.0.0.1", "-p", "6432", "-U", "tangga_app", "tangga", "-c", query)
    return stack.compose("exec", "-T", "-e", password, "pooler", "psql", "-XqAt", *words).strip()


def pools(stack: Stack) -> dict[str, int]:
    """What PgBouncer says of the API's pool."""
    words = ("-h", "/tmp", "-p", "6432", "-U", "pgbouncer", "pgbouncer", "-c", "SHOW POOLS")
    lines = stack.compose("exec", "-T", "pooler", "psql", "-XA", "-F", " ", *words).splitlines()
    rows = [dict(zip(lines[0].split(" "), line.split(" "), strict=False)) for line in lines[1:]]
    [row] = [row for row in rows if row.get("database") == "tangga"]
    return {name: int(row[name]) for name in ("cl_active", "cl_waiting", "sv_active", "sv_idle", "sv_used")}


Seen = Counter[int | str]


async def load(stack: Stack, headers: dict[str, str], seen: Seen, enough: Callable[[], bool]) -> None:
    """Read and write with 40 clients until it is enough; count the answers by status."""
    async with httpx2.AsyncClient(base_url=stack.url, headers=headers, timeout=PATIENCE) as client:

        async def one(number: int) -> None:
            while not enough():
                try:
                    answer = await (
                        client.post("/posts", json=BODY) if number % 4 == 0 else client.get("/posts?limit=100")
                    )
                    seen[answer.status_code] += 1
                except httpx2.TransportError as error:
                    seen[repr(error)] += 1

        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(one(number) for number in range(40)))


def test_the_api_answers_as_without_it(stack: Stack) -> None:
    headers = stack.log_in()
    with httpx2.Client(base_url=stack.url, headers=headers, timeout=PATIENCE) as client:
        post = client.post("/posts", json=BODY)
        assert post.status_code == 201
        path = f"/posts/{post.json()['id']}"
        assert client.get(path).json()["nama"] == "Ani"
        once = {"Idempotency-Key": "a-key-of-mine"}
        first, second = (client.post("/posts", json=BODY, headers=once) for _ in range(2))
        assert (first.json(), second.headers["Idempotency-Replayed"]) == (second.json(), "true")
        votes = [client.post("/vote", json={"post_id": post.json()["id"], "dir": 1}).status_code for _ in range(2)]
        assert votes == [201, 409]
        assert client.put(path, json={**BODY, "nama": "Budi"}).json()["votes"] == 1
        assert client.delete(path).status_code == 204
    assert (
        stack.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'tangga_app' AND query ~ 'PREPARE|EXECUTE'")
        == "0"
    )


def test_more_connections_than_the_server_has_for_it(stack: Stack) -> None:
    seen: Seen = Counter()
    asyncio.run(load(stack, stack.log_in(), seen, lambda: seen.total() >= 500))
    assert set(seen) == {200, 201}
    found = pools(stack)
    assert found["cl_active"] + found["cl_waiting"] > 10
    assert found["sv_active"] + found["sv_idle"] + found["sv_used"] <= 3
    assert int(stack.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'tangga_app'")) <= 3


def test_a_slow_statement_is_bounded_by_the_role(stack: Stack) -> None:
    """The API cannot say it itself; and it says at its start if the role's bound is not the one that it is set to."""
    assert "statement_timeout_differs" not in stack.compose("logs", "api")
    assert ask(stack, "SHOW statement_timeout") == "10s"
    stack.compose("up", "--detach", "--wait", "--no-deps", "api", DB_STATEMENT_TIMEOUT="7")
    advice = "ALTER ROLE tangga_app SET statement_timeout = '7s'"
    wait_for(lambda: advice in stack.compose("logs", "api"), "the warning")
    stack.compose("up", "--detach", "--wait", "--no-deps", "api")


def test_a_restart_of_the_pooler_is_no_more_than_a_503_or_for_a_write_a_504(stack: Stack) -> None:
    seen: Seen = Counter()

    async def scenario(headers: dict[str, str]) -> None:
        enough = float("inf")
        traffic = asyncio.create_task(load(stack, headers, seen, lambda: seen[200] >= enough))
        assert await asyncio.to_thread(eventually, lambda: seen[200] >= 100)
        await asyncio.to_thread(stack.compose, "restart", "pooler")
        enough = seen[200] + 100
        await traffic

    asyncio.run(scenario(stack.log_in()))
    assert set(seen) <= {200, 201, 503, 504}
    wait_for(lambda: stack.get("/readyz").status_code == 200, "the pooler to be back")


def test_a_migration_through_it_is_refused(stack: Stack) -> None:
    """Two clients get the same session of the server, one after the other: both hold the lock that is for one."""
    lock = "SELECT pg_try_advisory_lock(1)"
    assert ask(stack, lock) == "t"
    # The API may have that session at the moment; then the next one has another.
    wait_for(lambda: ask(stack, lock) == "t", "another client to be in the session that holds the lock")
    run = ("docker", "compose", "run", "--rm", "-T", "--no-deps", *(f"--env={n}={v}" for n, v in THROUGH.items()))
    unknown = stack.run(*run, "migrate", "alembic", "current")
    assert unknown.returncode == 5, unknown.stdout  # the owner is not in its list of users

    owner_is_app = {"DB_OWNER_USERNAME": "tangga_app", "DB_OWNER_PASS": stack.setting("DB_PASS")}
    for command in (["upgrade", "head"], ["downgrade", "-1"], ["current"]):
        refused = stack.run(*run, "migrate", "alembic", *command, **owner_is_app)
        assert refused.returncode == 5, refused.stdout
        assert "a pooler answers" in refused.stdout
        assert "MIGRATE_DB_HOSTNAME" in refused.stdout


def test_new_passwords_reach_it_too(stack: Stack) -> None:
    stack.make("rotate-secrets")
    assert stack.get("/readyz").status_code == 200
    assert ask(stack, "SELECT current_user") == "tangga_app"


def test_an_api_that_does_not_know_of_it_says_so(stack: Stack) -> None:
    """It asks for settings of its session, which the pooler refuses rather than drops."""
    file = stack.folder / "unaware.yaml"
    file.write_text('services: { api: { environment: { DB_POOLER: "false" } } }\n')
    stack.compose(
        "-f", "compose.yaml", "-f", "deploy/pooler.yaml", "-f", file.name, "up", "--detach", "--no-deps", "api"
    )
    wait_for(lambda: "DB_POOLER=true" in stack.run("curl", "-s", f"{stack.url}/readyz").stdout, "the reason")
