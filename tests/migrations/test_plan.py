"""`alembic plan`: each lock compared with what a second session meets, and everything else that it says."""

import io
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import psycopg2
import pytest
from psycopg2 import sql
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tangga.exits import (
    FINDINGS,
    SEVERAL_HEADS,
    STEP_FAILED,
    TABLE_LOCK_NOT_OBTAINED,
    UNKNOWN_REVISION,
    UNREACHABLE,
    Stop,
)
from tangga.plan import command, making, view
from tangga.plan.model import Plan, strongest_lock
from tests.databases import (
    PROJECT,
    alembic_process,
    connect,
    eventually,
    finish,
    migrate,
    query,
    run,
    scratch_database,
    scratch_databases_of,
    start_alembic,
)
from tests.migrations.proving import project_of
from tests.migrations.staircase import HEAD, REVISIONS, V1, V4, add_posts, add_user, catalogue, plant, rows

# What each lock mode keeps out: PostgreSQL's documentation, table 13.2.
CONFLICTS = {
    "ACCESS SHARE": {"ACCESS EXCLUSIVE"},
    "ROW SHARE": {"EXCLUSIVE", "ACCESS EXCLUSIVE"},
    "ROW EXCLUSIVE": {"SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE"},
    "SHARE UPDATE EXCLUSIVE": {
        "SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE",
    },
    "SHARE": {"ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE"},
    "SHARE ROW EXCLUSIVE": {
        "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE",
    },
    "EXCLUSIVE": {
        "ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE",
        "ACCESS EXCLUSIVE",
    },
    "ACCESS EXCLUSIVE": {
        "ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE",
        "EXCLUSIVE", "ACCESS EXCLUSIVE",
    },
}  # fmt: skip
_HOLD = 4242


class Kind(NamedTuple):
    """A kind of statement, its lock on `posts`, what it does there, and what must be there before."""

    name: str
    statement: str
    lock: str
    work: list[str]
    before: str = ""


