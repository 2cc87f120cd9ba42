"""A PostgreSQL that is in no stack: TLS only, with a certificate of its own CA, and an administrator who is no superuser."""

import subprocess
from pathlib import Path

from tests.stack.conftest import REPOSITORY, Stack, wait_for

NAME, OTHER_NAME = "db.example.test", "other.example.test"  # the certificate is for the first

_TLS = r"""
set -eu
cd "$PGDATA"
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=CA of a test' -keyout ca.key -out ca.pem 2>/dev/null
openssl req -newkey rsa:2048 -nodes -subj "/CN=$SERVER_NAME" -keyout server.key -out server.csr 2>/dev/null
printf 'subjectAltName=DNS:%s' "$SERVER_NAME" >san
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.crt 2>/dev/null
chmod 600 server.key
echo "ssl = on" >>postgresql.conf
sed -i 's/^host /hostssl /' pg_hba.conf
psql -v ON_ERROR_STOP=1 -U postgres -d postgres <<'SQL'
CREATE ROLE admin LOGIN CREATEDB CREATEROLE PASSWORD 'admin';
ALTER DATABASE tangga OWNER TO admin;
SQL
"""


class Elsewhere:
    """The server, in a container beside the stack's, on the stack's network."""

    def __init__(self, stack: Stack, network: str, folder: Path) -> None:
        self.container = f"{stack.name}-elsewhere"
        script = folder / "tls.sh"
        script.write_text(_TLS)
        script.chmod(0o644)
        image = stack.setting("POSTGRES_IMAGE")
        self._docker(
            "run", "--detach", "--name", self.container, "--network", network,
            "--network-alias", NAME, "--network-alias", OTHER_NAME, "--volume", f"{script}:/docker-entrypoint-initdb.d/tls.sh:ro",
            "--env", "POSTGRES_PASSWORD=elsewhere", "--env", "POSTGRES_DB=tangga", "--env", f"SERVER_NAME={NAME}",
            "--user", "postgres", image,
        )  # fmt: skip
        wait_for(self._answers, "PostgreSQL elsewhere")
        self.ca = folder / "ca.pem"
        self.ca.write_text(self._docker("exec", self.container, "sh", "-c", 'cat "$PGDATA/ca.pem"'))

    def make_roles(self, stack: Stack) -> str:
        """Do what docs/scaling.md asks an operator to do, as an administrator who is no superuser."""
        names = ("DB_OWNER_USERNAME", "DB_OWNER_PASS", "DB_USERNAME", "DB_PASS")
        return self._docker(
            "exec", "--interactive", *(f"--env={name}={stack.setting(name)}" for name in names), self.container,
            "psql", "-Xq", "-U", "admin", "-d", "tangga", input=(REPOSITORY / "services/postgres/roles.sql").read_text(),
        )  # fmt: skip

    def sql(self, query: str) -> str:
        return self._docker(
            "exec", self.container, "psql", "-XqAt", "-U", "postgres", "-d", "tangga", "-c", query
        ).strip()

    def remove(self) -> None:
        self._docker("rm", "--force", "--volumes", self.container)

    def _answers(self) -> bool:
        probe = ("exec", self.container, "pg_isready", "--quiet", "--host=127.0.0.1")
        return subprocess.run(["docker", *probe], check=False, capture_output=True).returncode == 0

    def _docker(self, *arguments: str, input: str | None = None) -> str:
        result = subprocess.run(["docker", *arguments], check=False, capture_output=True, text=True, input=input)
        assert result.returncode == 0, result.stderr
        return result.stdout + result.stderr
