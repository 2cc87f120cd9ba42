"""What is written down in more than one file agrees."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.api.main import VERSION
from services.api.settings import Settings
from services.migrate.settings import MigrateSettings

PROJECT = Path(__file__).parents[2]
COMPOSE = (PROJECT / "compose.yaml").read_text()
OVERLAYS = "".join(path.read_text() for path in [*PROJECT.glob("compose.*.yaml"), *PROJECT.glob("deploy/*.yaml")])
MANUAL = (PROJECT / ".env.example").read_text()
DOCKERFILE = (PROJECT / "Dockerfile").read_text()
DOCUMENTED = set(re.findall(r"^#?([A-Z][A-Z_]+)=", MANUAL, re.MULTILINE))
# Read by Compose itself, by the operating system or by Docker: not passed on, or not written in .env.
COMPOSE_ALONE = {"COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES", "COMPOSE_FILE"}
CA_BUNDLES = {"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}


def _environment(service: str) -> dict[str, Any]:
    environment: dict[str, Any] = yaml.safe_load(COMPOSE)["services"][service]["environment"]
    return environment


def test_the_version_is_the_projects() -> None:
    assert tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"] == VERSION


@pytest.mark.parametrize("name", ["PYTHON_IMAGE", "POSTGRES_IMAGE"])
def test_a_base_image_has_one_default(name: str) -> None:
    in_compose = set(re.findall(rf"\$\{{{name}:-([^}}]+)\}}", COMPOSE))
    assert len(in_compose) == 1
    assert set(re.findall(rf"^#?{name}=(.+)$", MANUAL, re.MULTILINE)) == in_compose
    if name == "PYTHON_IMAGE":
        assert set(re.findall(rf"^ARG {name}=(.+)$", DOCKERFILE, re.MULTILINE)) == in_compose


def test_every_variable_of_compose_is_explained_in_the_manual() -> None:
    used = set(re.findall(r"\$\{([A-Z_]+)", COMPOSE)) | {n for n, v in _environment("api").items() if v is None}
    assert used - CA_BUNDLES <= DOCUMENTED


def test_every_variable_of_the_manual_is_used() -> None:
    used = set(re.findall(r"\$\{([A-Z_]+)", COMPOSE + OVERLAYS))
    used |= {name for name, value in _environment("api").items() if value is None}
    scripts = [*PROJECT.glob("scripts/deploy/*.sh"), PROJECT / "scripts/prepare/images.sh"]
    used |= set(re.findall(r"setting ([A-Z_]+)", "".join(script.read_text() for script in scripts)))
    assert used >= DOCUMENTED - COMPOSE_ALONE


def test_defaults_in_the_manual_are_the_ones_of_compose() -> None:
    manual = dict(re.findall(r"^#?([A-Z][A-Z_]+)=(.*)$", MANUAL, re.MULTILINE))
    for name, default in re.findall(r"\$\{([A-Z_]+):-([^${}]+)\}", COMPOSE):
        if name not in CA_BUNDLES:
            assert manual[name] == default, name


@pytest.mark.parametrize(("settings", "service"), [(Settings, "api"), (MigrateSettings, "migrate")])
def test_compose_passes_every_setting(settings: type[Settings | MigrateSettings], service: str) -> None:
    fields = {name.upper() for name in settings.model_fields}
    passed = set(_environment(service))
    assert fields - passed == {"DB_SSLMODE", "DB_SSLROOTCERT"}  # only for a database elsewhere: its overlay passes them
    assert "DB_SSLMODE: ${DB_SSLMODE:-verify-full}" in OVERLAYS
    # gunicorn's own, read in services/api/gunicorn.conf.py
    assert passed - fields == ({"WEB_CONCURRENCY"} if service == "api" else set())


@pytest.mark.parametrize(("settings", "service"), [(Settings, "api"), (MigrateSettings, "migrate")])
def test_a_default_of_compose_is_the_default_of_the_program(
    settings: type[Settings | MigrateSettings], service: str
) -> None:
    for name, value in _environment(service).items():
        field = settings.model_fields.get(name.lower())
        default = re.fullmatch(r"\$\{\w+:-(.*)\}", str(value))
        if field and default and not field.is_required():
            assert str(field.default).lower() == default[1], name


def test_the_api_gets_neither_the_owners_password_nor_the_superusers() -> None:
    assert "DB_OWNER_PASS" in str(_environment("migrate"))
    assert not re.search(r"OWNER|POSTGRES_", str(_environment("api")))
    assert "TOKEN_KEY" not in str(_environment("migrate"))


def test_the_runtime_image_holds_the_product_only() -> None:
    runtime = DOCKERFILE.partition("AS runtime")[2].partition("\nFROM")[0]
    copied = re.findall(r"^COPY --chmod=755 (\S+)", runtime, re.MULTILINE)
    assert copied == ["alembic.ini", "services/api", "services/migrate", "migrations"]
