"""Each unsafe operation: a revision's body that does it, the finding that it gets, and the safe form.

docs/unsafe-operations.md is made of this: python3 -m tests.migrations.unsafe
"""

import contextlib
import io
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tangga.lint import Finding, findings
from tangga.project import Project
from tests.databases import PROJECT
from tests.migrations.staircase import HEAD, copy_project

PAGE: Final = PROJECT / "docs/unsafe-operations.md"
GROUND: Final = "ground0000000"


class Operation(NamedTuple):
    """One row of the table. Bodies are those of `upgrade`; lines that start with @ are attributes of the revision."""

    name: str
    unsafe: str
    rule: str
    safe: str
    # The body of a step before the safe one.
    first: str = ""


# What the operations need besides the steps.
_GROUND = '''
op.execute("""
CREATE TABLE events (id bigint NOT NULL, at timestamptz NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE events_2026 (id bigint NOT NULL, at timestamptz NOT NULL);
CREATE TABLE bookings (id bigserial PRIMARY KEY, room text, during tstzrange, price numeric(8, 2), code varchar(20));
CREATE TABLE labels (id serial PRIMARY KEY, label text);
CREATE TABLE imported (id bigint NOT NULL, line text);
CREATE UNLOGGED TABLE drafts (id bigint NOT NULL);
CREATE TYPE mood AS ENUM ('happy', 'sad');
ALTER TABLE users ADD COLUMN mood mood;
CREATE MATERIALIZED VIEW popular AS SELECT owner_id, count(*) FROM posts GROUP BY 1;
CREATE UNIQUE INDEX ON popular (owner_id);
CREATE INDEX ix_posts_umur ON posts (umur);
""")
'''
_OUTSIDE = "with op.get_context().autocommit_block():\n    "

_ATTACH = (
    "op.execute(\"ALTER TABLE events ATTACH PARTITION events_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')\")"
)
# Something that has no finding.
_DOWNGRADE = 'op.execute("SELECT 1")'

