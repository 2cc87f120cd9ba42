"""What the protection costs: the same revisions by stock Alembic and by this project, in turns on one server.

Run by scripts/bench-migrations.sh in the test container. Stock is `python3 -m alembic` with an env.py as `alembic init`
and the tutorial write it. Times on a shared machine mean little, so pairs are compared; what a target is about is the
processor time of the process: how long the disk takes to commit is the same for both, and varies more than the two
differ. A target that is missed is printed; with --strict it is the exit code too.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tangga.project import Project
from tangga.scratch.rows import generate
from tests.databases import owner_environment, query, scratch_database
from tests.migrations.proving import scratch
from tests.migrations.staircase import HEAD, copy_project, plant


class Spent(NamedTuple):
    """What a process took: seconds by the clock, and of processor time (its own, not the server's)."""

    wall: float
    processor: float


class Measured(NamedTuple):
    """Pairs of two ways to do the same, and the target for the ratio of their least processor times."""

    what: str
    names: tuple[str, str]
    pairs: list[tuple[Spent, Spent]]
    target: float

    @property
    def ratio(self) -> float:
        """The second's least processor time by the first's: what others do meanwhile can only add to either."""
        return min(second.processor for _, second in self.pairs) / min(first.processor for first, _ in self.pairs)

    @property
    def missed(self) -> bool:
        """Tell whether the ratio is above the target."""
        return self.ratio > self.target

    def lines(self) -> Iterator[str]:
        """Yield the figures as a person reads them."""
        verdict = "ABOVE" if self.missed else "ok"
        yield f"{self.what:<44} {self.ratio:5.2f}   <= {self.target:<5g} {verdict}"
        for field in Spent._fields:
            times = [(getattr(first, field), getattr(second, field)) for first, second in self.pairs]
            ratios = sorted(second / first for first, second in times)
            medians = (1000 * statistics.median(column) for column in zip(*times, strict=True))
            shown = ", ".join(f"{name} {median:.0f} ms" for name, median in zip(self.names, medians, strict=True))
            yield (
                f"    {field:9} {shown}; median of {len(ratios)} ratios {statistics.median(ratios):.2f} "
                f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
            )


class Lasted(NamedTuple):
    """How long something took by the clock, in seconds, each time, and the target for the median."""

    what: str
    times: list[float]
    target: float

    @property
    def missed(self) -> bool:
        """Tell whether the median is above the target."""
        return statistics.median(self.times) > self.target

    def lines(self) -> Iterator[str]:
        """Yield the figures as a person reads them."""
        verdict = "ABOVE" if self.missed else "ok"
        yield f"{self.what:<44} {statistics.median(self.times):5.2f} s <= {self.target:<5g} {verdict}"
        yield f"    {min(self.times):.2f} to {max(self.times):.2f}"


# As the tutorial has it: the settings' URL, the models' metadata; a transaction per revision, to compare like with like
_STOCK_ENV = """
import logging
from alembic import context
from sqlalchemy import create_engine, pool
from services.api.db import models
from services.api.settings import DatabaseSettings
logging.basicConfig(level=logging.WARNING)
logging.getLogger("alembic").setLevel(logging.INFO)
with create_engine(DatabaseSettings.load().url, poolclass=pool.NullPool).connect() as connection:
    context.configure(
        connection=connection, target_metadata=models.Base.metadata, transaction_per_migration=True
    )
    with context.begin_transaction():
        context.run_migrations()
"""
_OURS = (sys.executable, "services/migrate/bin/alembic")
_STOCK = (sys.executable, "-m", "alembic")


def _revisions(folder: Path, count: int) -> None:
    """Write `count` trivial revisions, in a line, and their byte code, as an image has it."""
    for old in folder.glob("*.py"):
        old.unlink()
    for number in range(1, count + 1):
        down = f'"{number - 1:012d}"' if number > 1 else None
        (folder / f"{number:012d}_trivial.py").write_text(
            f'"""trivial {number}"""\nfrom alembic import op\nrevision = "{number:012d}"\ndown_revision = {down}\n'
            f'branch_labels = None\ndepends_on = None\ndef upgrade() -> None:\n    op.execute("SELECT {number}")\n'
            'def downgrade() -> None:\n    op.execute("SELECT 0")\n'
        )
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(folder.parents[1])], check=True)


def _projects(folder: Path, count: int) -> tuple[Path, Path]:
    """Make a stock project and one of ours, with the same number of trivial revisions."""
    projects = []
    for name in ("stock", "ours"):
        project = folder / f"{name}-{count}"
        project.mkdir(parents=True)
        projects.append(copy_project(project))
    (projects[0] / "migrations/env.py").write_text(_STOCK_ENV)
    for project in projects:
        _revisions(project / "migrations/versions", count)
    return projects[0], projects[1]


