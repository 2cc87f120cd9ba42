import os
import re
from pathlib import Path
from typing import Any

import psycopg2.extensions
import pytest
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2

from services.api.settings import PLACEHOLDER, DatabaseSettings, Settings
from services.migrate.settings import MigrateSettings

PROJECT = Path(__file__).parents[2]
HOSTILE = """p@ss'w%o$rd/"#?&:\\ é"""
GOOD = {
    "DB_USERNAME": "someone",
    "DB_PASS": "a-password-of-its-own",
    "DB_HOSTNAME": "db.example",
    "DB_PORT": "6543",
    "DB_NAME": "some-name",
    "TOKEN_KEY": "0123456789abcdef0123456789abcdef",
}


@pytest.fixture(autouse=True)
def _good_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields | MigrateSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("previous", ["", "fedcba9876543210fedcba9876543210", "é" * 6 + "0123456789abcdefghij"])
def test_a_previous_key_may_be_empty_as_compose_passes_an_unset_one(
    previous: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN_KEY_PREVIOUS", previous)
    assert Settings.load().token_key_previous.get_secret_value() == previous


def test_good_settings_load() -> None:
    settings = Settings.load()
    assert (settings.db_username, settings.db_hostname, settings.db_port) == ("someone", "db.example", 6543)
    assert MigrateSettings.load().migrate_lock_wait == 300


@pytest.mark.parametrize("name", ["DB_USERNAME", "DB_PASS", "DB_HOSTNAME", "DB_NAME", "TOKEN_KEY"])
def test_a_missing_setting_ends_the_program_and_names_itself(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(SystemExit) as ended:
        Settings.load()
    assert ended.value.code == 2
    assert f"error: {name}: is not set\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DB_PASS", PLACEHOLDER),
        ("DB_PASS", f"{PLACEHOLDER}-9283"),
        ("DB_PASS", ""),
        ("TOKEN_KEY", PLACEHOLDER * 4),
        ("TOKEN_KEY", "k9283" * 6),
        ("TOKEN_KEY", "k" * 64),
        ("TOKEN_KEY", "928345671" * 8),
        ("TOKEN_KEY", "0123456789abcdef0123456789abcde"),
        ("TOKEN_KEY_PREVIOUS", PLACEHOLDER * 4),
        ("TOKEN_KEY_PREVIOUS", "k9283"),
        ("TOKEN_KEY_PREVIOUS", "9" * 64),
        ("LOGIN_ATTEMPTS", "0"),
        ("LOGIN_ATTEMPTS_WINDOW", "0"),
        ("REGISTRATIONS_PER_ADDRESS", "0"),
        ("REGISTRATIONS_WINDOW", "0"),
        ("HASH_THREADS", "0"),
        ("HASH_QUEUE", "-1"),
        ("IDEMPOTENCY_HOURS", "0"),
        ("DB_USERNAME", ""),
        ("DB_HOSTNAME", ""),
        ("DB_NAME", ""),
        ("DB_PORT", "port-9283"),
        ("DB_PORT", "92830"),
        ("DB_PORT", "0"),
        ("TOKEN_MINUTES", "0"),
        ("TOKEN_MINUTES", "928300"),
        ("DB_POOL_SIZE", "0"),
        ("API_REPLICAS", "0"),
        ("LOG_FORMAT", "format-9283"),
        ("LOG_LEVEL", "level-9283"),
        ("DB_STATEMENT_TIMEOUT", "0"),
        ("DB_STATEMENT_TIMEOUT", "9283s"),
        ("DB_SCAN_TIMEOUT", "0"),
    ],
)
def test_a_wrong_setting_ends_the_program_without_showing_its_value(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        Settings.load()
    assert ended.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["error", "   do"]
    assert lines[0].startswith(f"error: {name}: ")
    assert "9283" not in "".join(lines)
    assert PLACEHOLDER not in "".join(lines)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DB_PASS", PLACEHOLDER, "is still the placeholder of .env.example"),
        ("TOKEN_KEY", "too-short", "is too weak"),
        ("TOKEN_MINUTES", "soon", "Input should be a valid integer"),
        ("DB_POOL_SIZE", "0", "Input should be greater than or equal to 1"),
    ],
)
def test_what_is_wrong_with_a_setting_is_said(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        Settings.load()
    assert f"error: {name}: {said}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MIGRATE_LOCK_WAIT", "-1"),
        ("MIGRATE_LOCK_TIMEOUT", "0"),
        ("MIGRATE_STATEMENT_TIMEOUT", "-1"),
        ("MIGRATE_TRACEBACK", "perhaps"),
    ],
)
def test_a_wrong_setting_ends_a_migration(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        MigrateSettings.load()
    assert ended.value.code == 2
    assert f"error: {name}: " in capsys.readouterr().err


def test_every_wrong_setting_is_named_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DB_NAME")
    monkeypatch.setenv("TOKEN_KEY", "short")
    with pytest.raises(SystemExit):
        Settings.load()
    assert re.findall(r"^error: (\w+):", capsys.readouterr().err, re.MULTILINE) == ["DB_NAME", "TOKEN_KEY"]


def test_a_migration_needs_no_token_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKEN_KEY")
    MigrateSettings.load()
    with pytest.raises(SystemExit):
        Settings.load()


def test_a_hostile_password_reaches_the_driver_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASS", HOSTILE)
    url = DatabaseSettings.load().url
    assert url.render_as_string(hide_password=False).startswith("postgresql+psycopg2://someone:")
    dialect: Any = PGDialect_psycopg2
    _, arguments = dialect().create_connect_args(url)
    assert arguments == {
        "user": "someone",
        "password": HOSTILE,
        "host": "db.example",
        "port": 6543,
        "dbname": "some-name",
    }
    assert psycopg2.extensions.parse_dsn(psycopg2.extensions.make_dsn(**arguments))["password"] == HOSTILE


def test_printing_settings_or_url_hides_the_secrets() -> None:
    settings = Settings.load()
    assert GOOD["DB_PASS"] in settings.url.render_as_string(hide_password=False)
    for text in (repr(settings), str(settings), str(settings.url), repr(settings.url)):
        assert GOOD["DB_PASS"] not in text
        assert GOOD["TOKEN_KEY"] not in text


def test_the_placeholder_is_the_one_of_the_manual_and_of_the_script_that_replaces_it() -> None:
    script = (PROJECT / "scripts/prepare/env.sh").read_text()
    manual = (PROJECT / ".env.example").read_text()
    assert re.findall(r"^readonly placeholder=(.*)$", script, re.MULTILINE) == [PLACEHOLDER]
    [secrets] = re.findall(r"^readonly secrets=\((.*)\)$", script, re.MULTILINE)
    assert set(re.findall(r"^(\w+)=(.*)$", manual, re.MULTILINE)) == {(name, PLACEHOLDER) for name in secrets.split()}


@pytest.fixture
def secret_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as Compose mounts it at /run/secrets."""
    monkeypatch.setattr("services.api.settings._secrets_dir", tmp_path)
    return tmp_path


def _write(file: Path, content: str) -> None:
    """Write a file; it is newer than before, however coarse the file system's clock."""
    before = file.stat().st_mtime_ns if file.exists() else 0
    file.write_text(content)
    os.utime(file, ns=(before + 10**9, max(file.stat().st_mtime_ns, before + 10**9)))


def test_a_token_key_that_is_changed_while_the_program_runs_signs_from_then_on(secret_files: Path) -> None:
    settings = Settings.load()
    first = GOOD["TOKEN_KEY"]
    assert settings.token_keys() == [first]
    key, previous = secret_files / "token_key", secret_files / "token_key_previous"
    _write(key, first)
    _write(previous, "")
    assert settings.token_keys() == [first]
    _write(previous, first + "\n")
    _write(key, "n" * 64)
    assert settings.token_keys() == ["n" * 64, first]
    # Opened for writing, not yet written: nobody signs with nothing.
    _write(key, "")
    assert settings.token_keys() == ["n" * 64, first]
    _write(key, "m" * 64)
    _write(previous, "")
    assert settings.token_keys() == ["m" * 64]


def test_the_password_before_stands_behind_the_one_of_now(secret_files: Path) -> None:
    settings = Settings.load()
    assert settings.passwords() == [GOOD["DB_PASS"]]
    (secret_files / "db_pass").write_text("new")
    (secret_files / "db_pass_previous").write_text("old")
    assert settings.passwords() == ["new", "old"]
