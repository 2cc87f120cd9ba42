"""gunicorn's settings. The environment may override the number of workers: WEB_CONCURRENCY."""

import gc
import logging
import os
import time
from pathlib import Path
from typing import Any

from gunicorn import glogging  # type: ignore[import-untyped]

from services.api.observe import budget, logs, metrics
from services.api.settings import Settings

_logger = logging.getLogger("tangga.gunicorn")

# Loading the app makes objects that stay; to look through them for garbage again and again takes a sixth of the start.
gc.disable()


def _cpu_limit(cgroup: Path = Path("/sys/fs/cgroup")) -> float:
    """Return the processors that this container may use: its cgroup's quota (v2, then v1), else what it can see."""
    available = len(os.sched_getaffinity(0))
    try:
        if (v2 := cgroup / "cpu.max").exists():
            quota, period = v2.read_text().split()
        else:
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text()
        if quota.strip() in ("max", "-1"):
            return available
        return min(available, int(quota) / int(period))
    except (OSError, ValueError):
        return available


# A wrong setting ends the master here, with a message and exit 2, instead of workers that die one after another.
_settings = Settings.load()


class Logger(glogging.Logger):  # type: ignore[misc]
    """gunicorn's own lines in the form of all others. Requests are logged by services/api/middleware/observe.py."""

    def setup(self, cfg: Any) -> None:
        """Hand everything to the handler that logs.set_up() makes."""
        super().setup(cfg)
        logs.set_up(_settings.log_format, _settings.log_level)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


bind = "0.0.0.0:8000"
worker_class = "services.api.worker.Worker"
workers = int(os.environ.get("WEB_CONCURRENCY") or max(1, round(_cpu_limit())))
reload = os.environ.get("RELOAD") == "1"  # make dev
# Modules are loaded once and shared by the workers; engines and threads are made in each worker (main.py, lifespan).
# What is shared cannot be reloaded.
preload_app = not reload
# Less than stop_grace_period in compose.yaml, so that gunicorn ends by itself and nothing is killed.
graceful_timeout = 20
timeout = 30
# Behind a proxy, longer than it keeps an idle connection to us (compose.prod.yaml).
keepalive = int(os.environ.get("KEEPALIVE", "5"))
# The heartbeat file must not wait for a disk, and the root file system is read-only.
worker_tmp_dir = "/dev/shm"  # noqa: S108 - memory, not a shared folder on disk
control_socket_disable = True
# X-Forwarded-* is believed only from here; compose.prod.yaml names the proxy.
forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1")
logger_class = Logger
loglevel = _settings.log_level
accesslog = None

# Where workers keep their figures for /metrics; in memory, and gone with the container.
_metrics = Path(f"/dev/shm/tangga-metrics-{os.getpid()}")  # noqa: S108


def on_starting(_server: Any) -> None:
    """Begin with empty figures: an ended container's files may still be there."""
    metrics.make_folder(_metrics)
    gc.freeze()  # what is loaded is never looked through, so the workers go on sharing its pages
    # What hundreds of requests under way hold is no garbage: looking for garbage less often gains a seventh of the rate
    # at 1,000 connections (decision 23).
    gc.set_threshold(50_000, 20, 50)
    gc.enable()


def when_ready(server: Any) -> None:
    """Say what is started, and in a process of its own, so that nobody waits for it, whether it fits the database."""
    sizes = {"db_pool_size": _settings.db_pool_size, "api_replicas": _settings.api_replicas}
    _logger.info("startup", extra={"workers": server.num_workers, **sizes})
    if os.fork() == 0:
        try:
            time.sleep(1)  # the workers have more urgent things to do
            budget.check(_settings, server.num_workers)
        finally:
            os._exit(0)


def pre_fork(server: Any, worker: Any) -> None:
    """Give the new worker the first free place."""
    taken = {other.place for other in server.WORKERS.values()}
    worker.place = min(set(range(len(taken) + 1)) - taken)


def post_fork(_server: Any, worker: Any) -> None:
    """Let the worker's figures be read by the others."""
    metrics.share(_metrics, worker.place)


def child_exit(_server: Any, worker: Any) -> None:
    """Forget what was true only of the worker that has ended."""
    metrics.forget(_metrics, worker.place)


def on_exit(_server: Any) -> None:
    """Leave nothing behind."""
    metrics.remove_folder(_metrics)