IN_TRANSACTION = [
    Kind("a column", "ALTER TABLE posts ADD COLUMN kota text", "ACCESS EXCLUSIVE", []),
    Kind("a column with a constant default", "ALTER TABLE posts ADD COLUMN kota text NOT NULL DEFAULT ''",
         "ACCESS EXCLUSIVE", []),
    Kind("a column with a volatile default", "ALTER TABLE posts ADD COLUMN kode uuid DEFAULT gen_random_uuid()",
         "ACCESS EXCLUSIVE", ["rewrite", "scan"]),
    Kind("a column dropped", "ALTER TABLE posts DROP COLUMN no_hp", "ACCESS EXCLUSIVE", []),
    Kind("a column renamed", "ALTER TABLE posts RENAME COLUMN no_hp TO telepon", "ACCESS EXCLUSIVE", []),
    Kind("integer to bigint", "ALTER TABLE posts ALTER COLUMN umur TYPE bigint", "ACCESS EXCLUSIVE",
         ["rewrite", "scan"]),
    Kind("varchar to text", "ALTER TABLE posts ALTER COLUMN nama TYPE text", "ACCESS EXCLUSIVE", []),
    Kind("NOT NULL", "ALTER TABLE posts ALTER COLUMN no_hp SET NOT NULL", "ACCESS EXCLUSIVE", ["scan"]),
    Kind("NOT NULL after a validated CHECK", "ALTER TABLE posts ALTER COLUMN no_hp SET NOT NULL",
         "ACCESS EXCLUSIVE", [], "ALTER TABLE posts ADD CHECK (no_hp IS NOT NULL)"),
    Kind("a CHECK", "ALTER TABLE posts ADD CHECK (umur >= 0)", "ACCESS EXCLUSIVE", ["scan"]),
    Kind("a CHECK, NOT VALID", "ALTER TABLE posts ADD CHECK (umur >= 0) NOT VALID", "ACCESS EXCLUSIVE", []),
    Kind("a CHECK validated", "ALTER TABLE posts VALIDATE CONSTRAINT ck", "SHARE UPDATE EXCLUSIVE", ["scan"],
         "ALTER TABLE posts ADD CONSTRAINT ck CHECK (umur >= 0) NOT VALID"),
    Kind("a foreign key", "ALTER TABLE posts ADD CONSTRAINT fk FOREIGN KEY (umur) REFERENCES users",
         "SHARE ROW EXCLUSIVE", ["scan"]),
    Kind("a foreign key, NOT VALID",
         "ALTER TABLE posts ADD CONSTRAINT fk FOREIGN KEY (umur) REFERENCES users NOT VALID",
         "SHARE ROW EXCLUSIVE", []),
    Kind("a foreign key validated", "ALTER TABLE posts VALIDATE CONSTRAINT fk", "SHARE UPDATE EXCLUSIVE", ["scan"],
         "ALTER TABLE posts ADD CONSTRAINT fk FOREIGN KEY (umur) REFERENCES users NOT VALID"),
    Kind("an index", "CREATE INDEX ix ON posts (nama)", "SHARE", ["scan"]),
    Kind("a trigger", "CREATE TRIGGER t BEFORE INSERT ON posts FOR EACH ROW EXECUTE FUNCTION f()",
         "SHARE ROW EXCLUSIVE", [],
         "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"),
    Kind("a view", "CREATE VIEW names AS SELECT nama FROM posts", "ACCESS SHARE", []),
    Kind("a comment", "COMMENT ON TABLE posts IS 'what people wrote'", "SHARE UPDATE EXCLUSIVE", []),
    Kind("an UPDATE", "UPDATE posts SET umur = umur + 1", "ROW EXCLUSIVE", ["scan", "change"]),
    Kind("an UPDATE by key", "UPDATE posts SET umur = umur + 1 WHERE id = 1", "ROW EXCLUSIVE", ["change"]),
    Kind("a table dropped that refers to it", "DROP TABLE votes", "ACCESS EXCLUSIVE", []),
    Kind("a LOCK", "LOCK TABLE posts IN EXCLUSIVE MODE", "EXCLUSIVE", []),
]  # fmt: skip
OUTSIDE = [
    Kind("an index, CONCURRENTLY", "CREATE INDEX CONCURRENTLY ix ON posts (nama)", "SHARE UPDATE EXCLUSIVE", ["scan"]),
    Kind("an index dropped, CONCURRENTLY", "DROP INDEX CONCURRENTLY ix", "SHARE UPDATE EXCLUSIVE", [],
         "CREATE INDEX ix ON posts (nama)"),
    Kind("a REINDEX, CONCURRENTLY", "REINDEX INDEX CONCURRENTLY ix", "SHARE UPDATE EXCLUSIVE", ["scan"],
         "CREATE INDEX ix ON posts (nama)"),
]  # fmt: skip


@pytest.fixture(scope="module")
def populated(at_head: str) -> Iterator[str]:
    """A database at the head with rows in every table."""
    with scratch_database(at_head) as database:
        owners = [add_user(database, f"{n}@example.com") for n in range(300)]
        add_posts(database, 200, alamat="", owner_id=owners[0], no_hp="1")
        query(database, "INSERT INTO votes (user_id, post_id) SELECT %s, id FROM posts", owners[0])
        query(database, "ANALYZE")
        yield database


@pytest.fixture
def live(populated: str) -> Iterator[str]:
    """A copy of it, to be changed."""
    with scratch_database(populated) as database:
        yield database


@pytest.fixture(scope="module")
def at_v1() -> Iterator[str]:
    """A database at the first step, with rows."""
    with scratch_database() as database:
        migrate(database, "upgrade", V1)
        add_posts(database, 1000)
        query(database, "ANALYZE")
        yield database


def plan_of(database: str, project: Path = PROJECT, to: str = "head", seconds: int = 60) -> Plan:
    """Make a plan in this process."""
    return making.make(project_of(project, database), to, seconds=seconds)


def code_of(made: Plan) -> int:
    """Return the exit code that the command would have."""
    try:
        command.verdict(made)
    except Stop as stop:
        return stop.code
    return 0


def printed(made: Plan) -> str:
    """Return what a person reads."""
    output = io.StringIO()
    with redirect_stdout(output):
        view.show(made)
    return output.getvalue()


def by_statement(made: Plan, revision: str) -> dict[str, dict[str, Any]]:
    """Return statement -> table -> what it does there."""
    [step] = [step for step in made.steps if step.revision == revision]
    return {each.sql: {touch.table: touch for touch in each.touches} for each in step.statements}


