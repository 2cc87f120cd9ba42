"""gunicorn as the API has it (worker class, number of workers), and nothing else: no preloading, no access log."""

import os

bind = "0.0.0.0:8000"
worker_class = "services.api.worker.Worker"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
keepalive = 5
# The root file system is read-only.
worker_tmp_dir = "/dev/shm"
control_socket_disable = True