OPERATIONS: Final = {
    "Locks and scans": [
        Operation(
            "CREATE INDEX",
            'op.create_index("ix_posts_nama", "posts", ["nama"])',
            "require-concurrent-index-creation",
            'safe.create_index("ix_posts_nama", "posts", ["nama"])',
        ),
        Operation(
            "DROP INDEX",
            'op.drop_index("ix_posts_umur")',
            "require-concurrent-index-deletion",
            'safe.drop_index("ix_posts_umur")',
        ),
        Operation(
            "REINDEX",
            'op.execute("REINDEX TABLE posts")',
            "require-concurrent-reindex",
            f'{_OUTSIDE}op.execute("REINDEX TABLE CONCURRENTLY posts")',
        ),
        Operation(
            "DETACH PARTITION",
            'op.execute("ALTER TABLE events DETACH PARTITION events_2025")',
            "require-concurrent-partition-detach",
            '@lint_ignore = {"prefer-robust-stmts": "nothing else is in the step; cut off, it is ended by FINALIZE"}\n'
            f'{_OUTSIDE}op.execute("ALTER TABLE events DETACH PARTITION events_2025 CONCURRENTLY")',
        ),
        Operation(
            "CONCURRENTLY in a transaction",
            'op.create_index("ix_posts_nama", "posts", ["nama"], postgresql_concurrently=True)',
            "ban-concurrent-index-creation-in-transaction",
            'safe.create_index("ix_posts_nama", "posts", ["nama"])',
        ),
        Operation(
            "CONCURRENTLY over an invalid index that was left behind",
            f'{_OUTSIDE}op.create_index("ix_posts_nama", "posts", ["nama"], '
            "postgresql_concurrently=True, if_not_exists=True)",
            "stale-invalid-index",
            f'{_OUTSIDE}op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_posts_nama")\n'
            '    op.create_index("ix_posts_nama", "posts", ["nama"], postgresql_concurrently=True)',
        ),
        Operation(
            "FOREIGN KEY validated at once",
            'op.create_foreign_key("fk_posts_umur_users", "posts", "users", ["umur"], ["id"])',
            "adding-foreign-key-constraint",
            'safe.add_foreign_key("fk_posts_umur_users", "posts", "users", ["umur"], ["id"])',
        ),
        Operation(
            "CHECK validated at once",
            'op.create_check_constraint(op.f("ck_posts_umur"), "posts", "umur > 0")',
            "constraint-missing-not-valid",
            'safe.add_check("ck_posts_umur", "posts", "umur > 0")',
        ),
        Operation(
            "ADD COLUMN ... CHECK",
            'op.execute("ALTER TABLE posts ADD COLUMN stars bigint CHECK (stars < 6)")',
            "inline-check",
            'safe.add_column("posts", sa.Column("stars", sa.BigInteger()))\n'
            'safe.add_check("ck_posts_stars", "posts", "stars < 6")',
        ),
        Operation(
            "NOT VALID and VALIDATE in one transaction",
            'op.create_check_constraint(op.f("ck_posts_umur"), "posts", "umur > 0", postgresql_not_valid=True)\n'
            'op.execute("ALTER TABLE posts VALIDATE CONSTRAINT ck_posts_umur")',
            "constraint-missing-not-valid",
            '@validate_after_commit = ("posts.ck_posts_umur",)\n'
            'op.create_check_constraint(op.f("ck_posts_umur"), "posts", "umur > 0", postgresql_not_valid=True)',
        ),
        Operation(
            "UNIQUE",
            'op.create_unique_constraint("uq_posts_nama", "posts", ["nama"])',
            "disallowed-unique-constraint",
            'safe.add_unique("uq_posts_nama", "posts", ["nama"])',
        ),
        Operation(
            "PRIMARY KEY",
            'op.create_primary_key("pk_imported", "imported", ["id"])',
            "adding-serial-primary-key-field",
            'safe.create_index("pk_imported", "imported", ["id"], unique=True)\n'
            'op.execute("ALTER TABLE imported ADD CONSTRAINT pk_imported PRIMARY KEY USING INDEX pk_imported")',
        ),
        Operation(
            "SET NOT NULL",
            'op.alter_column("posts", "no_hp", nullable=False)',
            "adding-not-nullable-field",
            'safe.set_not_null("posts", "no_hp")',
        ),
        Operation(
            "EXCLUDE",
            'op.create_exclude_constraint("ex_bookings", "bookings", ("during", "&&"), using="gist")',
            "exclusion-constraint",
            'op.execute("CREATE TABLE stays (during tstzrange, EXCLUDE USING gist (during WITH &&))")',
        ),
        Operation(
            "REFRESH MATERIALIZED VIEW",
            'op.execute("REFRESH MATERIALIZED VIEW popular")',
            "refresh-materialized-view",
            'op.execute("REFRESH MATERIALIZED VIEW CONCURRENTLY popular")',
        ),
        Operation(
            "LOCK TABLE",
            'op.execute("LOCK TABLE posts")',
            "lock-table",
            'op.execute("SELECT FROM posts WHERE id = 1 FOR UPDATE")',
        ),
        Operation(
            "ATTACH PARTITION",
            _ATTACH,
            "attach-partition",
            _ATTACH,
            first='safe.add_check("ck_events_2026", "events_2026", "at >= \'2026-01-01\' AND at < \'2027-01-01\'")',
        ),
        Operation(
            "VACUUM FULL",
            f'{_OUTSIDE}op.execute("VACUUM FULL posts")',
            "vacuum-full",
            f'{_OUTSIDE}op.execute("VACUUM posts")',
        ),
        Operation(
            "CLUSTER",
            'op.execute("CLUSTER posts USING ix_posts_umur")',
            "cluster",
            'safe.create_index("ix_posts_umur_id", "posts", ["umur", "id"])',
        ),
        Operation(
            "SET TABLESPACE",
            'op.execute("ALTER TABLE posts SET TABLESPACE pg_default")',
            "set-tablespace",
            'op.execute("CREATE TABLE events_2024 PARTITION OF events '
            "FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') TABLESPACE pg_default\")",
        ),
        Operation(
            "SET LOGGED",
            'op.execute("ALTER TABLE drafts SET LOGGED")',
            "set-logged",
            'op.execute("CREATE TABLE kept_drafts (LIKE drafts)")',
        ),
        Operation(
            "no time-outs",
            'op.execute("SET statement_timeout = 0")',
            "timeouts-off",
            '@statement_timeout = "2h"\nop.execute("ANALYZE posts")',
        ),
    ],
    "Rewrites": [
        Operation(
            "ADD COLUMN NOT NULL without default",
            'op.add_column("posts", sa.Column("kota", sa.Text(), nullable=False))',
            "adding-required-field",
            'safe.add_column("posts", sa.Column("kota", sa.Text(), nullable=False), fill="\'\'", keep_default=True)',
        ),
        Operation(
            "volatile default",
            'op.add_column("posts", sa.Column("code", sa.Uuid(), server_default=sa.text("gen_random_uuid()")))',
            "adding-field-with-default",
            'safe.add_column("posts", sa.Column("code", sa.Uuid()))\n'
            'op.alter_column("posts", "code", server_default=sa.text("gen_random_uuid()"))\n'
            'safe.backfill("posts", "code = gen_random_uuid()", where="code IS NULL")',
        ),
        Operation(
            "stored generated column",
            'op.add_column("posts", sa.Column("panjang", sa.BigInteger(), sa.Computed("length(nama)")))',
            "adding-field-with-default",
            'op.execute("CREATE VIEW posts_with_length AS SELECT id, length(nama) AS panjang FROM posts")',
        ),
        Operation(
            "serial on an existing table",
            'op.execute("ALTER TABLE posts ADD COLUMN number bigserial")',
            "adding-serial-field",
            'safe.add_column("posts", sa.Column("number", sa.BigInteger()))\n'
            'op.execute("CREATE SEQUENCE posts_number_seq OWNED BY posts.number")\n'
            'op.alter_column("posts", "number", server_default=sa.text("nextval(\'posts_number_seq\')"))\n'
            'safe.backfill("posts", "number = nextval(\'posts_number_seq\')", where="number IS NULL")',
        ),
        Operation(
            "identity on an existing table",
            'op.execute("ALTER TABLE posts ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY")',
            "adding-field-with-default",
            'safe.add_column("posts", sa.Column("number", sa.BigInteger()))\n'
            'op.execute("CREATE SEQUENCE posts_number_seq OWNED BY posts.number")\n'
            'op.alter_column("posts", "number", server_default=sa.text("nextval(\'posts_number_seq\')"))\n'
            'safe.backfill("posts", "number = nextval(\'posts_number_seq\')", where="number IS NULL")',
        ),
        Operation(
            "type change",
            'op.alter_column("posts", "umur", type_=sa.BigInteger())',
            "changing-column-type",
            'safe.add_column("posts", sa.Column("umur_baru", sa.BigInteger()))\n'
            'safe.backfill("posts", "umur_baru = umur", where="umur_baru IS NULL")',
        ),
        Operation(
            "type change that reads every row (varchar to numeric); widening is safe",
            'op.execute("ALTER TABLE bookings ALTER COLUMN code TYPE numeric USING code::numeric")',
            "changing-column-type",
            'op.alter_column("bookings", "code", type_=sa.String(40))\n'
            'op.alter_column("bookings", "code", type_=sa.Text())\n'
            'op.alter_column("bookings", "price", type_=sa.Numeric(12, 2))',
        ),
    ],
    "Compatibility with the release that still runs": [
        Operation(
            "rename of a column",
            'op.alter_column("posts", "nama", new_column_name="name")',
            "renaming-column",
            'safe.add_column("posts", sa.Column("name", sa.Text()))\n'
            'safe.backfill("posts", "name = nama", where="name IS NULL")',
        ),
        Operation(
            "rename of a table",
            'op.rename_table("posts", "articles")',
            "renaming-table",
            '@lint_ignore = {"renaming-table": "a view of the old name stands in for it until the next release"}\n'
            'op.rename_table("posts", "articles")\n'
            'op.execute("CREATE VIEW posts AS SELECT * FROM articles")',
        ),
        Operation(
            "drop of a column",
            'op.drop_column("posts", "no_hp")',
            "ban-drop-column",
            '@lint_ignore = {"ban-drop-column": "release 1.4 was the last to read it; 1.5 runs everywhere"}\n'
            'op.drop_column("posts", "no_hp")',
        ),
        Operation(
            "drop of a table",
            'op.drop_table("votes")',
            "ban-drop-table",
            '@lint_ignore = {"ban-drop-table": "release 1.4 was the last to read it; 1.5 runs everywhere"}\n'
            'op.drop_table("votes")',
        ),
        Operation(
            "new required column",
            'op.add_column("posts", sa.Column("kota", sa.Text(), server_default="", nullable=False))\n'
            'op.alter_column("posts", "kota", server_default=None)',
            "new-required-column",
            'safe.add_column("posts", sa.Column("kota", sa.Text(), nullable=False), fill="\'\'", keep_default=True)',
        ),
        Operation(
            "narrowing type",
            'op.alter_column("bookings", "code", type_=sa.String(10))',
            "narrowing-type",
            'safe.add_column("bookings", sa.Column("short_code", sa.Text()))\n'
            'safe.add_check("ck_bookings_short_code", "bookings", "length(short_code) <= 10")\n'
            'safe.backfill("bookings", "short_code = left(code, 10)", where="short_code IS NULL")',
        ),
        Operation(
            "enum value used in the transaction that adds it",
            "op.execute(\"ALTER TYPE mood ADD VALUE 'calm' AFTER 'happy'\")\n"
            "op.execute(\"UPDATE users SET mood = 'calm' WHERE mood IS NULL\")",
            "enum-value-used-at-once",
            "op.execute(\"UPDATE users SET mood = 'calm' WHERE mood IS NULL\")",
            first="op.execute(\"ALTER TYPE mood ADD VALUE 'calm' AFTER 'happy'\")",
        ),
    ],
    "Data": [
        Operation(
            "TRUNCATE",
            'op.execute("TRUNCATE votes")',
            "truncate",
            "op.execute(\"DELETE FROM votes WHERE user_id IN (SELECT id FROM users WHERE email LIKE '%.invalid')\")",
        ),
        Operation(
            "TRUNCATE ... CASCADE",
            'op.execute("TRUNCATE posts CASCADE")',
            "ban-truncate-cascade",
            "op.execute(\"DELETE FROM posts WHERE created_at < '2020-01-01'\")",
        ),
        Operation(
            "UPDATE without WHERE",
            "op.execute(\"UPDATE posts SET no_hp = ''\")",
            "no-where",
            'safe.backfill("posts", "no_hp = \'\'", where="no_hp IS NULL")',
        ),
        Operation(
            "DELETE without WHERE",
            'op.execute("DELETE FROM votes")',
            "no-where",
            'op.execute("DELETE FROM votes WHERE post_id = 1")',
        ),
        Operation(
            "backfill in the DDL's transaction",
            'op.add_column("posts", sa.Column("kota", sa.Text()))\n'
            "op.execute(\"UPDATE posts SET kota = '' WHERE kota IS NULL\")",
            "data-with-schema",
            'safe.add_column("posts", sa.Column("kota", sa.Text()))\n'
            'safe.backfill("posts", "kota = \'\'", where="kota IS NULL")',
        ),
        Operation(
            "unique index over duplicates",
            f'{_OUTSIDE}op.execute("DROP INDEX CONCURRENTLY IF EXISTS ux_posts_nama")\n'
            '    op.execute("CREATE UNIQUE INDEX CONCURRENTLY ux_posts_nama ON posts (nama)")',
            "unasked-data",
            'safe.create_index("ux_posts_nama", "posts", ["nama"], unique=True)',
        ),
        Operation(
            "NOT NULL over nulls",
            'op.execute("ALTER TABLE posts ALTER COLUMN no_hp SET NOT NULL")',
            "adding-not-nullable-field",
            'safe.backfill("posts", "no_hp = \'\'", where="no_hp IS NULL")\nsafe.set_not_null("posts", "no_hp")',
        ),
    ],
    "Style": [
        Operation(
            "32-bit key",
            'op.execute("CREATE TABLE tags (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY)")',
            "prefer-bigint-over-int",
            'op.create_table("tags", sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True))',
        ),
        Operation(
            "serial",
            'op.create_table("tags", sa.Column("id", sa.BigInteger(), primary_key=True))',
            "prefer-identity",
            'op.create_table("tags", sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True))',
        ),
        Operation(
            "char(n)",
            'op.add_column("posts", sa.Column("kode", sa.CHAR(5)))',
            "ban-char-field",
            'safe.add_column("posts", sa.Column("kode", sa.Text()))',
        ),
        Operation(
            "timestamp without time zone",
            'op.add_column("posts", sa.Column("edited_at", sa.DateTime()))',
            "prefer-timestamp-tz",
            'safe.add_column("posts", sa.Column("edited_at", sa.DateTime(timezone=True)))',
        ),
        Operation(
            "identifier over 63 characters",
            f'op.execute("ALTER TABLE posts ADD COLUMN {"nomor_telepon_" * 5} text")',
            "identifier-too-long",
            'safe.add_column("posts", sa.Column("nomor_telepon", sa.Text()))',
        ),
        Operation(
            "name that the naming convention doubles",
            'op.create_check_constraint("ck_posts_umur", "posts", "umur > 0", postgresql_not_valid=True)',
            "doubled-name",
            'safe.add_check("ck_posts_umur", "posts", "umur > 0")',
        ),
        Operation(
            "sequence narrower than its column",
            '@lint_ignore = {"changing-column-type": "a few hundred rows"}\n'
            'op.alter_column("labels", "id", type_=sa.BigInteger())',
            "sequence-narrower",
            '@lint_ignore = {"changing-column-type": "a few hundred rows"}\n'
            'op.alter_column("labels", "id", type_=sa.BigInteger())\n'
            'op.execute("ALTER SEQUENCE labels_id_seq AS bigint")',
        ),
        Operation(
            "more than one head",
            f'@down_revision = "{HEAD}"  # as another step has\nop.execute("ANALYZE posts")',
            "several-heads",
            '# make reparent puts it onto the other head; make merge m="..." joins the two\n'
            'op.execute("ANALYZE posts")',
        ),
    ],
}


