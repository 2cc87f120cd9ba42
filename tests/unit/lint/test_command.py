"""`tangga lint`, for a person and for a program, without a database."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tangga import cli
from tangga.exits import FINDINGS, STEP_FAILED
from tangga.lint.examples import plant
from tangga.lint.rules.files import GROUND

_NOT_ASKED = "The database was not asked (--database): edited files and invalid indexes are not seen.\n"
_REMEDY = "let a release go out that no longer reads it; then drop it, and say so in lint_ignore"


@pytest.fixture(autouse=True)
def _no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for one is told that none is named."""
    monkeypatch.delenv("DATABASE_URL", raising=False)


def _lint(history: Path, *arguments: str) -> int:
    try:
        cli.main(["-c", str(history / "alembic.ini"), "lint", *arguments], prog="tangga")
    except SystemExit as error:
        return int(error.code or 0)
    return 0


def test_nothing_is_found(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _lint(history) == 0
    assert capsys.readouterr() == (f"1 revision: 0 findings, 3 exceptions with a reason\n{_NOT_ASKED}", "")


def test_a_finding_for_a_person(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(history, "one", 'op.drop_column("orders", "phone")')
    assert _lint(history, "head") == FINDINGS
    assert capsys.readouterr().out == (
        "migrations/versions/one.py:8  ban-drop-column (up)\n"
        "    why: Dropping a column may break existing clients\n"
        f"     do: {_REMEDY}\n"
        f"\n1 revision: 1 finding, 0 exceptions with a reason\n{_NOT_ASKED}"
    )


def test_a_finding_for_a_program(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(history, "one", 'op.drop_column("orders", "phone")')
    assert _lint(history, "--json") == FINDINGS
    found = [one for one in json.loads(capsys.readouterr().out) if one["exception"] is None]
    assert re.fullmatch(r"[0-9a-f]{16}", found[0].pop("fingerprint"))
    assert found == [
        {
            "revision": "one",
            "file": "migrations/versions/one.py",
            "line": 8,
            "direction": "up",
            "rule": "ban-drop-column",
            "why": "Dropping a column may break existing clients",
            "remedy": _REMEDY,
            "exception": None,
        }
    ]


def test_the_exceptions_are_shown_on_request(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _lint(history, "--verbose", GROUND) == 0
    out = capsys.readouterr().out
    assert out.count(" except: for the examples\n") == 3
    assert "  prefer-identity (up)\n" in out


def test_a_database_that_is_asked_for_and_not_named_is_an_error(
    history: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("--pending", "--database"):
        assert _lint(history, option) not in (0, FINDINGS)
        assert "no database is named" in capsys.readouterr().err


def test_without_squawk_it_says_what_to_install(
    history: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", str(history / "python"))
    assert _lint(history) == STEP_FAILED
    assert capsys.readouterr().err.startswith("error: squawk is not installed here\n   do: ")


def _python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)


def test_without_pglast_it_says_what_to_install(history: Path) -> None:
    without = "import sys; sys.modules['pglast'] = None; from tangga import cli; cli.main(sys.argv[1:])"
    finished = _python(without, "-c", str(history / "alembic.ini"), "lint")
    assert finished.returncode == STEP_FAILED
    assert finished.stderr.startswith("error: pglast is not installed here\n   do: ")
    assert _python(without, "lint", "--help").returncode == 0
    imported = _python("import sys, tangga.lint, tangga.lint.command; print('pglast' in sys.modules)")
    assert imported.stdout == "False\n"
