"""gunicorn's settings. The environment may override the number of workers: WEB_CONCURRENCY."""

import os
from pathlib import Path

from services.api.settings import Settings


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
Settings.load()

bind = "0.0.0.0:8000"
worker_class = "asgi"
workers = int(os.environ.get("WEB_CONCURRENCY") or max(1, round(_cpu_limit())))
reload = os.environ.get("RELOAD") == "1"  # make dev
# Modules are loaded once and shared by the workers; engines and threads are made in each worker (main.py, lifespan).
# What is shared cannot be reloaded.
preload_app = not reload
# Workers are replaced one after another, never all at once: the jitter keeps them apart.
max_requests = 20_000
max_requests_jitter = 5_000
# Less than stop_grace_period in compose.yaml, so that gunicorn ends by itself and nothing is killed.
graceful_timeout = 20
timeout = 30
keepalive = 5
# The heartbeat file must not wait for a disk, and the root file system is read-only.
worker_tmp_dir = "/dev/shm"  # noqa: S108 - memory, not a shared folder on disk
control_socket_disable = True
# X-Forwarded-* is believed only from here; compose.prod.yaml names the proxy.
forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1")
accesslog = "-"
access_log_format = '%(h)s "%(r)s" %(s)s %(B)s bytes %(D)s us'
