"""What the protection costs: the same revisions, by stock Alembic and by this project, in turns on one server.

Stock is `python3 -m alembic` with an env.py as `alembic init` and the tutorial write it. Times on a shared machine mean
little, so pairs are compared, and what decides is the processor time of the process: how long the disk takes to commit
is the same for both, and varies more than the two differ. `-s` shows the figures.
"""

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.databases import owner_environment, query, scratch_database
from tests.migrations.staircase import copy_project

PAIRS = 9


class Spent(NamedTuple):
    """What a process took: seconds by the clock, and of processor time (its own, not the server's)."""

    wall: float
    processor: float


Pair = tuple[Spent, Spent]  # stock, ours

# As the tutorial has it: the settings' URL, the models' metadata; a transaction per revision, to compare like with like
STOCK_ENV = """
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


def _revisions(folder: Path, count: int) -> None:
    """Write `count` trivial revisions, in a line, and their byte code, as an image has it."""
    for old in folder.glob("*.py"):
        old.unlink()
    for number in range(1, count + 1):
        down = repr(f"{number - 1:012d}") if number > 1 else None
        (folder / f"{number:012d}_trivial.py").write_text(
            f'"""trivial {number}"""\nfrom alembic import op\nrevision = "{number:012d}"\ndown_revision = {down}\n'
            f'branch_labels = None\ndepends_on = None\ndef upgrade() -> None:\n    op.execute("SELECT {number}")\n'
            'def downgrade() -> None:\n    op.execute("SELECT 0")\n'.replace("= '", '= "').replace("'\n", '"\n')
        )
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(folder.parents[1])], check=True)


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], tuple[Path, Path]]:
    """Make a stock project and one of ours, with the same number of trivial revisions."""

    def make(count: int) -> tuple[Path, Path]:
        stock, ours = (copy_project(tmp_path_factory.mktemp(name)) for name in ("stock", "ours"))
        (stock / "migrations/env.py").write_text(STOCK_ENV)
        for project in (stock, ours):
            _revisions(project / "migrations/versions", count)
        return stock, ours

    return make


def _upgrade(project: Path, database: str, *command: str) -> Spent:
    """Return what `upgrade head` takes in a process of its own; byte code is read, as in the image."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")}
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [*command, "upgrade", "head"],
        cwd=project,
        env=environment | owner_environment(database),
        check=True,
        capture_output=True,
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Spent(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def _ours(project: Path, database: str) -> Spent:
    return _upgrade(project, database, sys.executable, "services/migrate/bin/alembic")


def _stock(project: Path, database: str) -> Spent:
    return _upgrade(project, database, sys.executable, "-m", "alembic")


def _pairs(stock: Callable[[], Spent], ours: Callable[[], Spent]) -> list[Pair]:
    """Measure both, again and again, each first every other time."""
    pairs: list[Pair] = []
    for turn in range(PAIRS):
        if turn % 2:
            second, first = ours(), stock()
        else:
            first, second = stock(), ours()
        pairs.append((first, second))
    return pairs


def _report(what: str, pairs: list[Pair]) -> float:
    """Print the figures; return the ratio of the least processor times: what others do meanwhile can only add."""
    print(f"\n{what}, median of {len(pairs)} pairs")
    for name in Spent._fields:
        times = [(getattr(stock, name), getattr(ours, name)) for stock, ours in pairs]
        ratios = sorted(ours / stock for stock, ours in times)
        stock, ours = (1000 * statistics.median(column) for column in zip(*times, strict=True))
        print(
            f"  {name:9} stock {stock:5.0f} ms, ours {ours:5.0f} ms, ratio {statistics.median(ratios):.2f} "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )
    least = min(ours.processor for _, ours in pairs) / min(stock.processor for stock, _ in pairs)
    print(f"  processor, the least of each: {least:.2f}")
    return least


@pytest.mark.parametrize(("count", "limit"), [(6, 0.5), (500, 0.2)])
def test_an_upgrade_that_has_nothing_to_do_is_quicker_than_stock(
    projects: Callable[[int], tuple[Path, Path]], count: int, limit: float
) -> None:
    stock, ours = projects(count)
    with scratch_database() as one, scratch_database() as other:
        _stock(stock, one), _ours(ours, other)  # to head, and files into the page cache
        pairs = _pairs(lambda: _stock(stock, one), lambda: _ours(ours, other))
    assert _report(f"nothing to do, {count} revisions", pairs) < limit


def test_five_hundred_revisions_from_empty_cost_little_more_than_stock(
    projects: Callable[[int], tuple[Path, Path]],
) -> None:
    stock, ours = projects(500)

    def from_empty(upgrade: Callable[[Path, str], Spent], project: Path) -> Spent:
        with scratch_database() as database:
            spent = upgrade(project, database)
            assert query(database, "TABLE alembic_version") == [(f"{500:012d}",)]
            if project is ours:
                assert query(database, "SELECT count(*) FROM migration_log") == [(500,)]
        return spent

    pairs = _pairs(lambda: from_empty(_stock, stock), lambda: from_empty(_ours, ours))
    assert _report("500 trivial revisions from empty", pairs) < 1.15
