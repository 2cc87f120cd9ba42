"""The running API against its own OpenAPI document: generated requests, right and wrong, and walks along the links.

`scripts/test.sh api -k contract --contract-examples 1000` tries more of them for each operation (the default is 100),
`--contract-seconds 3600` goes on for that long.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.api.support import Person
from tests.databases import PATIENCE, PROJECT, eventually

CHECKS = PROJECT / "tests/api/schemathesis.toml"


@contextmanager
def _gunicorn(database: str, app: str, log: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    url = f"http://{address}"
    command = [sys.executable, "-m", "gunicorn", "--config", "services/api/gunicorn.conf.py", "--bind", address, app]
    environment = os.environ | {"DB_NAME": database, "WEB_CONCURRENCY": "1", "REGISTRATIONS_PER_ADDRESS": "1000000"}
    with log.open("wb") as output:
        server = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=output, stderr=output)
    try:

        def answers() -> bool:
            assert server.poll() is None, log.read_text()
            with suppress(OSError):
                urlopen(f"{url}/healthz", timeout=60).close()
                return True
            return False

        assert eventually(answers), log.read_text()
        yield url
    finally:
        server.terminate()
        server.wait(PATIENCE)


def _try(url: str, people: list[Person], folder: Path, *options: str) -> tuple[int, str, dict[str, Any]]:
    """Run schemathesis; return its exit status, what it printed and its report."""
    tokens = ",".join(person.headers["Authorization"].removeprefix("Bearer ") for person in people)
    how = ["--seed", "1", "--checks", "all", "--no-color", "--report", "json", "--report-json-path", "report.json"]
    program = str(Path(sys.executable).with_name("schemathesis"))
    run = subprocess.run(
        [program, "--config-file", str(CHECKS), "run", f"{url}/openapi.json", *how, *options],
        cwd=folder,
        # The hash seed: sets have an order, too.
        env=os.environ
        | {"SCHEMATHESIS_HOOKS": "tests.api.contract_hooks", "CONTRACT_TOKENS": tokens}
        | {"PYTHONPATH": str(PROJECT), "PYTHONHASHSEED": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return run.returncode, run.stdout, report


@pytest.mark.own_schema  # not for its sake, but it takes a minute, and make compat asks the same routes
def test_no_answer_is_a_fault_or_undocumented(
    database: str, person: Callable[[str], Person], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    examples = int(request.config.getoption("--contract-examples", default="30"))
    seconds = request.config.getoption("--contract-seconds", default=None)
    people = [person(f"{name}@example.com") for name in ("ani", "budi", "citra")]
    budget = ["--max-time", seconds] if seconds else ["--max-examples", str(examples)]
    with _gunicorn(database, "services.api.main:app", tmp_path / "log") as url:
        status, printed, report = _try(url, people, tmp_path, *budget)
    assert status == 0, printed
    assert report["complete"]
    assert report["operations"]["tested"] == report["operations"]["total"] > 10
    assert {phase["status"] for phase in report["phases"].values()} == {"success"}
    assert report["test_cases"]["generated"] > (1000 if seconds else 8 * examples), printed
    log = (tmp_path / "log").read_text()
    assert '"status":5' not in log
    print(f"{report['test_cases']['generated']} requests in {report['running_time']:.0f} s")


@pytest.mark.own_schema
def test_a_fault_is_found(database: str, person: Callable[[str], Person], tmp_path: Path) -> None:
    with _gunicorn(database, "tests.api.faulty:app", tmp_path / "log") as url:
        status, printed, _ = _try(
            url, [person("ani@example.com")], tmp_path, "--include-operation-id", "read_user", "--max-examples", "20"
        )
    assert status == 1, printed
    assert "Received: 410" in printed