class Seen(NamedTuple):
    """What the linter says of the two forms of an operation."""

    unsafe: list[Finding]
    safe: list[Finding]


def plant(
    project: Path, revision: str, body: str, *, after: str | tuple[str, ...] = HEAD, downgrade: str = _DOWNGRADE
) -> Path:
    """Write a step; lines of the body that start with @ are attributes of the revision."""
    lines = body.strip("\n").splitlines()
    attributes = "".join(f"{line[1:]}\n" for line in lines if line.startswith("@"))
    code = "".join(f"    {line}\n" for line in lines if not line.startswith("@"))
    file = project / "migrations/versions" / f"planted_{revision}.py"
    file.write_text(
        f'"""planted {revision}"""\nimport sqlalchemy as sa\nfrom alembic import op\n'
        f"from tangga import safe\nrevision = {revision!r}\ndown_revision = {after!r}\n{attributes}"
        f"def upgrade() -> None:\n{code or '    pass'}\ndef downgrade() -> None:\n    {downgrade}\n"
    )
    return file


def plant_all(operations: Sequence[Operation], folder: Path) -> Path:
    """Copy the project to a folder, with a step for each form of each operation, all on the same ground."""
    project = copy_project(folder)
    plant(project, GROUND, _GROUND)
    for number, operation in enumerate(operations):
        plant(project, f"unsafe{number}", operation.unsafe, after=GROUND)
        if operation.first:
            plant(project, f"first{number}", operation.first, after=GROUND)
        plant(project, f"safe{number}", operation.safe, after=f"first{number}" if operation.first else GROUND)
    return project


