"""What the migrators are told by the environment; tangga asks for it through `[tool.tangga]` in pyproject.toml."""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field
from sqlalchemy import URL

from services.api.db.refusals import refusal
from services.api.settings import DatabaseSettings, Secret
from services.migrate.backups import required_backup
from tangga import settings as tangga

# As the superuser, who alone may lock every table (pg_dump does), if the live server lets one in; else as the owner.
_CREDENTIALS = """
secret() {{ cat "/run/secrets/$1" 2>/dev/null || printf %s "$2"; }}
PGUSER="$POSTGRES_USER"
PGPASSWORD=$(secret postgres_password "${{LIVE_SUPERUSER_PASS:-}}")
[ -n "$PGPASSWORD" ] && psql -Xwqc '' >/dev/null 2>&1 ||
  {{ PGUSER={owner} PGPASSWORD=$(secret db_owner_pass "${{DB_OWNER_PASS:-}}"); }}"""


class MigrateSettings(DatabaseSettings):
    """Bounds on what a migration may do to a database that is in use. Durations are in seconds."""

    migrate_lock_wait: Annotated[float, Field(ge=0)] = 300
    migrate_lock_timeout: Annotated[float, Field(gt=0)] = 1
    migrate_lock_retry_for: Annotated[float, Field(ge=0)] = 300
    migrate_statement_timeout: Annotated[float, Field(ge=0)] = 900
    # Where a step down keeps what it would lose.
    migrate_save_dir: Path = Path("/saved")
    migrate_traceback: bool = False
    # Steps go up only from where a backup younger than this was made.
    backup_before_migrate: bool = False
    backup_fresh_minutes: Annotated[float, Field(gt=0)] = 60
    # The release, as images are tagged: noted in migration_log.
    tag: str = "latest"


class ScratchSettings(MigrateSettings):
    """For the commands that try steps out: a throwaway server, and a superuser there."""

    remedy: ClassVar[str] = "only the container `proof` has a scratch server: scripts/lib/with-scratch.sh COMMAND"

    scratch_hostname: Annotated[str, Field(min_length=1)]
    scratch_port: Annotated[int, Field(ge=1, le=65535)] = 5432
    scratch_name: Annotated[str, Field(min_length=1)]
    scratch_username: Annotated[str, Field(min_length=1)]
    scratch_pass: Annotated[Secret, Field(min_length=1)]


def database() -> tangga.Settings:
    """Return the database and the bounds; ends the program (exit 2) if a setting is missing or wrong."""
    found = MigrateSettings.load()
    return tangga.Settings(
        found.url,
        lock_wait=found.migrate_lock_wait,
        lock_timeout=found.migrate_lock_timeout,
        lock_retry_for=found.migrate_lock_retry_for,
        statement_timeout=found.migrate_statement_timeout,
        save_dir=found.migrate_save_dir,
        version=found.tag,
        before_upgrade=required_backup(found.db_name, found.backup_fresh_minutes)
        if found.backup_before_migrate
        else None,
        refusal=refusal,
    )


def scratch() -> tangga.ScratchSettings:
    """Return the throwaway server; ends the program (exit 2) in a container that has none."""
    found = ScratchSettings.load()
    url = URL.create(
        "postgresql+psycopg2",
        username=found.scratch_username,
        password=found.scratch_pass.get_secret_value(),
        host=found.scratch_hostname,
        port=found.scratch_port,
        database=found.scratch_name,
    )
    return tangga.ScratchSettings(url, _CREDENTIALS)
