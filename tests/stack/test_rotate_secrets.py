"""make rotate-secrets: database and .env together, whatever happens in between; tokens of the old key live on for a while."""

import os
import re
import stat
from pathlib import Path

import httpx2
import pytest

from tests.databases import PATIENCE
from tests.stack.conftest import OWNER, Stack

NAMES = ("DB_PASS", "DB_OWNER_PASS", "POSTGRES_PASSWORD", "TOKEN_KEY")


def _secrets(stack: Stack, file: str = ".env") -> dict[str, str]:
    text = (stack.folder / file).read_text()
    return {name: re.findall(rf"^{name}=(.*)$", text, re.M)[-1] for name in NAMES}


def _lets_in(stack: Stack, user: str, password: str) -> bool:
    """Tell whether the database takes this password; over TCP, for the socket asks for none."""
    command = ("psql", "-XqAt", "-h", "127.0.0.1", "-U", user, "-d", "tangga", "-c", "SELECT 1")
    return stack.run("docker", "compose", "exec", "-T", "-e", f"PGPASSWORD={password}", "db", *command).stdout == "1\n"


def _may_post(stack: Stack, headers: dict[str, str]) -> bool:
    body = {"nama": "Ani", "umur": 1, "alamat": ""}
    answer = httpx2.post(f"{stack.url}/posts", headers=headers, json=body, timeout=PATIENCE)
    assert answer.status_code in (201, 401)
    return answer.status_code == 201


def test_all_secrets_change_together_and_nobody_has_to_log_in_again(stack: Stack) -> None:
    before, session = _secrets(stack), stack.log_in()
    printed = stack.make("rotate-secrets")
    after = _secrets(stack)
    assert not set(before.values()) & set(after.values())
    assert stat.S_IMODE((stack.folder / ".env").stat().st_mode) == 0o600
    assert not (stack.folder / ".env.rotating").exists()
    for user, name in (("tangga_app", "DB_PASS"), (OWNER, "DB_OWNER_PASS"), ("postgres", "POSTGRES_PASSWORD")):
        assert _lets_in(stack, user, after[name])
        assert not _lets_in(stack, user, before[name])
    assert _may_post(stack, session)
    new_session = stack.log_in()
    # No secret in what is printed, nor in a log.
    told = printed + "".join(stack.run("docker", "logs", stack.container(name)).stdout for name in ("db", "api"))
    assert not [secret for secret in after.values() if secret in told]

    stack.make("rotate-secrets", "finish=1")
    assert not _may_post(stack, session)
    assert _may_post(stack, new_session)
    stack.make("up")
    assert _may_post(stack, new_session)


def test_what_the_database_refuses_is_not_in_env(stack: Stack) -> None:
    before = (stack.folder / ".env").read_bytes()
    stack.sql("ALTER DATABASE postgres SET default_transaction_read_only = on", user="postgres")
    result = stack.run("make", "rotate-secrets")
    alter = "SET default_transaction_read_only = off; ALTER DATABASE postgres RESET default_transaction_read_only"
    stack.sql(alter, user="postgres")
    assert result.returncode != 0
    assert "✓" not in result.stdout
    assert re.search("^error: .*nothing was changed: cannot execute ALTER ROLE in a read-only", result.stdout, re.M)
    assert (stack.folder / ".env").read_bytes() == before
    assert not (stack.folder / ".env.rotating").exists()
    for user, name in (("tangga_app", "DB_PASS"), (OWNER, "DB_OWNER_PASS"), ("postgres", "POSTGRES_PASSWORD")):
        assert _lets_in(stack, user, _secrets(stack)[name])


# The moments at which a run can be killed: .env.rotating is there; the roles have changed as well.
@pytest.mark.parametrize("roles_changed", [False, True], ids=["before the roles", "after the roles"])
def test_a_run_that_was_killed_is_finished_by_the_next(stack: Stack, tmp_path: Path, roles_changed: bool) -> None:
    before, session = _secrets(stack), stack.log_in()
    docker = tmp_path / "docker"
    work = 'PATH=${PATH#*:} docker "$@"\n' if roles_changed else ""
    # Kills make and its script in the middle; every other call goes through.
    docker.write_text(
        "#!/bin/bash\n"
        'if [[ "$*" == *"-d postgres"* ]]; then\n'
        f"  {work}  kill -9 $(ps -o pid= -s $(ps -o sid= -p $$) | grep -vw $$); exit 1\n"
        "fi\n"
        'PATH=${PATH#*:} exec docker "$@"\n'
    )
    docker.chmod(0o755)
    killed = stack.run("setsid", "--wait", "make", "rotate-secrets", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert killed.returncode != 0
    planned = _secrets(stack, ".env.rotating")
    assert stat.S_IMODE((stack.folder / ".env.rotating").stat().st_mode) == 0o600
    assert _secrets(stack) == before
    assert _lets_in(stack, OWNER, planned["DB_OWNER_PASS"]) is roles_changed

    stack.make("rotate-secrets")
    assert _secrets(stack) == planned
    assert _lets_in(stack, OWNER, planned["DB_OWNER_PASS"])
    assert _may_post(stack, session)


def test_a_password_that_was_changed_in_env_only_is_given_to_the_database(stack: Stack) -> None:
    stack.set_env_file("DB_OWNER_PASS", "'a $new \"one\" #2'")
    refused = stack.run("make", "up")
    assert refused.returncode != 0
    assert "make rotate-secrets apply=1" in refused.stdout
    stack.make("rotate-secrets", "apply=1")
    stack.make("up")
