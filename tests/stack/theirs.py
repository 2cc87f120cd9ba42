"""Somebody's project outside of this repository, in an environment of its own."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import URL, NullPool, create_engine, text

from tests.databases import PATIENCE
from tests.stack.conftest import REPOSITORY


class Theirs(NamedTuple):
    """Somebody's project, an environment with tangga in it, and a server."""

    programs: Path
    folder: Path
    driver: str
    server: URL
    database: str
    environment: Mapping[str, str] = {}

    def url(self, database: str, driver: str) -> str:
        at = self.server.set(database=database, drivername=f"postgresql+{driver}")
        return at.render_as_string(hide_password=False)

    def sql(self, statement: str) -> Any:
        engine = create_engine(
            self.server.set(database=self.database), isolation_level="AUTOCOMMIT", poolclass=NullPool
        )
        with engine.connect() as connection:
            found = connection.execute(text(statement))
            return found.scalar() if found.returns_rows else None

    def run(self, program: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        call = "import sys; from tangga.cli import main; main(prog='tangga')"
        command = ["-c", call] if program == "tangga" else ["-m", program]
        return subprocess.run(
            [self.programs / "python", *command, *arguments],
            cwd=self.folder, capture_output=True, text=True, timeout=2 * PATIENCE, check=False,
            env={
                "PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": f"{REPOSITORY}/services/migrate",
                "DATABASE_URL": self.url(self.database, self.driver), "SCRATCH_URL": self.url("postgres", "psycopg"),
                "MIGRATE_SAVE_DIR": str(self.folder / "saved"), **self.environment, **environment,
            },
        )  # fmt: skip

    def ok(self, program: str, *arguments: str) -> str:
        ran = self.run(program, *arguments)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout + ran.stderr
