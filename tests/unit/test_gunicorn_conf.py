import os
import runpy
from pathlib import Path
from typing import Any

import pytest

CONF = str(Path(__file__).parents[2] / "services/api/gunicorn.conf.py")
CPUS = len(os.sched_getaffinity(0))


@pytest.fixture
def conf(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    return runpy.run_path(CONF)


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 0.5),
        ({"cpu.max": "30000 20000\n"}, min(1.5, CPUS)),
        ({"cpu.max": "max 100000\n"}, CPUS),
        ({"cpu.max": "100000000 100000\n"}, CPUS),
        ({"cpu.max": "nonsense\n"}, CPUS),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "25000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.25),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, CPUS),
        ({"cpu/cpu.cfs_quota_us": "100000\n"}, CPUS),
        ({}, CPUS),
    ],
    ids=str,
)
def test_the_cpu_limit_is_the_containers(
    conf: dict[str, Any], tmp_path: Path, files: dict[str, str], limit: float
) -> None:
    _write(tmp_path, files)
    assert conf["_cpu_limit"](tmp_path) == limit


def test_there_is_always_a_worker_and_never_more_than_processors(conf: dict[str, Any]) -> None:
    assert 1 <= conf["workers"] <= CPUS


@pytest.mark.parametrize(("text", "workers"), [("7", 7), ("1", 1)])
def test_the_environment_overrides_the_number_of_workers(
    text: str, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", text)
    assert runpy.run_path(CONF)["workers"] == workers


def test_an_empty_number_of_workers_is_no_number(monkeypatch: pytest.MonkeyPatch, conf: dict[str, Any]) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "")
    assert runpy.run_path(CONF)["workers"] == conf["workers"]


def test_a_wrong_setting_stops_gunicorn_before_it_has_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_KEY", "short")
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(CONF)
    assert ended.value.code == 2


def test_gunicorn_ends_before_compose_would_kill_it(conf: dict[str, Any]) -> None:
    compose = (Path(CONF).parents[2] / "compose.yaml").read_text()
    assert "stop_grace_period: 30s" in compose
    assert conf["graceful_timeout"] < 30
