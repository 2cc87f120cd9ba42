"""The staircase as the walkthrough defines it, and what the tests of this folder share."""

import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from psycopg2 import sql

from tests.databases import PROJECT, Row, query


class Step(NamedTuple):
    """One step: its identifier and its message."""

    revision: str
    message: str


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

_CATALOGUE = {
    "columns": """
        SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid),
               attidentity, attgenerated
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
        ORDER BY relname, attnum
    """,
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2
    """,
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1",
    "relations": """
        SELECT relname, relkind, relowner::regrole::text, relacl::text
        FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1
    """,
    "others": """
        SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        UNION ALL SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype NOT IN ('c', 'b')
        UNION ALL SELECT extname FROM pg_extension
        UNION ALL SELECT tgname FROM pg_trigger WHERE NOT tgisinternal
        ORDER BY 1
    """,
}


def catalogue(database: str) -> dict[str, list[Row]]:
    """Return everything that the steps made, so that two databases can be compared."""
    found = {name: query(database, statement) for name, statement in _CATALOGUE.items()}
    # The migrators' own tables stay, as alembic_version does.
    return {name: [row for row in rows if not re.match("(pk_)?migration_", row[0])] for name, rows in found.items()}


def revision(database: str) -> str | None:
    """Return the revision in alembic_version; None before the first step."""
    if query(database, "SELECT to_regclass('alembic_version')") == [(None,)]:
        return None
    rows = query(database, "SELECT version_num FROM alembic_version")
    assert len(rows) <= 1
    return rows[0][0] if rows else None


def rows(database: str, table: str, *without: str) -> list[dict[str, Any]]:
    """Return a table's rows as dictionaries in the order of their values, without some of the columns."""
    found = query(database, sql.SQL("SELECT to_jsonb(t) FROM {} AS t ORDER BY t").format(sql.Identifier(table)))
    return [{name: value for name, value in row.items() if name not in without} for [row] in found]


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
    """Copy what Alembic needs to a folder in which a test may plant steps."""
    for name in ("alembic.ini", "pyproject.toml"):
        shutil.copy(PROJECT / name, folder)
    for name in ("migrations", "services"):
        shutil.copytree(PROJECT / name, folder / name)
    return folder


def plant(project: Path, revision: str, upgrade: str, *, after: str | None = HEAD, downgrade: str = "pass") -> Path:
    """Write a step with this body (one line) after the head, or after another step."""
    file = project / "migrations/versions" / f"planted_{revision}.py"
    file.write_text(
        f'"""planted {revision}"""\nimport time\nimport sqlalchemy as sa\nfrom alembic import op\n'
        f"revision = {revision!r}\ndown_revision = {after!r}\nbranch_labels = None\ndepends_on = None\n"
        f"def upgrade() -> None:\n    {upgrade}\ndef downgrade() -> None:\n    {downgrade}\n"
    )
    return file


def edit(file: Path, old: str, new: str) -> None:
    """Replace a piece of text that must be there."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