def refused_modes(database: str, table: str) -> set[str]:
    """Return the lock modes that a second session does not get on a table at this moment."""
    refused = set()
    with closing(connect(database)) as second:
        for mode in CONFLICTS:
            run(second, "BEGIN")
            try:
                run(second, sql.SQL("LOCK TABLE {} IN {} MODE NOWAIT").format(sql.Identifier(table), sql.SQL(mode)))
            except psycopg2.errors.LockNotAvailable:
                refused.add(mode)
            run(second, "ROLLBACK")
    return refused


def waits(database: str) -> bool:
    """Tell whether the migrator waits for somebody."""
    return bool(
        query(
            database,
            "SELECT pid FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted "
            "AND datname = current_database() AND application_name = 'tangga-migrate'",
        )
    )


def assert_met(
    live: str, project: Path, planned: dict[str, Any], hold: Callable[[psycopg2.extensions.connection], None]
) -> None:
    """Run the steps on the live database; while the last is held open, compare what a second session meets."""
    with closing(connect(live)) as holder:
        hold(holder)
        process = start_alembic(live, "upgrade", "head", project=project, environment={"MIGRATE_LOCK_TIMEOUT": "60"})
        try:
            assert eventually(lambda: process.poll() is not None or waits(live))
            met = {table: refused_modes(live, table) for table in ("posts", "users", "votes")}
        finally:
            run(holder, "ROLLBACK")
        finished = finish(process)
        assert finished.returncode == 0, finished.stderr
    locks = {table: touch.locks for table, touch in planned.items()}
    expected = {table: set().union(*(CONFLICTS[mode] for mode in locks.get(table, ()))) for table in met}
    assert met == expected


@pytest.mark.parametrize("kind", IN_TRANSACTION, ids=lambda kind: kind.name)
def test_the_lock_is_the_one_that_a_second_session_meets(live: str, project: Path, kind: Kind) -> None:
    if kind.before:
        query(live, kind.before)
    body = f"op.execute({kind.statement!r}); op.execute('SELECT pg_advisory_xact_lock({_HOLD})')"
    plant(project, "0000000000a1", body)
    planned = by_statement(plan_of(live, project), "0000000000a1")[kind.statement]
    assert (planned["posts"].lock, planned["posts"].work) == (kind.lock, kind.work)

    def hold(holder: psycopg2.extensions.connection) -> None:
        run(holder, "BEGIN")
        run(holder, "SELECT pg_advisory_xact_lock(%s)", _HOLD)

    assert_met(live, project, planned, hold)


@pytest.mark.parametrize("kind", OUTSIDE, ids=lambda kind: kind.name)
def test_the_lock_of_a_statement_outside_a_transaction_is_the_one_that_is_met(
    live: str, project: Path, kind: Kind
) -> None:
    if kind.before:
        query(live, kind.before)
    plant(project, "0000000000a1", f"with op.get_context().autocommit_block(): op.execute({kind.statement!r})")
    planned = by_statement(plan_of(live, project), "0000000000a1")[kind.statement]
    assert (planned["posts"].lock, planned["posts"].work) == (kind.lock, kind.work)

    def hold(holder: psycopg2.extensions.connection) -> None:
        # CONCURRENTLY waits for old snapshots, or for readers of the table; ACCESS SHARE keeps out nobody else here.
        run(holder, "BEGIN ISOLATION LEVEL REPEATABLE READ")
        run(holder, "SELECT count(*) FROM posts")

    assert_met(live, project, planned, hold)


def test_reading_a_table_needs_its_indexes_too(live: str, project: Path) -> None:
    query(live, "CREATE INDEX ix ON posts (nama)")
    plant(project, "0000000000a1", "op.execute('REINDEX INDEX ix')")
    planned = by_statement(plan_of(live, project), "0000000000a1")["REINDEX INDEX ix"]
    assert (planned["posts"].lock, planned["ix"].lock) == ("SHARE", "ACCESS EXCLUSIVE")
    # SHARE alone lets readers through. The index does not.
    with closing(connect(live)) as first, closing(connect(live)) as second:
        run(first, "BEGIN")
        run(first, "REINDEX INDEX ix")
        run(second, "SET lock_timeout = '100ms'")
        with pytest.raises(psycopg2.errors.LockNotAvailable):
            run(second, "SELECT count(*) FROM posts")


