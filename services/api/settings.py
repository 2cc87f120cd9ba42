"""Settings from the environment, checked once at the start, so that a wrong one stops the program and names itself."""

import sys
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL

PLACEHOLDER = "change-me"
_secrets_dir = Path("/run/secrets")


def _not_placeholder(secret: SecretStr) -> SecretStr:
    if PLACEHOLDER in secret.get_secret_value():
        raise ValueError("is still the placeholder of .env.example; put a secret of your own there")
    return secret


Secret = Annotated[SecretStr, AfterValidator(_not_placeholder)]


class DatabaseSettings(BaseSettings):
    """What it takes to reach the database. The migrate container needs only this."""

    model_config = SettingsConfigDict(
        extra="ignore", hide_input_in_errors=True, secrets_dir=_secrets_dir if _secrets_dir.is_dir() else None
    )

    remedy: ClassVar[str] = "mend it in .env (.env.example explains every variable), then: make up"

    db_username: Annotated[str, Field(min_length=1)]
    db_pass: Annotated[Secret, Field(min_length=1)]
    db_hostname: Annotated[str, Field(min_length=1)]
    db_port: Annotated[int, Field(ge=1, le=65535)] = 5432
    db_name: Annotated[str, Field(min_length=1)]

    @property
    def url(self) -> URL:
        """The database URL as an object: any character is safe in any part, and printing it hides the password."""
        return URL.create(
            "postgresql+psycopg2",
            username=self.db_username,
            password=self.db_pass.get_secret_value(),
            host=self.db_hostname,
            port=self.db_port,
            database=self.db_name,
        )

    @classmethod
    def load(cls) -> Self:
        """Read the settings, or end the program (exit 2) with one line per variable that is missing or wrong.

        The value itself is never shown: it may be a secret.
        """
        try:
            return cls()
        except ValidationError as error:
            for problem in error.errors(include_url=False, include_input=False):
                name = ".".join(str(part) for part in problem["loc"]).upper()
                what = "is not set" if problem["type"] == "missing" else problem["msg"].removeprefix("Value error, ")
                sys.stderr.write(f"error: {name}: {what}\n")
            sys.stderr.write(f"   do: {cls.remedy}\n")
            raise SystemExit(2) from None


class MigrateSettings(DatabaseSettings):
    """Bounds on what a migration may do to a database that is in use. Durations are in seconds."""

    migrate_lock_wait: Annotated[float, Field(ge=0)] = 300
    migrate_lock_timeout: Annotated[float, Field(gt=0)] = 1
    migrate_lock_retry_for: Annotated[float, Field(ge=0)] = 300
    migrate_statement_timeout: Annotated[float, Field(ge=0)] = 900
    # Where a step down keeps what it would lose.
    migrate_save_dir: Path = Path("/saved")
    migrate_traceback: bool = False
    # The release, as images are tagged: noted in migration_log.
    tag: str = "latest"


class ScratchSettings(MigrateSettings):
    """For the commands that try steps out: a throwaway server, and a superuser there."""

    remedy: ClassVar[str] = "only the container `proof` has a scratch server: scripts/proof.sh COMMAND"

    scratch_hostname: Annotated[str, Field(min_length=1)]
    scratch_port: Annotated[int, Field(ge=1, le=65535)] = 5432
    scratch_name: Annotated[str, Field(min_length=1)]
    scratch_username: Annotated[str, Field(min_length=1)]
    scratch_pass: Annotated[Secret, Field(min_length=1)]


class Settings(DatabaseSettings):
    """Everything the API needs."""

    # RFC 7518 section 3.2: a key for HS256 must be at least as long as the hash, 32 bytes.
    token_key: Annotated[Secret, Field(min_length=32)]
    token_minutes: Annotated[int, Field(ge=1, le=7 * 24 * 60)] = 60
    # One thread and one connection belong together: a thread without a connection could only wait for one.
    db_pool_size: Annotated[int, Field(ge=1, le=100)] = 5
    db_statement_timeout: Annotated[float, Field(gt=0)] = 10
