"""`alembic verify`: the steps pass; each planted fault is found, and named with its step."""

import json
import os
import re
from pathlib import Path

import pytest

from tangga.exits import FINDINGS
from tangga.verify.model import Finding, Report
from tangga.verify.walk import verify
from tests.databases import query
from tests.migrations.proving import project_of, scratch
from tests.migrations.staircase import HEAD, REVISIONS, copy_project, edit, plant
from tests.support.in_process import alembic


def _report(project: Path, start: str | None = "plant0000001", rows: int = 20) -> Report:
    return verify(project_of(project), rows, start)


def _planted(project: Path, upgrade: str, downgrade: str = "pass", header: str = "") -> Path:
    file = plant(project, "plant0000001", "pass", downgrade="pass")
    body = f"def upgrade() -> None:\n    {upgrade}\ndef downgrade() -> None:\n    {downgrade}\n"
    file.write_text(file.read_text().partition("def upgrade")[0] + header + "\n" + body)
    return file


TRIGGER = """op.execute('''
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE INSERT ON posts FOR EACH ROW EXECUTE FUNCTION touch()
''')"""

# name -> (upgrade, downgrade, what is said)
CHAIN: dict[str, tuple[str, str, list[str]]] = {
    "forgotten drop": (
        'op.create_table("tags", sa.Column("id", sa.Integer(), primary_key=True))',
        "pass",
        [
            "after down, sequence tags_id_seq: extra (CREATE SEQUENCE public.tags_id_seq AS integer START WITH 1 "
            "INCREMENT BY 1 NO MINVALUE NO MAXVALUE CACHE 1; ALTER SEQUENCE public.tags_id_seq OWNER TO tangga_owner;)",
            "after down, table tags: extra",
            'up fails the second time: relation "tags" already exists',
        ],
    ),
    "forgotten index": (
        'op.execute("CREATE INDEX IF NOT EXISTS ix_votes_again ON votes (post_id)")',
        "pass",
        [
            "after down, index votes.ix_votes_again: extra "
            "(CREATE INDEX ix_votes_again ON public.votes USING btree (post_id);)"
        ],
    ),
    "leftover enum type": (
        'op.create_table("days", sa.Column("mood", sa.Enum("sad", "happy", name="mood")))',
        'op.drop_table("days")',
        [
            "after down, type mood: extra (CREATE TYPE public.mood AS ENUM ( 'sad', 'happy' ); "
            "ALTER TYPE public.mood OWNER TO tangga_owner;)",
            'up fails the second time: type "mood" already exists',
        ],
    ),
    "leftover function and trigger": (
        TRIGGER.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION").replace(
            "CREATE TRIGGER", "CREATE OR REPLACE TRIGGER"
        ),
        "pass",
        [
            "after down, function touch(): extra (CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RETURN NEW; END $$; ALTER FUNCTION public.touch() OWNER TO tangga_owner;)",
            "after down, trigger posts.touch: extra (CREATE TRIGGER touch BEFORE INSERT ON public.posts FOR EACH ROW "
            "EXECUTE FUNCTION public.touch();)",
        ],
    ),
    "leftover comment": (
        "op.execute(\"COMMENT ON COLUMN posts.nama IS 'full name'\")",
        "pass",
        ["after down, comment on column posts.nama: extra (COMMENT ON COLUMN public.posts.nama IS 'full name';)"],
    ),
    "leftover grant": (
        'op.execute("GRANT SELECT ON posts TO PUBLIC")',
        "pass",
        ["after down, grant on table posts: nothing -> GRANT SELECT ON TABLE public.posts TO PUBLIC;"],
    ),
    "leftover sequence": (
        'op.execute("CREATE SEQUENCE IF NOT EXISTS tickets")',
        "pass",
        [
            "after down, sequence tickets: extra (CREATE SEQUENCE public.tickets START WITH 1 INCREMENT BY 1 "
            "NO MINVALUE NO MAXVALUE CACHE 1; ALTER SEQUENCE public.tickets OWNER TO tangga_owner;)"
        ],
    ),
    "lost server default": (
        'op.alter_column("posts", "published", server_default=sa.false())',
        'op.alter_column("posts", "published", server_default=None)',
        ["after down, column posts.published: boolean DEFAULT true NOT NULL -> boolean NOT NULL"],
    ),
    "lost column data": (
        'op.drop_column("posts", "no_hp")',
        'op.add_column("posts", sa.Column("no_hp", sa.String()))',
        ["after up and down, values that were there before: posts.no_hp: 17 rows changed"],
    ),
    "lossy UPDATE": (
        'op.execute("UPDATE posts SET nama = lower(nama)")',
        "pass",
        ["after up, values that were there before: posts.nama: 20 rows changed"],
    ),
    "trimmed": (
        'op.execute("UPDATE posts SET alamat = trim(alamat)")',
        "pass",
        ["after up, values that were there before: posts.alamat: 13 rows changed"],
    ),
    "deleted rows": (
        'op.execute("DELETE FROM votes WHERE post_id % 2 = 0")',
        "pass",
        ["after up, values that were there before: votes: 10 rows gone"],
    ),
    "rows left behind": (
        "op.execute(\"INSERT INTO users (email, password) VALUES ('a', '!') ON CONFLICT DO NOTHING\")",
        "pass",
        ["after up and down, values that were there before: users: 1 row more than before"],
    ),
    "narrowed type": (
        'op.alter_column("posts", "created_at", type_=sa.Date(), postgresql_using="created_at::date")',
        'op.alter_column("posts", "created_at", type_=sa.DateTime(timezone=True))',
        [
            "after up, values that were there before: posts.created_at: 20 rows changed",
            # One was at midnight.
            "after up and down, values that were there before: posts.created_at: 19 rows changed",
        ],
    ),
    "broken downgrade": (
        'op.execute("CREATE INDEX ix_votes_other ON votes (post_id)")',
        'op.drop_index("ix_votes_post")',
        ['down fails: index "ix_votes_post" does not exist'],
    ),
    "up that works only once": (
        'op.execute("UPDATE posts SET umur = umur"); op.execute("CREATE TYPE temper AS ENUM ()")',
        "pass",
        [
            "after down, type temper: extra (CREATE TYPE public.temper AS ENUM ( ); "
            "ALTER TYPE public.temper OWNER TO tangga_owner;)",
            'up fails the second time: type "temper" already exists',
        ],
    ),
}
# Not in the chain: of steps whose printed SQL, or second way up, is not right, only the first is named; one that fails
# is the last; and one wants the rows as they were made.
OTHERS: list[dict[str, tuple[str, str, list[str]]]] = [
    {
        "filled nulls": (
            "op.execute(\"UPDATE posts SET no_hp = '' WHERE no_hp IS NULL\")",
            "pass",
            ["after up, values that were there before: posts.no_hp: 3 rows changed"],
        ),
        "column renamed by drop and add": (
            'op.add_column("posts", sa.Column("name", sa.String(), server_default=""));op.drop_column("posts", "nama")',
            'op.add_column("posts", sa.Column("nama", sa.String(), server_default="", nullable=False));'
            'op.alter_column("posts", "nama", server_default=None); op.drop_column("posts", "name")',
            [
                "after down, index posts.ix_posts_nama_trgm: missing (CREATE INDEX ix_posts_nama_trgm ON public.posts "
                "USING gin (nama public.gin_trgm_ops);)",
                "after up and down, values that were there before: posts.nama: 20 rows changed",
            ],
        ),
        "printed SQL that does less": (
            'op.get_context().as_sql or op.execute("CREATE INDEX ix_votes_printed ON votes (post_id)")',
            'op.execute("DROP INDEX ix_votes_printed")',
            [
                "the SQL that --sql prints does something else: index votes.ix_votes_printed: missing "
                "(CREATE INDEX ix_votes_printed ON public.votes USING btree (post_id);)"
            ],
        ),
        "second up that does less": (
            "op.execute('''DO $$ BEGIN IF (SELECT count(*) FROM migration_log WHERE revision = 'plant0000004') = 0 THEN"
            " CREATE INDEX ix_votes_again ON votes (post_id); END IF; END $$''')",
            'op.execute("DROP INDEX IF EXISTS ix_votes_again")',
            [
                "after the second up, index votes.ix_votes_again: missing "
                "(CREATE INDEX ix_votes_again ON public.votes USING btree (post_id);)"
            ],
        ),
    },
    {
        "printed SQL that fails": (
            'op.execute("SELECT nosuch" if op.get_context().as_sql else "SELECT 1")',
            "pass",
            ['the SQL that --sql prints fails: column "nosuch" does not exist'],
        ),
    },
    {
        "NOT NULL without a value for old rows": (
            'op.add_column("posts", sa.Column("judul", sa.String(), nullable=False))',
            'op.drop_column("posts", "judul")',
            ['up fails: column "judul" of relation "posts" contains null values; the steps after it were not tried'],
        ),
    },
]
FAULTS = {name: fault for faults in (CHAIN, *OTHERS) for name, fault in faults.items()}


