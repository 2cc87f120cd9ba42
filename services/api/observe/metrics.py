"""What Prometheus is told, right whichever worker it asks.

Each worker writes its figures into files that all workers can read (prometheus_client's multiprocess mode). The files
belong to a worker's place, 0 and up, not to its process id: the worker that takes the place of an ended one goes on
with its counters, so that replacing workers neither loses counts nor leaves files behind.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from shutil import rmtree

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from services.api.db.database import Database

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_folder: Path | None = None
_worker = 0


def make_folder(folder: Path) -> None:
    """Make an empty folder for the workers' files; it should lie in memory."""
    remove_folder(folder)
    folder.mkdir(mode=0o700)


def remove_folder(folder: Path) -> None:
    """Remove the folder, if it is there."""
    rmtree(folder, ignore_errors=True)


def share(folder: Path, worker: int) -> None:
    """In a new worker, before it has any metric: keep figures where the others read them, under this worker's place."""
    global _folder, _worker
    _folder, _worker = folder, worker
    # What every metric made from now on keeps its values in. prometheus_client chooses by the variable when it is
    # imported, which is too early: modules are loaded before the workers fork.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: worker)  # type: ignore[no-untyped-call]


def forget(folder: Path, worker: int) -> None:
    """After a worker's end: drop its gauges (its counters stay)."""
    mark_process_dead(worker, str(folder))  # type: ignore[no-untyped-call]


class Metrics:
    """The figures of one worker."""

    def __init__(self) -> None:
        registry = None if _folder else CollectorRegistry()
        self._registry = registry
        self._in_progress = self._gauge("tangga_http_requests_in_progress", "Requests that are being answered")
        self._duration = Histogram(
            "tangga_http_request_duration_seconds",
            "From the request's arrival to the end of its answer",
            ["method", "route", "status"],
            registry=registry,
            buckets=_BUCKETS,
        )
        self._statements = Counter(
            "tangga_database_statements", "Statements sent to the database", ["method", "route"], registry=registry
        )
        self._waited = Counter(
            "tangga_database_statement_seconds",
            "Time that requests waited for statements",
            ["method", "route"],
            registry=registry,
        )
        self._unknown = Counter(
            "tangga_database_unknown_writes",
            "Writes whose answer was lost: nobody knows whether they were done",
            registry=registry,
        )
        self._checked_out = self._gauge(
            "tangga_database_pool_checked_out_connections", "Connections that requests hold right now"
        )
        self._open = self._gauge(
            "tangga_database_pool_open_connections", "Connections to the database, idle ones included"
        )
        self._size = self._gauge(
            "tangga_database_pool_size_connections", "Connections that the workers may open at most"
        )
        self._memory = self._gauge(
            "tangga_worker_memory_bytes",
            "Proportional set size of each worker: shared pages are divided among those who share them",
            "worker",
        )
        # Looking a series up by its labels costs as much as counting in it.
        self._durations: dict[tuple[str, str, int], Histogram] = {}
        self._uses: dict[tuple[str, str], tuple[Counter, Counter]] = {}

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        """Return a gauge whose value is the sum over the workers that live."""
        return Gauge(name, what, labels, registry=self._registry, multiprocess_mode="livesum")

    def count(self, method: str, route: str, status: int, seconds: float, statements: int, database: float) -> None:
        """Count one request. Method and route must be bounded: each pair is a series that is never forgotten."""
        duration = self._durations.get((method, route, status))
        if duration is None:
            duration = self._durations[method, route, status] = self._duration.labels(method, route, status)
        duration.observe(seconds)
        if statements:
            uses = self._uses.get((method, route))
            if uses is None:
                labels = (method, route)
                uses = self._uses[labels] = self._statements.labels(*labels), self._waited.labels(*labels)
            uses[0].inc(statements)
            uses[1].inc(database)

    def count_unknown(self) -> None:
        """Count a write of which nobody knows whether it was done."""
        self._unknown.inc()

    def sample(self, in_progress: int, database: Database) -> None:
        """Publish what changes too often to be written down each time."""
        self._in_progress.set(in_progress)
        self._checked_out.set(database.in_use)
        self._open.set(database.open)
        self._size.set(database.size)

    def sample_memory(self) -> None:
        """Publish the worker's memory."""
        for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                self._memory.labels(_worker).set(int(line.split()[1]) * 1024)

    def page(self, facts: Iterable[Metric]) -> bytes:
        """Return all workers' figures, and these facts, as Prometheus reads them."""
        registry = self._registry
        if registry is None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, str(_folder))  # type: ignore[no-untyped-call]
        passing = CollectorRegistry()
        passing.register(_Facts(facts))
        return generate_latest(registry) + generate_latest(passing)


class _Facts:
    """Facts that are asked for at the moment, and kept nowhere."""

    def __init__(self, facts: Iterable[Metric]) -> None:
        self._facts = list(facts)

    def collect(self) -> Iterator[Metric]:
        """What a registry asks a collector for."""
        yield from self._facts


def fact(name: str, description: str, value: float, **labels: str) -> GaugeMetricFamily:
    """Build a gauge that has one value at the moment."""
    family = GaugeMetricFamily(name, description, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family