def test_a_vacuum_is_seen_although_it_waits_for_nobody(live: str, project: Path) -> None:
    plant(project, "0000000000a1", "with op.get_context().autocommit_block(): op.execute('VACUUM posts')")
    [(statement, touches)] = by_statement(plan_of(live, project), "0000000000a1").items()
    assert (statement, touches["posts"].lock) == ("VACUUM posts", "SHARE UPDATE EXCLUSIVE")


def test_a_lock_is_shown_as_long_as_it_is_held(live: str, project: Path) -> None:
    plant(project, "0000000000a1", "op.drop_column('posts', 'no_hp'); op.execute('CREATE INDEX ix ON votes (post_id)')")
    statements = by_statement(plan_of(live, project), "0000000000a1")
    during_index = statements["CREATE INDEX ix ON votes (post_id)"]
    assert (during_index["votes"].lock, during_index["votes"].taken) == ("SHARE", True)
    assert (during_index["posts"].lock, during_index["posts"].taken) == ("ACCESS EXCLUSIVE", False)


def test_what_follows_the_commit_has_its_own_lock(live: str, project: Path) -> None:
    file = plant(
        project,
        "0000000000a1",
        "op.execute('ALTER TABLE posts ADD CONSTRAINT ck CHECK (umur >= 0) NOT VALID')",
    )
    file.write_text(file.read_text() + "validate_after_commit = ('posts.ck',)\n")
    made = plan_of(live, project)
    [add, validate] = made.steps[0].statements
    assert (add.transaction, add.touches[0].lock, add.touches[0].work) == ("step", "ACCESS EXCLUSIVE", [])
    assert (validate.transaction, validate.touches[0].lock) == ("own", "SHARE UPDATE EXCLUSIVE")
    assert validate.touches[0].work == ["scan"]


def test_it_works_where_sql_dies(live: str, project: Path) -> None:
    plant(
        project,
        "0000000000a1",
        "ids = op.get_bind().execute(sa.text('SELECT id FROM posts')).scalars().all(); "
        "op.execute(f'UPDATE posts SET umur = 1 WHERE id = {ids[0]}'); "
        "op.get_bind().connection.cursor().execute('ALTER TABLE posts ADD COLUMN kota text')",
    )
    finished = alembic_process(live, "upgrade", f"{HEAD}:head", "--sql", project=project)
    assert finished.returncode != 0
    made = plan_of(live, project)
    assert code_of(made) == 0
    assert [statement.sql for statement in made.steps[0].statements] == [
        "SELECT id FROM posts",
        "UPDATE posts SET umur = 1 WHERE id = 1",
        "ALTER TABLE posts ADD COLUMN kota text",
    ]


def test_the_staircase_from_v1(at_v1: str) -> None:
    made = plan_of(at_v1)
    assert [step.revision for step in made.steps] == REVISIONS[1:]
    assert code_of(made) == 0
    assert made.tables["posts"].rows == 1000
    locks = [
        [(touch.table, touch.lock, touch.work) for touch in statement.touches if not touch.new]
        for step in made.steps
        for statement in step.statements
    ]
    assert locks == [
        [("posts", "ACCESS EXCLUSIVE", [])],  # v2, the column
        [("posts", "ACCESS EXCLUSIVE", [])],  # v2, without its default
        [],  # v3, a new table
        [("posts", "ACCESS EXCLUSIVE", [])],  # v4, the column: no rewrite, and no scan
        [("posts", "ACCESS EXCLUSIVE", [])],  # v4, the key, NOT VALID
        [("posts", "SHARE UPDATE EXCLUSIVE", ["scan"])],  # v4, validated
        [("posts", "SHARE ROW EXCLUSIVE", [])],  # v5, a new table that refers to it
        [("posts", "ACCESS EXCLUSIVE", [])],  # v6
        [],  # v7, an index on a table that is new as well
        *[[], []] * 2,  # v8 and v9, new tables with an index each
        [],  # v10, the extension
        [("posts", "SHARE UPDATE EXCLUSIVE", ["scan"])],  # v10, the index
    ]
    assert not any(step.destructive for step in made.steps)
    assert all(step.reversible for step in made.steps)
    assert [made.to, made.applied] == [[HEAD], [V1]]