def see(project: Path, count: int) -> list[Seen]:
    """Lint both forms of all operations."""
    found = findings(Project.from_file(project / "alembic.ini"))
    return [
        Seen(
            [one for one in found if one.revision == f"unsafe{number}" and one.direction != "down"],
            # Each of these steps is one of several heads, here.
            [one for one in found if one.revision in (f"safe{number}", f"first{number}") and one.direction == "up"],
        )
        for number in range(count)
    ]


def page(seen: Iterable[Seen]) -> str:
    """Return docs/unsafe-operations.md."""
    rest = iter(seen)
    parts = [_HEAD]
    for group, operations in OPERATIONS.items():
        parts.append(f"\n## {group}\n\n| operation | in a step | finding | safe form |\n| --- | --- | --- | --- |\n")
        for operation in operations:
            [why] = {one.why for one in next(rest).unsafe if one.rule == operation.rule}
            safe = f"a step: {_code(operation.first)}<br>the next: " if operation.first else ""
            # The heads of the project in which this was tried say nothing to the reader.
            why = why.partition(":")[0] if operation.rule == "several-heads" else why
            cells = (
                operation.name,
                _code(operation.unsafe),
                f"**{operation.rule}**: {why}",
                safe + _code(operation.safe),
            )
            parts.append(f"| {' | '.join(cells)} |\n")
    return "".join(parts)


