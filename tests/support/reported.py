"""How a failure is told: one line with the cause, one with the remedy, an exit code of its own."""

import os
from subprocess import CompletedProcess


def assert_reported(finished: CompletedProcess[str], code: int, what: str, remedy: str = "") -> None:
    """Fail unless the last two lines say this, and no other line is an error's; no password is in any."""
    output = finished.stdout + finished.stderr
    assert finished.returncode == code, output
    lines = finished.stderr.splitlines()
    assert [line for line in lines if not line.startswith("migrate: ")] == lines[-2:], output
    assert lines[-2].startswith("error: ")
    assert lines[-1].startswith("   do: ")
    assert what in lines[-2]
    assert remedy in lines[-1]
    assert "Traceback" not in output
    for name in ("DB_OWNER_PASS", "DB_PASS", "POSTGRES_PASSWORD"):
        assert os.environ[name] not in output