def test_a_step_takes_the_branch_that_it_will_take(at_v1: str, database: str) -> None:
    def owner_is_made(made: Plan) -> bool:
        [step] = [step for step in made.steps if step.revision == V4]
        return "insert" in step.statements[0].touches[-1].work

    migrate(database, "upgrade", V1)
    assert owner_is_made(plan_of(at_v1, to=V4))
    assert not owner_is_made(plan_of(database, to=V4))
    # From nothing at all.
    with scratch_database() as empty:
        made = plan_of(empty)
        assert ([step.revision for step in made.steps], code_of(made)) == (REVISIONS, 0)
        assert strongest_lock(made) is None


@pytest.mark.parametrize(("to", "count"), [("+1", 1), (V4, 3), ("head", 9)])
def test_it_goes_as_far_as_it_is_told(at_v1: str, to: str, count: int) -> None:
    assert len(plan_of(at_v1, to=to).steps) == count


class Demand(NamedTuple):
    """What a step demands, how the live rows fail it, and what the plan says then."""

    name: str
    upgrade: str
    spoil: str
    wrong: int
    example: str | None


DEMANDS = [
    Demand("unique", "CREATE UNIQUE INDEX ux ON posts (nama)",
           "UPDATE posts SET nama = 'ganda' WHERE id <= 3", 1, "ganda"),
    Demand("unique", "ALTER TABLE posts ADD CONSTRAINT uq UNIQUE (nama, umur)",
           "UPDATE posts SET nama = id % 2, umur = 7 WHERE id <= 5", 2, None),
    Demand("unique", "CREATE UNIQUE INDEX ux ON posts (nama) WHERE published",
           "UPDATE posts SET nama = 'ganda', published = true WHERE id <= 3", 1, "ganda"),
    Demand("unique", "CREATE UNIQUE INDEX ux ON posts (upper(nama))",
           "UPDATE posts SET nama = 'NAMA 1' WHERE id = 2", 1, "NAMA 1"),
    Demand("unique", "ALTER TABLE posts DROP CONSTRAINT pk_posts CASCADE; ALTER TABLE posts ADD PRIMARY KEY (umur)",
           "UPDATE posts SET umur = 1 WHERE id <= 2", 1, "1"),
    Demand("not null", "ALTER TABLE posts ALTER COLUMN no_hp SET NOT NULL",
           "UPDATE posts SET no_hp = NULL WHERE id <= 5", 5, None),
    Demand("not null", "ALTER TABLE posts RENAME no_hp TO telepon; ALTER TABLE posts ALTER COLUMN telepon SET NOT NULL",
           "UPDATE posts SET no_hp = NULL WHERE id <= 5", 5, None),
    Demand("foreign key", "ALTER TABLE posts ADD CONSTRAINT fk FOREIGN KEY (umur) REFERENCES users",
           "UPDATE posts SET umur = 9999 WHERE id <= 2", 2, "9999"),
    Demand("check", "ALTER TABLE posts ADD CONSTRAINT ck CHECK (umur >= 0)",
           "UPDATE posts SET umur = -1 WHERE id <= 4", 4, None),
]  # fmt: skip


SAFE_FORMS = [
    ("safe.set_not_null('posts', 'no_hp')", "UPDATE posts SET no_hp = NULL WHERE id <= 5"),
    ("safe.add_unique('uq', 'posts', ['nama'])", "UPDATE posts SET nama = 'ganda'"),
    ("safe.add_check('ck', 'posts', 'umur >= 5000 or umur < 1000')", "UPDATE posts SET umur = 2000"),
    ("safe.add_foreign_key('fk', 'posts', 'users', ['umur'], ['id'])", "UPDATE posts SET umur = 9999"),
]


@pytest.mark.parametrize(("body", "spoil"), SAFE_FORMS)
def test_the_safe_forms_are_asked_about_too(live: str, project: Path, body: str, spoil: str) -> None:
    plant(project, "0000000000a1", f"from tangga import safe; {body}")
    made = plan_of(live, project)
    assert ([assertion.outcome for assertion in made.steps[0].assertions], code_of(made)) == (["holds"], 0)
    query(live, spoil)
    made = plan_of(live, project)
    assert ([assertion.outcome for assertion in made.steps[0].assertions], code_of(made)) == (["violated"], FINDINGS)