_HEAD = """# Unsafe operations

What `make migration-lint` says of each operation that can hurt a database in use, and a form that it lets pass. This
page is made by a test, which plants both forms as steps, lints them, and runs the safe one
(`tests/migrations/test_lint.py`). After a change of the rules, make it anew with `python3 -m tests.migrations.unsafe`.

Bold is the rule's name. If a step must do it all the same, the exception stands in the step, with the reason;
`make plan` shows it, and so does `alembic lint --verbose`:

```python
lint_ignore = {"ban-drop-column": "release 1.4 was the last to read it; 1.5 runs everywhere"}
```

An exception without a reason is a finding, and so is one that is not needed. `safe` is `tangga.safe`
([safe operations](safe-operations.md)). Why the linter is made as it is: [decision 10](decisions/0010-lint.md).
"""


def _code(body: str) -> str:
    lines = [line.removeprefix("@").replace("|", "\\|") for line in body.strip().splitlines()]
    return "<br>".join("&nbsp;" * (len(line) - len(line.lstrip())) + f"`{line.strip()}`" for line in lines)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        every = [operation for group in OPERATIONS.values() for operation in group]
        text = page(see(plant_all(every, Path(folder)), len(every)))
    PAGE.write_text(text)
    sys.stderr.write(f"{PAGE.name} is written\n")
