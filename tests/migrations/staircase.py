"""The staircase as the walkthrough defines it, and what the tests of this folder share."""

import shutil
from pathlib import Path

from psycopg2 import sql

from tests.databases import PROJECT, query
from tests.support import steps
from tests.support.schema import catalogue, revision, rows
from tests.support.steps import Step, edit

__all__ = [
    "HEAD",
    "REVISIONS",
    "STEPS",
    "TANGGA",
    "Step",
    "add_posts",
    "add_user",
    "catalogue",
    "copy_project",
    "edit",
    "plant",
    "revision",
    "rows",
]


STEPS = [
    Step("444acb4ddc7b", "v1 create table posts"),
    Step("28801a7e4404", "v2 tambah field alamat"),
    Step("8c82b1632f52", "v3 buat tabel users"),
    Step("af786b740296", "v4 add foreign-key to posts table"),
    Step("b25a1c6f7e13", "v5 auto generate untuk vote"),
    Step("c1f0c6f0a5d2", "v6 tambah kolom no_hp"),
    # Here the walkthrough ends; what follows is the API's.
    Step("d2a7b1e94c38", "v7 tambah index votes.post_id"),
    Step("5e90c3f7a861", "v8 buat tabel login_attempts"),
    Step("a84f6d1be027", "v9 buat tabel idempotency_keys"),
    Step("3b7d90c5e2a6", "v10 index untuk pencarian nama"),
]
V1, V2, V3, V4, V5, V6, V7, V8, V9, V10 = REVISIONS = [step.revision for step in STEPS]
HEAD = V10

# The package in a copy of the project.
TANGGA = Path("services/migrate/tangga")


def add_posts(database: str, count: int, **values: object) -> None:
    """Insert posts, with the columns that every step has and those given."""
    columns = ["nama", "umur", "published", *values]
    statement = sql.SQL("INSERT INTO posts ({}) SELECT 'nama ' || n, n, n %% 2 = 0 {} FROM generate_series(1, %s) AS n")
    extra = sql.SQL("").join(sql.SQL(", {}").format(sql.Literal(value)) for value in values.values())
    query(database, statement.format(sql.SQL(", ").join(map(sql.Identifier, columns)), extra), count)


def add_user(database: str, email: str) -> int:
    """Insert a user and return the id."""
    [(user_id,)] = query(database, "INSERT INTO users (email, password) VALUES (%s, 'x') RETURNING id", email)
    return int(user_id)


def copy_project(folder: Path) -> Path:
    """Copy what Alembic needs to a folder in which a test may plant steps; without HEAD, which names the product's."""
    for name in ("alembic.ini", "pyproject.toml"):
        shutil.copy(PROJECT / name, folder)
    for name in ("migrations", "services"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("HEAD"))
    edit(folder / "pyproject.toml", "head_file = true\n", "")
    return folder


def plant(project: Path, revision: str, upgrade: str, *, after: str | None = HEAD, downgrade: str = "pass") -> Path:
    """Write a step with this body (one line) after the head, or after another step."""
    return steps.plant(project, revision, upgrade, after=after, downgrade=downgrade)