@pytest.mark.parametrize("demand", DEMANDS, ids=lambda demand: demand.upgrade)
def test_the_live_rows_are_asked(live: str, project: Path, demand: Demand) -> None:
    plant(project, "0000000000a1", f"op.execute({demand.upgrade!r})")
    made = plan_of(live, project)
    [assertion] = made.steps[0].assertions
    assert (assertion.demand, assertion.outcome, assertion.count) == (demand.name, "holds", 0)
    assert code_of(made) == 0

    query(live, demand.spoil)
    made = plan_of(live, project)
    [assertion] = made.steps[0].assertions
    assert (assertion.outcome, assertion.count) == ("violated", demand.wrong)
    if demand.example:
        assert assertion.example == demand.example
    assert code_of(made) == FINDINGS
    # The plan is right: the step does fail.
    assert alembic_process(live, "upgrade", "head", project=project).returncode == STEP_FAILED


def test_rows_that_a_policy_hides_are_not_said_to_hold(live: str, project: Path) -> None:
    query(live, "ALTER TABLE posts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    plant(project, "0000000000a1", "op.execute('ALTER TABLE posts ADD CHECK (umur < 0)')")
    made = plan_of(live, project)
    [assertion] = made.steps[0].assertions
    assert assertion.outcome == "not asked"
    assert "affected by row-level security policy" in str(assertion.detail)
    # The step meets them all.
    assert alembic_process(live, "upgrade", "head", project=project).returncode == STEP_FAILED


def test_a_demand_that_an_earlier_step_sees_to_is_open(live: str, project: Path) -> None:
    query(live, "UPDATE posts SET nama = 'ganda' WHERE id <= 3")
    plant(project, "0000000000a1", "op.execute('UPDATE posts SET nama = id')")
    plant(project, "0000000000a2", "op.execute('CREATE UNIQUE INDEX ux ON posts (nama)')", after="0000000000a1")
    made = plan_of(live, project)
    [assertion] = made.steps[1].assertions
    assert (assertion.outcome, assertion.count, code_of(made)) == ("open", 1, 0)
    assert alembic_process(live, "upgrade", "head", project=project).returncode == 0


def test_a_question_that_takes_too_long_is_given_up(live: str, project: Path) -> None:
    query(
        live,
        "CREATE FUNCTION slow(integer) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_sleep(0.02); RETURN true; END'",
    )
    plant(project, "0000000000a1", "op.execute('ALTER TABLE posts ADD CONSTRAINT ck CHECK (slow(umur))')")
    made = plan_of(live, project, seconds=1)
    [assertion] = made.steps[0].assertions
    assert (assertion.outcome, code_of(made)) == ("unanswered", 0)
    assert "statement timeout" in assertion.detail


@pytest.mark.parametrize(
    ("body", "losses"),
    [
        ("op.drop_column('posts', 'no_hp')", ["column posts.no_hp"]),
        ("op.drop_table('votes')", ["table votes"]),
        ("op.execute('DELETE FROM votes')", ["rows of votes (DELETE)"]),
        ("op.execute('TRUNCATE votes')", ["rows of votes (TRUNCATE)"]),
        ("op.execute('UPDATE posts SET nama = 1')", ["rows of posts (UPDATE)"]),
        ("op.execute('DO $$ BEGIN DELETE FROM votes; END $$')", ["rows of votes (DO)"]),
        ("op.add_column('posts', sa.Column('kota', sa.Text()))", []),
        ("op.create_table('baru', sa.Column('id', sa.Integer())); op.drop_table('baru')", []),
    ],
)
def test_what_destroys_is_said(live: str, project: Path, body: str, losses: list[str]) -> None:
    plant(project, "0000000000a1", body)
    [step] = plan_of(live, project).steps
    assert (step.losses, step.destructive) == (losses, bool(losses))


@pytest.mark.parametrize(
    ("downgrade", "attribute", "why"),
    [
        ("op.drop_column('posts', 'kota')", "", None),
        ("pass", "", "downgrade does nothing"),
        ("raise RuntimeError", "", "downgrade raises"),
        ("raise RuntimeError", "irreversible = 'the old ones are not kept'", "the old ones are not kept"),
    ],
)
def test_what_cannot_be_undone_is_said(
    live: str, project: Path, downgrade: str, attribute: str, why: str | None
) -> None:
    file = plant(project, "0000000000a1", "op.add_column('posts', sa.Column('kota', sa.Text()))", downgrade=downgrade)
    file.write_text(f"{file.read_text()}{attribute}\n")
    [step] = plan_of(live, project).steps
    assert (step.reversible, step.irreversible) == (why is None, why)


def test_the_live_database_is_only_read(populated: str, project: Path) -> None:
    plant(project, "0000000000a1", "op.execute('ALTER TABLE posts ADD CONSTRAINT ck CHECK (umur >= 0)')")
    before = catalogue(populated), rows(populated, "posts"), rows(populated, "users")
    with closing(connect(populated)) as other:
        run(other, "BEGIN")
        # It lets nothing through but ACCESS SHARE: whatever asked for more would be kept waiting.
        run(other, "LOCK TABLE posts, users, votes, alembic_version, migration_log IN EXCLUSIVE MODE")
        made = plan_of(populated, project)
        assert [assertion.outcome for assertion in made.steps[0].assertions] == ["holds"]
        run(other, "ROLLBACK")
        run(other, "BEGIN")
        run(other, "LOCK TABLE posts IN ACCESS EXCLUSIVE MODE")
        with mock.patch.dict(os.environ, {"MIGRATE_LOCK_TIMEOUT": "0.3"}), pytest.raises(Stop) as stop:
            plan_of(populated, project)
        assert stop.value.code == TABLE_LOCK_NOT_OBTAINED
    assert (catalogue(populated), rows(populated, "posts"), rows(populated, "users")) == before
    engine = making.read_only(project_of(live=populated).settings, 60)
    with engine.connect() as session, pytest.raises(DBAPIError, match="read-only transaction"):
        session.execute(text("UPDATE posts SET umur = 0"))


def test_nothing_is_left_on_the_scratch_server(live: str, project: Path) -> None:
    plant(project, "0000000000a1", "op.execute('SELECT pg_sleep(1)'); raise RuntimeError('no such luck')")
    planning = start_alembic(live, "plan", project=project)
    assert eventually(lambda: scratch_databases_of(planning) != [])
    assert finish(planning).returncode == STEP_FAILED
    assert scratch_databases_of(planning) == []


def test_nothing_to_do(at_head: str) -> None:
    finished = alembic_process(at_head, "plan")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.startswith("Nothing to do: database ")
    assert HEAD in finished.stdout
    document = json.loads(alembic_process(at_head, "plan", "--json").stdout)
    assert (document["steps"], document["summary"]["steps"]) == ([], 0)


def test_a_step_that_fails_is_named_and_the_rest_is_not_tried(live: str, project: Path) -> None:
    plant(project, "0000000000a1", "op.add_column('posts', sa.Column('kota', sa.Text()))")
    plant(project, "0000000000a2", "op.drop_column('posts', 'tidak_ada')", after="0000000000a1")
    plant(project, "0000000000a3", "pass", after="0000000000a2")
    finished = alembic_process(live, "plan", project=project)
    assert finished.returncode == STEP_FAILED
    assert finished.stderr.splitlines()[-2].startswith("error: on the scratch copy, step 0000000000a2 (planted")
    assert 'column "tidak_ada" of relation "posts" does not exist' in finished.stderr
    assert "0000000000a3  not tried" in finished.stdout
    assert "ALTER TABLE posts ADD COLUMN kota TEXT" in finished.stdout
    assert "3 steps" in finished.stdout.splitlines()[-1]


def test_a_step_that_only_rows_break_fails_where_there_are_rows(live: str, project: Path) -> None:
    plant(project, "0000000000a1", "op.add_column('posts', sa.Column('kota', sa.Text(), nullable=False))")
    made = plan_of(live, project)
    assert code_of(made) == STEP_FAILED
    assert 'column "kota" of relation "posts" contains null values' in str(made.steps[0].error)
    query(live, "TRUNCATE posts CASCADE")
    assert code_of(plan_of(live, project)) == 0


def test_the_live_schema_is_what_is_tried_on(live: str, project: Path) -> None:
    plant(project, "0000000000a1", "op.add_column('posts', sa.Column('kota', sa.Text()))")
    assert code_of(plan_of(live, project)) == 0
    # By hand, in no revision.
    query(live, "ALTER TABLE posts ADD COLUMN kota text")
    made = plan_of(live, project)
    assert code_of(made) == STEP_FAILED
    assert 'column "kota" of relation "posts" already exists' in str(made.steps[0].error)


def test_the_document(live: str, project: Path) -> None:
    plant(
        project,
        "0000000000a1",
        "print('not part of the document'); op.execute('CREATE UNIQUE INDEX ux ON posts (nama)')",
    )
    finished = alembic_process(live, "plan", "--json", project=project)
    assert finished.returncode == 0, finished.stderr
    document = json.loads(finished.stdout)
    assert list(document) == [
        "database", "applied", "to", "steps", "not_tried", "tables", "without_rows", "summary",
    ]  # fmt: skip
    [step] = document["steps"]
    assert list(step) == [
        "revision", "message", "file", "reversible", "irreversible", "destructive", "losses", "statements",
        "findings", "assertions", "error",
    ]  # fmt: skip
    [statement] = step["statements"]
    assert list(statement) == ["sql", "transaction", "touches"]
    [touch] = statement["touches"]
    assert touch == {
        "table": "posts", "kind": "table", "new": False, "lock": "SHARE", "locks": ["SHARE"], "taken": True,
        "blocks": "writes", "work": ["scan"],
    }  # fmt: skip
    assert step["assertions"] == [
        {
            "demand": "unique", "table": "posts", "name": "ux", "columns": ["nama"], "outcome": "holds", "count": 0,
            "example": None, "detail": "",
        }
    ]  # fmt: skip
    assert {*step["findings"][0]} == {
        "revision", "file", "line", "direction", "rule", "why", "remedy", "exception",
    }  # fmt: skip
    assert document["tables"].keys() == {"posts"}
    assert document["tables"]["posts"]["rows"] == 200
    assert document["summary"] == {
        "steps": 1,
        "strongest_lock": {"mode": "SHARE", "table": "posts"},
        "findings": sum(finding["exception"] is None for finding in step["findings"]),
        "exceptions": 0,
        "destructive": [],
        "irreversible": ["0000000000a1"],
        "assertions": {"holds": 1, "violated": 0, "open": 0, "unanswered": 0, "not asked": 0},
        "failed": None,
    }


def test_what_a_person_reads(live: str, project: Path) -> None:
    file = plant(
        project,
        "0000000000a1",
        "op.execute('CREATE INDEX ix ON posts (nama)'); op.execute('ALTER TABLE posts ADD CHECK (no_hp IS NOT NULL)')",
        downgrade="op.execute('DROP INDEX ix')",
    )
    file.write_text(
        file.read_text() + "lint_ignore = {'require-concurrent-index-creation': 'nobody writes at night'}\n"
    )
    query(live, "UPDATE posts SET no_hp = NULL WHERE id = 1")
    lines = printed(plan_of(live, project)).splitlines()
    page = "\n".join(lines)
    assert re.search(
        r"^CREATE INDEX ix ON posts \(nama\) +posts +SHARE +writes +scans all rows +200 +\d+ kB$", page, re.M
    )
    assert re.search(
        r"^ALTER TABLE posts ADD CHECK .* +posts +ACCESS EXCLUSIVE +reads, writes +scans all rows ", page, re.M
    )
    assert "all rows of posts (no_hp) meet posts_no_hp_check: does not hold: 1 rows do not" in page
    assert "excepted: nobody writes at night" in page
    assert re.fullmatch(
        r"1 step, strongest lock ACCESS EXCLUSIVE on posts \(200 rows, \d+ kB\), \d+ findings?, 1 exception, "
        r"1 question to the data: 1 violated",
        lines[-1],
    )


def test_findings_do_not_change_the_exit_code(live: str, project: Path) -> None:
    plant(project, "0000000000a1", "op.execute('CREATE INDEX ix ON posts (nama)')")
    finished = alembic_process(live, "plan", project=project)
    assert "  lint: require-concurrent-index-creation planted_0000000000a1.py:" in finished.stdout
    assert (finished.returncode, finished.stderr) == (0, "")


def test_what_stops_alembic_stops_the_plan(at_head: str, project: Path) -> None:
    plant(project, "0000000000a1", "pass")
    plant(project, "0000000000a2", "pass")
    assert alembic_process(at_head, "plan", project=project).returncode == SEVERAL_HEADS
    assert alembic_process(at_head, "plan", "ffffffffffff", project=project).returncode == UNKNOWN_REVISION
    finished = alembic_process(at_head, "plan", project=project, environment={"DB_PORT": "1"})
    assert finished.returncode == UNREACHABLE