def _spent(project: Path, database: str, *command: str) -> Spent:
    """Return what a command takes in a process of its own; byte code is read, as in the image."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")}
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=project, env=environment | owner_environment(database), check=True, capture_output=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Spent(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def _pairs(count: int, first: Callable[[], Spent], second: Callable[[], Spent]) -> list[tuple[Spent, Spent]]:
    """Measure both, again and again, each first every other time."""
    pairs = []
    for turn in range(count):
        if turn % 2:
            later, sooner = second(), first()
        else:
            sooner, later = first(), second()
        pairs.append((sooner, later))
    return pairs


def nothing_to_do(folder: Path, turns: int, count: int, target: float) -> Measured:
    """Measure an upgrade of a database that is at head."""
    stock, ours = _projects(folder / "at-head", count)
    with scratch_database() as one, scratch_database() as other:
        for project, database, program in ((stock, one, _STOCK), (ours, other, _OURS)):
            _spent(project, database, *program, "upgrade", "head")  # to head, and files into the page cache
        pairs = _pairs(
            turns,
            lambda: _spent(stock, one, *_STOCK, "upgrade", "head"),
            lambda: _spent(ours, other, *_OURS, "upgrade", "head"),
        )
    return Measured(f"nothing to do, {count} revisions: ours / stock", ("stock", "ours"), pairs, target)


def from_empty(folder: Path, turns: int) -> Measured:
    """Measure 500 trivial revisions from an empty database."""
    stock, ours = _projects(folder / "from-empty", 500)

    def upgrade(project: Path, program: tuple[str, ...]) -> Spent:
        with scratch_database() as database:
            spent = _spent(project, database, *program, "upgrade", "head")
            assert query(database, "TABLE alembic_version") == [(f"{500:012d}",)]
            assert project is stock or query(database, "SELECT count(*) FROM tangga.migration_log") == [(500,)]
        return spent

    pairs = _pairs(turns, lambda: upgrade(stock, _STOCK), lambda: upgrade(ours, _OURS))
    return Measured("500 revisions from empty: ours / stock", ("stock", "ours"), pairs, 1.15)


def linting(folder: Path, turns: int, more: int) -> Measured:
    """Measure the linter on the project's steps and `more` planted ones, beside printing them both ways."""
    project = folder / f"lint-{more}"
    project.mkdir()
    copy_project(project)
    below = HEAD
    for number in range(more):
        analyze = 'op.execute("ANALYZE posts")'
        plant(project, f"many{number}", analyze, after=below, downgrade=analyze)
        below = f"many{number}"

    def printing() -> Spent:
        up = _spent(project, "unused", *_OURS, "upgrade", "head", "--sql")
        down = _spent(project, "unused", *_OURS, "downgrade", "head:base", "--sql")
        return Spent(up.wall + down.wall, up.processor + down.processor)

    printing()  # byte code is written
    pairs = _pairs(turns, printing, lambda: _spent(project, "unused", *_OURS, "lint"))
    names = ("print up and down", "lint")
    return Measured(f"lint, {more} revisions besides ours: / printing", names, pairs, 1.3 if more else 1)


def many_rows(turns: int) -> Lasted:
    """Measure 20,000 generated rows in each of the product's tables."""
    times = []
    with scratch().database() as engine, engine.connect() as connection:
        Project.from_file().upgrade(connection, HEAD)
        connection.rollback()
        for _ in range(turns):
            start = time.perf_counter()
            made = generate(connection, 20_000).inserted
            times.append(time.perf_counter() - start)
            assert set(made.values()) == {20_000}
            connection.rollback()
    return Lasted("20,000 rows in each of five tables", times, 30)


def _main() -> None:
    parser = argparse.ArgumentParser(prog="bench-migrations", description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=9, help="how often each is measured (9)")
    parser.add_argument("--strict", action="store_true", help="end with 1 if a target is missed")
    options = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} processors, {options.pairs} pairs, in turns\n")
    missed = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measures: list[Callable[[], Measured | Lasted]] = [
            lambda: nothing_to_do(folder, options.pairs, 6, 0.5),
            lambda: nothing_to_do(folder, options.pairs, 500, 0.2),
            lambda: from_empty(folder, options.pairs),
            lambda: linting(folder, min(options.pairs, 3), 0),
            lambda: linting(folder, min(options.pairs, 3), 500),
            lambda: many_rows(min(options.pairs, 3)),
        ]
        for measure in measures:
            measured = measure()
            print("\n".join(measured.lines()), flush=True)
            if measured.missed:
                missed.append(measured.what)
    print(f"\nMissed: {'; '.join(missed)}" if missed else "\nAll targets are met.")
    if missed and options.strict:
        sys.exit(1)


if __name__ == "__main__":
    _main()
