import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
WEB = ("fastapi", "starlette", "uvicorn", "gunicorn")
STEPS_TO_SQL = "import alembic.config; alembic.config.main(argv=['upgrade', 'head', '--sql'])"
_HERE = PROJECT / "services/migrate"
MIGRATE_MODULES = sorted(
    ".".join(path.relative_to(_HERE).with_suffix("").parts).removesuffix(".__init__")
    for path in _HERE.rglob("tangga/**/*.py")
)


def _web_modules_after(code: str) -> set[str]:
    code += f"\nimport sys\nprint('web modules:', *(name for name in {WEB!r} if name in sys.modules))"
    finished = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    return set(finished.stdout.splitlines()[-1].split()[2:])


def test_the_app_imports_the_web_framework() -> None:
    assert _web_modules_after("import services.api.main") >= {"fastapi", "starlette"}


@pytest.mark.parametrize(
    "code",
    [
        "import services.api.db.models",
        "import services.api.settings",
        "\n".join(f"import {name}" for name in MIGRATE_MODULES),
        # alembic.context has its names only while a command runs; this one runs env.py, and needs no database.
        STEPS_TO_SQL,
    ],
    ids=["models", "settings", "tangga", "migrations/env.py"],
)
def test_a_migration_does_not_import_the_web_framework(code: str) -> None:
    assert not _web_modules_after(code)


def test_nothing_but_alembic_creates_structure() -> None:
    files = [*(PROJECT / "services").rglob("*"), *(PROJECT / "migrations").rglob("*"), PROJECT / "alembic.ini"]
    texts = {path: path.read_text() for path in files if path.is_file() and path.suffix not in (".pyc", ".gz")}
    assert len(texts) > 30
    assert not [path for path, text in texts.items() if re.search(r"create_all|drop_all", text)]


def test_no_step_imports_the_models() -> None:
    for path in (PROJECT / "migrations/versions").glob("*.py"):
        # services.migrate is the steps' own library.
        assert "services.api" not in path.read_text(), path


def test_no_url_and_no_secret_stands_in_alembic_ini() -> None:
    assert "sqlalchemy.url" not in (PROJECT / "alembic.ini").read_text()
    assert "://" not in (PROJECT / "alembic.ini").read_text()
