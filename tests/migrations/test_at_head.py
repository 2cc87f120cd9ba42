"""An upgrade that has nothing to do loads next to nothing; and a long history is run to its end.

How long they take beside stock Alembic: `make bench-migrations`.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.databases import PROJECT, migrate, owner_environment, query
from tests.migrations.staircase import HEAD, plant


def _loaded(database: str, project: Path) -> tuple[str, set[str]]:
    """Run `alembic upgrade head`; return what it said, and the packages that it loaded."""
    finished = subprocess.run(
        [sys.executable, "-X", "importtime", "services/migrate/bin/alembic", "upgrade", "head"],
        cwd=project, env=os.environ | owner_environment(database), capture_output=True, text=True, check=True,
    )  # fmt: skip
    packages = {name.partition(".")[0] for name in re.findall(r"^import time: .*\| +(\S+)$", finished.stderr, re.M)}
    return re.sub(r"^import time: .*\n", "", finished.stderr, flags=re.M), packages


def test_a_database_at_head_is_seen_without_loading_alembic_or_a_step(database: str, at_head: str) -> None:
    said, packages = _loaded(at_head, PROJECT)
    assert said == f"migrate: the database is at {HEAD} (head): nothing to do\n"
    assert not {"alembic", "sqlalchemy", "pydantic"} & packages
    # The same where there is something to do: what is looked for can be seen.
    _, packages = _loaded(database, PROJECT)
    assert {"alembic", "sqlalchemy", "pydantic"} <= packages


def test_five_hundred_steps_are_run_and_noted(database: str, project: Path) -> None:
    below = HEAD
    for number in range(500):
        plant(project, f"many{number:03d}", f'op.execute("SELECT {number}")', after=below)
        below = f"many{number:03d}"
    migrate(database, "upgrade", HEAD)
    migrate(database, "upgrade", "head", project=project)
    assert query(database, "TABLE alembic_version") == [("many499",)]
    assert query(database, "SELECT count(*) FROM tangga.migration_log WHERE revision LIKE 'many%'") == [(500,)]