@pytest.fixture(scope="module")
def proven(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, list[Finding]]]:
    """What is found at each fault, the steps planted one upon another: (revision, findings) by the fault's name."""
    found = {}
    for faults in (CHAIN, *OTHERS):
        project = copy_project(tmp_path_factory.mktemp("faults"))
        revisions = {name: f"plant{number:07}" for number, name in enumerate(faults, 1)}
        below = HEAD
        for name, revision in revisions.items():
            upgrade, downgrade, _ = faults[name]
            plant(project, revision, upgrade.replace("\n", " "), downgrade=downgrade, after=below)
            below = revision
        report = _report(project)
        for name, revision in revisions.items():
            found[name] = (revision, [finding for finding in report.findings if finding.revision == revision])
    return found


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_and_named(proven: dict[str, tuple[str, list[Finding]]], name: str) -> None:
    """Also after steps that are at fault themselves, and nothing else is said of its step."""
    revision, findings = proven[name]
    assert [finding.text for finding in findings] == FAULTS[name][2]
    assert {finding.file for finding in findings} == {f"migrations/versions/planted_{revision}.py"}


def test_nothing_else_is_found_where_one_thing_is_wrong(project: Path) -> None:
    upgrade, downgrade, expected = FAULTS["lossy UPDATE"]
    _planted(project, upgrade, downgrade)
    assert [finding.text for finding in _report(project).findings] == expected


