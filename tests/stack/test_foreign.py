"""tests/foreign/run.sh on a project that is nobody's: what it prints, and that it sees a command that is wrong."""

import re
import shutil
import subprocess
from pathlib import Path

from tests.databases import PATIENCE
from tests.stack.conftest import REPOSITORY
from tests.support.pages import differs


def _matrix(folder: Path) -> str:
    ran = subprocess.run(
        ["tests/foreign/run.sh", folder],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_every_command_is_tried_and_judged(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "tests/histories/foreign", tmp_path / "foreign")
    printed = _matrix(tmp_path / "foreign")
    assert differs("docs/histories.md", "project: command", printed) == ""
    # A step that fails is the project's own; it is said, and stock Alembic says so too.
    step = next((tmp_path / "foreign/db/versions").glob("2_*.py"))
    step.write_text(re.sub(r"(def upgrade\(\).*:\n)", r"\1    op.execute('SELECT 1/0')\n", step.read_text()))
    printed = _matrix(tmp_path / "foreign")
    assert re.search(r"^  \(stock up\)\s+failed", printed, re.M)
    assert re.search(r"^  plan\s+refused .*division by zero", printed, re.M)
    assert re.search(r"^  upgrade\s+as stock", printed, re.M)
