"""Settings from the environment, checked once at the start, so that a wrong one stops the program and names itself."""

import os
import re
import sys
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, PrivateAttr, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL

PLACEHOLDER = "change-me"
_secrets_dir = Path("/run/secrets")


def _not_placeholder(secret: SecretStr) -> SecretStr:
    if PLACEHOLDER in secret.get_secret_value():
        raise ValueError("is still the placeholder of .env.example; put a secret of your own there")
    return secret


def _strong(key: SecretStr) -> SecretStr:
    text = key.get_secret_value()
    # RFC 7518 section 3.2: a key for HS256 must be at least as long as the hash.
    if len(text.encode()) < 32 or len(set(text)) < 10:
        raise ValueError(
            "is too weak: take at least 32 bytes of at least 10 different characters; python3 -c "
            "'import secrets; print(secrets.token_hex(32))' prints a good one"
        )
    return key


class FileSecret:
    """A secret in /run/secrets, which may be changed while the program runs (make rotate-secrets)."""

    def __init__(self, name: str, *, may_be_empty: bool = False) -> None:
        self._path = _secrets_dir / name
        self._may_be_empty = may_be_empty
        self._changed: int | None = None
        self._text = ""

    def read(self) -> str:
        """Return the secret as it is now; "" if there is none. Where nothing has changed, one system call."""
        try:
            changed = os.stat(self._path).st_mtime_ns  # noqa: PTH116 - for every token
            if changed != self._changed:
                text = self._path.read_text().strip()
                if text or self._may_be_empty:  # else it is just being written
                    self._text, self._changed = text, changed
        except OSError:
            return ""
        return self._text


def _exact_origins(text: str) -> str:
    origins = [origin.strip() for origin in text.split(",")] if text.strip() else []
    for origin in origins:
        if not re.fullmatch(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?", origin):
            raise ValueError(
                "must be exact origins, comma-separated, such as https://app.example.org,http://localhost:5173: "
                "scheme, host in lower case, port unless it is the scheme's own; no path, no slash at the end, never *"
            )
    return ",".join(origins)


def networks(text: str) -> list[IPv4Network | IPv6Network]:
    """Return the addresses and networks in a comma-separated list; `*` is everybody."""
    if text.strip() == "*":
        return [ip_network("0.0.0.0/0"), ip_network("::/0")]
    return [ip_network(part.strip()) for part in text.split(",") if part.strip()]


def _networks(text: str) -> str:
    try:
        networks(text)
    except ValueError:
        raise ValueError("must be addresses or networks, comma-separated, such as 172.20.0.0/16, or *") from None
    return text


# auto: text for people on a terminal, JSON elsewhere.
LogFormat = Literal["auto", "json", "text"]
LogLevel = Literal["debug", "info", "warning", "error"]
SslMode = Literal["", "disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
Secret = Annotated[SecretStr, AfterValidator(_not_placeholder)]
TokenKey = Annotated[Secret, AfterValidator(_strong)]


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
    # libpq's own words (docs/scaling.md). Empty: its own default, which is TLS where the server has it, unverified.
    db_sslmode: SslMode = ""
    db_sslrootcert: str = ""

    @property
    def tls(self) -> dict[str, str]:
        """What libpq is told of TLS: nothing, unless it was set."""
        return {k: v for k, v in (("sslmode", self.db_sslmode), ("sslrootcert", self.db_sslrootcert)) if v}

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
            query=self.tls,
        )

    def connection_parameters(self) -> dict[str, Any]:
        """What psycopg2 is told to find the database, the password aside."""
        address = {"host": self.db_hostname, "port": self.db_port, "dbname": self.db_name, "user": self.db_username}
        return {**address, **self.tls}

    def passwords(self) -> list[str]:
        """Return the password as it is now, and behind it the one before it, if that may still be the role's.

        While the password is rotated, one of the two is right at any moment.
        """
        now = FileSecret("db_pass").read() or self.db_pass.get_secret_value()
        return [now, *filter(None, [FileSecret("db_pass_previous", may_be_empty=True).read()])]

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


class Settings(DatabaseSettings):
    """Everything the API needs."""

    token_key: TokenKey
    # Signs nothing any more, but what it has signed is still good. Empty: there is none.
    token_key_previous: Annotated[Secret, AfterValidator(lambda key: key and _strong(key))] = SecretStr("")
    token_minutes: Annotated[int, Field(ge=1, le=7 * 24 * 60)] = 60
    # Failed log-ins in one window of so many seconds: of one account from one address, of one account from all
    # addresses, of all accounts from one address.
    login_attempts: Annotated[int, Field(ge=1)] = 10
    login_attempts_per_account: Annotated[int, Field(ge=1)] = 100
    login_attempts_per_address: Annotated[int, Field(ge=1)] = 100
    login_attempts_window: Annotated[int, Field(ge=1, le=24 * 3600)] = 900
    # Registrations of one address in one window of so many seconds.
    registrations_per_address: Annotated[int, Field(ge=1)] = 50
    registrations_window: Annotated[int, Field(ge=1, le=24 * 3600)] = 300
    # Passwords hashed at the same time in one worker, each with 64 MiB; and how many log-ins may wait for it, and as
    # many registrations.
    hash_threads: Annotated[int, Field(ge=1, le=16)] = 1
    hash_queue: Annotated[int, Field(ge=0, le=10_000)] = 64
    # How long an answer is kept for a request that comes again with its Idempotency-Key.
    idempotency_hours: Annotated[int, Field(ge=1, le=30 * 24)] = 24
    # Statements that one worker has under way at the same time; others wait for their turn.
    db_pool_size: Annotated[int, Field(ge=1, le=100)] = 5
    db_statement_timeout: Annotated[float, Field(gt=0)] = 10
    # A search, or a page far out: how long it may wait for its turn, and how long it may take then.
    db_scan_timeout: Annotated[float, Field(gt=0)] = 2
    # A pooler in transaction mode stands between: nothing may stay in the session from one statement to the next.
    db_pooler: bool = False
    # How many containers run the API: for the connection budget at the start (observe/budget.py).
    api_replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    log_format: LogFormat = "auto"
    log_level: LogLevel = "info"
    # Requests under way in one worker; past it, a quick 503.
    max_in_flight: Annotated[int, Field(ge=1, le=100_000)] = 1000
    # Bytes. The largest post that is valid takes 25 kB when every character is escaped.
    body_limit: Annotated[int, Field(ge=32 * 1024, le=16 * 1024 * 1024)] = 65536
    # Comma-separated, as the browser sends them: https://app.example.org,https://other.example.org:8443
    cors_origins: Annotated[str, AfterValidator(_exact_origins)] = ""
    # Whose X-Forwarded-* is believed: gunicorn takes the scheme from there, middleware/forwarded.py the client.
    forwarded_allow_ips: Annotated[str, AfterValidator(_networks)] = "127.0.0.1"

    _token_key_file: FileSecret = PrivateAttr(default_factory=lambda: FileSecret("token_key"))
    _token_key_previous_file: FileSecret = PrivateAttr(
        default_factory=lambda: FileSecret("token_key_previous", may_be_empty=True)
    )

    def token_keys(self) -> list[str]:
        """Return the keys that are believed at this moment; the first one signs."""
        now, previous = self._token_key_file.read(), self._token_key_previous_file.read()
        if not now:
            now, previous = self.token_key.get_secret_value(), self.token_key_previous.get_secret_value()
        return [now, previous] if previous else [now]