def test_drift_from_the_models_and_a_sequence_narrower_than_its_column_are_found(project: Path) -> None:
    _planted(
        project,
        'op.add_column("posts", sa.Column("extra", sa.Integer()));'
        'op.alter_column("users", "id", type_=sa.BigInteger())',
        'op.alter_column("users", "id", type_=sa.Integer()); op.drop_column("posts", "extra")',
    )
    assert [finding for finding in _report(project).findings if "column users.id: type" not in finding.text] == [
        Finding("", "", "models: column posts.extra: in the schema, not in the models"),
        Finding("", "", "sequence users_id_seq (narrower than its column users.id): integer, the column is bigint"),
    ]


def test_what_is_no_fault(project: Path) -> None:
    """What a step declares, a step that cannot be taken back, one that cannot be printed, an index CONCURRENTLY."""
    upgrade, downgrade, _ = FAULTS["lossy UPDATE"]
    _planted(
        project, upgrade, downgrade, 'changes_data = {"posts.nama": "names are compared without case from now on"}'
    )
    file = plant(
        project, "plant0000002", 'op.execute("DELETE FROM votes")', after="plant0000001",
        downgrade='raise NotImplementedError("votes are gone")',
    )  # fmt: skip
    header = 'irreversible = "the votes are gone"\nchanges_data = {"votes": "so it is meant"}\n'
    edit(file, "def upgrade", f"{header}def upgrade")
    plant(project, "plant0000003", 'op.get_bind().execute(sa.text("SELECT 1")).scalar_one()', after="plant0000002")
    concurrently = "with op.get_context().autocommit_block(): "
    plant(
        project, "plant0000004",
        f'{concurrently}op.create_index("ix_a", "votes", ["post_id"], postgresql_concurrently=True)',
        after="plant0000003",
        downgrade=f'{concurrently}op.drop_index("ix_a", table_name="votes", postgresql_concurrently=True)',
    )  # fmt: skip
    report = _report(project)
    assert [finding.text for finding in report.findings] == [
        "models: index votes.ix_a: in the schema, not in the models"
    ]
    assert [timing.revision for timing in report.timings if timing.down is None] == ["plant0000002"]
    irreversible, printed = report.notes
    assert irreversible == "plant0000002 is irreversible, so it was not taken back: the votes are gone"
    assert printed.startswith("plant0000003 cannot be printed as SQL: ")


def test_the_command_prints_a_table_and_ends_with_its_own_code(project: Path, database: str) -> None:
    clean = alembic(database, "verify", "--rows", "10")
    assert clean.returncode == 0, clean.stderr
    lines = clean.stdout.splitlines()
    assert lines[0].split() == ["step", "message", "up", "down"]
    assert [line.split()[0] for line in lines[1:11]] == REVISIONS
    assert all(re.search(r"  \d+\.\d+ s +\d+\.\d+ s$", line) for line in lines[1:11])
    # No note and no fault.
    assert lines[11].startswith("10 steps with 10 rows a table in ")
    assert lines[12:] == ["verified: up, down and up again, printed SQL, models"]
    file = _planted(project, *FAULTS["leftover sequence"][:2])
    faulty = alembic(database, "verify", "--from", HEAD, "--json", project=project)
    assert (faulty.returncode, faulty.stderr.partition("\n")[0]) == (FINDINGS, "error: verify: 1 fault")
    page = json.loads(faulty.stdout)
    assert page["findings"] == [
        {
            "revision": "plant0000001",
            "file": f"migrations/versions/{file.name}",
            "text": FAULTS["leftover sequence"][2][0],
        }
    ]
    assert [timing["revision"] for timing in page["timings"]] == [HEAD, "plant0000001"]


def test_nothing_is_left_on_the_scratch_server_and_the_live_database_is_not_touched(database: str) -> None:
    def made() -> set[str]:
        names = rf"scratch\_{os.getpid()}\_%"
        found = query("postgres", "SELECT datname FROM pg_database WHERE datname LIKE %s", names, role="superuser")
        return {name for [name] in found}

    before = made()
    with scratch().database():
        assert made() > before
    verify(project_of(live=database), 1)
    assert made() == before
    assert query(database, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == [(0,)]
