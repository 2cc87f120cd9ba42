"""Each way to fail: one line with the cause, one with the remedy, an exit code of its own, nothing half done."""

import os
import re
from contextlib import closing
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tangga.guard.lock import LOCK_KEY
from tests.databases import alembic_process, connect, migrate, query, run, scratch_database
from tests.migrations.staircase import HEAD, V5, V6, catalogue, edit, plant, revision

STEP_FAILED = 3
LOCK_NOT_OBTAINED = 4
UNREACHABLE = 5
AHEAD = 6
SEVERAL_HEADS = 7
BEHIND = 8
DRIFT = 9
TABLE_LOCK_NOT_OBTAINED = 10
UNKNOWN_REVISION = 13
REVISION_FILES = 15

IMPATIENT = {"MIGRATE_LOCK_TIMEOUT": "0.3", "MIGRATE_LOCK_RETRY_FOR": "0.5"}


def _assert_reported(finished: CompletedProcess[str], code: int, what: str, remedy: str = "") -> None:
    output = finished.stdout + finished.stderr
    assert finished.returncode == code, output
    lines = finished.stderr.splitlines()
    assert [line for line in lines if not line.startswith("migrate: ")] == lines[-2:], output
    assert lines[-2].startswith("error: ")
    assert lines[-1].startswith("   do: ")
    assert what in lines[-2]
    assert remedy in lines[-1]
    assert "Traceback" not in output
    for name in ("DB_OWNER_PASS", "DB_PASS", "POSTGRES_PASSWORD"):
        assert os.environ[name] not in output


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("raise RuntimeError('no such luck')", "RuntimeError: no such luck"),
        ("op.execute('SELEC 1')", 'syntax error at or near "SELEC"'),
        ("op.execute('INSERT INTO posts (nama) VALUES (NULL)')", "violates not-null constraint DETAIL:"),
        ("op.drop_column('posts', 'nothing')", 'column "nothing" of relation "posts" does not exist'),
        ("op.add_column('posts', nonsense)", "NameError: name 'nonsense' is not defined"),
    ],
)
def test_a_step_that_fails_is_rolled_back_whole(at_head: str, project: Path, body: str, what: str) -> None:
    plant(project, "0000000000a1", "op.create_table('first', sa.Column('id', sa.Integer()))")
    plant(
        project,
        "0000000000a2",
        f"op.create_table('second', sa.Column('id', sa.Integer())); {body}",
        after="0000000000a1",
    )
    with scratch_database(at_head) as database:
        finished = alembic_process(database, "upgrade", "head", project=project)
        _assert_reported(finished, STEP_FAILED, what, "rolled back")
        assert "step 0000000000a2 (planted 0000000000a2) failed in upgrade at" in finished.stderr
        # The step before it stands, and nothing of this one is left.
        assert revision(database) == "0000000000a1"
        tables = {row[0] for row in catalogue(database)["relations"]}
        assert "first" in tables
        assert "second" not in tables


@pytest.mark.parametrize(
    ("body", "said", "remedy"),
    [
        (
            "op.execute('CREATE EXTENSION pg_stat_statements')",
            'create extension "pg_stat_statements" HINT: Must be superuser to create this extension.',
            "EXTENSIONS= in .env",
        ),
        ("op.execute('CREATE EXTENSION nosuch')", 'extension "nosuch" is not available', "POSTGRES_PACKAGES"),
        ("op.execute('CREATE ROLE grafana')", "permission denied to create role DETAIL: Only", "EXTRA_ROLES="),
        ("op.execute('GRANT SELECT ON posts TO grafana')", 'role "grafana" does not exist', "EXTRA_ROLES="),
        ("op.drop_table('users')", "on table posts depends on table users; constraint fk_votes_user_id", "mend"),
        ("op.drop_table('users')", "HINT: Use DROP ... CASCADE to drop the dependent objects too.", "mend the step"),
    ],
)
def test_what_the_server_adds_is_shown(at_head: str, project: Path, body: str, said: str, remedy: str) -> None:
    plant(project, "0000000000a1", body)
    finished = alembic_process(at_head, "upgrade", "head", project=project)
    _assert_reported(finished, STEP_FAILED, said, remedy)
    assert len(finished.stderr.splitlines()[-2]) < 1000


def test_an_extension_of_the_superuser_is_not_the_steps_to_drop(at_head: str, project: Path) -> None:
    plant(
        project, "0000000000a1", "op.execute('CREATE EXTENSION IF NOT EXISTS pg_stat_statements')",
        downgrade="op.execute('DROP EXTENSION pg_stat_statements')",
    )  # fmt: skip
    with scratch_database(at_head) as database:
        query(database, "CREATE EXTENSION pg_stat_statements", role="superuser")
        migrate(database, "upgrade", "head", project=project)
        finished = alembic_process(database, "downgrade", "-1", project=project)
        _assert_reported(finished, STEP_FAILED, "must be owner of extension pg_stat_statements", "take its DROP")


@pytest.mark.parametrize(
    ("constraint", "said"),
    [
        ("op.create_unique_constraint('uq_nama', 'posts', ['nama'])", "DETAIL: Key (nama)=(…)"),
        ("op.create_check_constraint('ck_umur', 'posts', 'umur > 99')", 'check constraint "ck_posts_ck_umur"'),
        ("op.execute(\"INSERT INTO users (email, password) VALUES ('ani@x.org', NULL)\")", "Failing row contains (…)."),
        ("op.execute(\"INSERT INTO users (email, password) VALUES ('secret@x.org', 'x')\")", "Key (email)=(…)"),
        ("op.execute('UPDATE posts SET owner_id = 4711')", "DETAIL: Key (owner_id)=(…)"),
    ],
    ids=["unique", "check", "not null", "key", "foreign key"],
)
def test_values_of_rows_are_not_shown(at_head: str, project: Path, constraint: str, said: str) -> None:
    """The line goes into logs and into migration_log; a row of users holds the hash of a password."""
    plant(project, "0000000000a1", constraint)
    with scratch_database(at_head) as database:
        query(database, "INSERT INTO users (email, password) VALUES ('secret@x.org', 'hash-9')")
        posts = "SELECT 'secret', 1, '', id FROM users, generate_series(1, 2)"
        query(database, f"INSERT INTO posts (nama, umur, alamat, owner_id) {posts}")
        finished = alembic_process(database, "upgrade", "head", project=project)
        _assert_reported(finished, STEP_FAILED, said)
        [(noted,)] = query(database, "SELECT error FROM migration_log WHERE outcome = 'failed'")
        for text in (finished.stderr.splitlines()[-2], noted):
            for value in ("secret", "hash-9", "4711", "@x.org"):
                assert value not in text


def test_a_failed_downgrade_is_rolled_back_whole(at_head: str, project: Path) -> None:
    plant(project, "0000000000a1", "pass", downgrade="op.drop_table('votes'); raise RuntimeError('no such luck')")
    with scratch_database(at_head) as database:
        migrate(database, "stamp", HEAD)
        migrate(database, "upgrade", "head", project=project)
        before = catalogue(database)
        finished = alembic_process(database, "downgrade", "-1", project=project)
        _assert_reported(finished, STEP_FAILED, "failed in downgrade at")
        assert (revision(database), catalogue(database)) == ("0000000000a1", before)


def test_a_traceback_is_shown_if_it_is_asked_for(at_head: str, project: Path) -> None:
    plant(project, "0000000000a1", "raise RuntimeError('no such luck')")
    finished = alembic_process(at_head, "upgrade", "head", project=project, environment={"MIGRATE_TRACEBACK": "true"})
    assert finished.returncode == STEP_FAILED
    assert "Traceback (most recent call last)" in finished.stderr
    assert "planted_0000000000a1.py" in finished.stderr
    assert [line[:7] for line in finished.stderr.splitlines()[-2:]] == ["error: ", "   do: "]


def test_two_heads_are_named(at_head: str, project: Path) -> None:
    plant(project, "0000000000a1", "pass")
    plant(project, "0000000000a2", "pass")
    finished = alembic_process(at_head, "upgrade", "head", project=project)
    _assert_reported(finished, SEVERAL_HEADS, "0000000000a1, 0000000000a2", "make merge")
    assert revision(at_head) == HEAD


def test_two_heads_can_be_merged(at_head: str, project: Path) -> None:
    plant(project, "0000000000a1", "pass")
    plant(project, "0000000000a2", "pass")
    migrate(at_head, "merge", "heads", "-m", "both", project=project)
    with scratch_database(at_head) as database:
        migrate(database, "upgrade", "head", project=project)


@pytest.mark.parametrize("command", ["upgrade", "downgrade"])
def test_a_revision_that_only_the_database_has_means_an_old_image(at_head: str, command: str) -> None:
    with scratch_database(at_head) as database:
        query(database, "UPDATE alembic_version SET version_num = 'ffffffffffff'")
        finished = alembic_process(database, command, "head" if command == "upgrade" else "-1")
        _assert_reported(finished, AHEAD, "ffffffffffff: the database is at it", "deploy the image")
        assert revision(database) == "ffffffffffff"


def test_an_old_image_says_what_it_lacks_and_from_which_image_to_go_down(at_head: str, project: Path) -> None:
    plant(project, "0000000000a1", "pass")
    plant(project, "0000000000a2", "pass", after="0000000000a1")
    with scratch_database(at_head) as database:
        up = alembic_process(database, "upgrade", "head", project=project, environment={"TAG": "1.4"})
        assert up.returncode == 0, up.stderr
        finished = alembic_process(database, "upgrade", "head", environment={"TAG": "1.3"})
        _assert_reported(
            finished, AHEAD, f"its head is {HEAD}, it lacks 0000000000a2 (applied 2", "deploy image 1.4, or "
        )
        assert re.search(r", 0000000000a1 \(applied [\d-]+ [\d:]+ UTC by image 1\.4\)\n", finished.stderr)
        remedy = f"TAG=1.4 docker compose run --rm migrate alembic downgrade {HEAD}\n"
        assert finished.stderr.endswith(remedy)
        # What was taken back is not lacking.
        migrate(database, "downgrade", "-1", project=project)
        finished = alembic_process(database, "downgrade", "-1", environment={"TAG": "1.3"})
        _assert_reported(finished, AHEAD, "it lacks 0000000000a1 (applied")
        assert "0000000000a2" not in finished.stderr
        # The remedy works: from that image down, then this image goes on.
        migrate(database, "downgrade", HEAD, project=project)
        assert alembic_process(database, "upgrade", "head").returncode == 0


def _without_version(database: str, way: str) -> None:
    query(database, "DROP TABLE alembic_version" if way == "no table" else "DELETE FROM alembic_version")


@pytest.mark.parametrize("way", ["no table", "no row"])
def test_tables_without_a_revision_are_left_alone(at_head: str, way: str) -> None:
    with scratch_database(at_head) as database:
        _without_version(database, way)
        others = "SELECT * FROM information_schema.columns WHERE table_name <> 'alembic_version' ORDER BY 1, 2, 3, 4"
        before = query(database, others)
        finished = alembic_process(database, "upgrade", "head")
        _assert_reported(
            finished,
            DRIFT,
            "the database holds tables (idempotency_keys, login_attempts, posts, users, votes) but no revision",
            "make stamp",
        )
        assert "Running upgrade" not in finished.stderr
        assert (revision(database), query(database, others)) == (None, before)
        # The remedy works.
        migrate(database, "stamp", HEAD)
        assert alembic_process(database, "upgrade", "head").returncode == 0
        assert alembic_process(database, "check").returncode == 0


def test_without_the_check_the_first_step_fails_on_tables_that_are_there(at_head: str, project: Path) -> None:
    """The harm: an error of PostgreSQL's, or worse, steps that run over what somebody else made."""
    edit(project / "services/migrate/tangga/guard/steps.py", "            require_version(heads, ctx)\n", "")
    with scratch_database(at_head) as database:
        _without_version(database, "no row")
        finished = alembic_process(database, "upgrade", "head", project=project)
        _assert_reported(finished, STEP_FAILED, 'relation "posts" already exists')


def test_the_migrators_own_tables_are_no_reason_to_refuse(database: str) -> None:
    migrate(database, "upgrade", HEAD)
    migrate(database, "downgrade", "base")
    assert query(database, "SELECT count(*) > 0 FROM migration_log") == [(True,)]
    migrate(database, "upgrade", HEAD)


@pytest.mark.parametrize(
    ("code", "command", "state"),
    [
        (0, "upgrade head", ""),
        (BEHIND, "current --check-heads", "downgrade"),
        (BEHIND, "check", "downgrade"),
        (BEHIND, "revision --autogenerate -m x", "downgrade"),
        (BEHIND, "revision -m x", "downgrade"),
        (AHEAD, "upgrade head", "unknown"),
        (AHEAD, "downgrade -1", "unknown"),
        (AHEAD, "current", "unknown"),
        (AHEAD, "revision -m x", "unknown"),
        (DRIFT, "check", "drift"),
        (DRIFT, "upgrade head", "no version"),
        (SEVERAL_HEADS, "upgrade head", "two heads"),
        (SEVERAL_HEADS, "reparent", "two heads"),
        (UNKNOWN_REVISION, "upgrade ffffffffffff", ""),
        (UNKNOWN_REVISION, "reparent ffffffffffff", "two heads"),
        (2, "log --page 0", ""),
        (2, "nonsense", ""),
        (255, "log --page 9", ""),
        (255, "downgrade 444acb4ddc7b:base", ""),
    ],
)
def test_each_state_has_its_exit_code(at_head: str, project: Path, code: int, command: str, state: str) -> None:
    with scratch_database(at_head) as database:
        if state == "downgrade":
            migrate(database, "downgrade", "-1")
        elif state == "unknown":
            query(database, "UPDATE alembic_version SET version_num = 'ffffffffffff'")
        elif state == "drift":
            query(database, "ALTER TABLE posts DROP COLUMN no_hp")
        elif state == "no version":
            _without_version(database, "no row")
        elif state == "two heads":
            plant(project, "0000000000a1", "pass")
            plant(project, "0000000000b1", "pass")
        finished = alembic_process(database, *command.split(), project=project)
        assert finished.returncode == code, finished.stdout + finished.stderr
        assert "Traceback" not in finished.stderr


@pytest.mark.parametrize("command", ["upgrade", "downgrade", "stamp"])
def test_a_revision_that_nobody_has_is_unknown(at_head: str, command: str) -> None:
    finished = alembic_process(at_head, command, "ffffffffffff")
    _assert_reported(finished, UNKNOWN_REVISION, "can't locate revision ffffffffffff")
    assert revision(at_head) == HEAD


def test_a_step_after_a_missing_one_is_named(at_head: str, project: Path) -> None:
    plant(project, "0000000000a1", "pass", after="ffffffffffff")
    finished = alembic_process(at_head, "upgrade", "head", project=project)
    file = "migrations/versions/planted_0000000000a1.py"
    _assert_reported(finished, UNKNOWN_REVISION, f"ffffffffffff, which {file} names", "bring the file")


def test_a_file_that_is_no_python_is_named(at_head: str, project: Path) -> None:
    plant(project, "0000000000a1", "pass pass")
    finished = alembic_process(at_head, "upgrade", "head", project=project)
    _assert_reported(finished, REVISION_FILES, "invalid syntax (planted_0000000000a1.py:10)", "nothing was run")


@pytest.mark.parametrize(
    ("environment", "what"),
    [
        ({"DB_PASS": "wrong-9"}, "password authentication failed"),
        ({"DB_USERNAME": "nobody"}, "refuses nobody"),
        ({"DB_PORT": "1"}, "no database at"),
        ({"DB_HOSTNAME": "host.invalid"}, "no database at host.invalid"),
        ({"DB_NAME": "nowhere"}, 'database "nowhere" does not exist'),
    ],
    ids=str,
)
def test_a_database_that_cannot_be_used_is_named(environment: dict[str, str], what: str) -> None:
    finished = alembic_process("unused", "upgrade", "head", environment=environment)
    _assert_reported(finished, UNREACHABLE, what)
    assert "wrong-9" not in finished.stderr


@pytest.mark.parametrize(("name", "value"), [("DB_PASS", "change-me"), ("DB_PORT", "many"), ("DB_NAME", "")])
def test_a_wrong_setting_ends_it_before_anything_is_tried(name: str, value: str) -> None:
    finished = alembic_process("unused", "upgrade", "head", environment={name: value})
    _assert_reported(finished, 2, f"error: {name}: ", ".env")


def test_a_lock_that_is_not_obtained_in_time_names_its_holder(database: str) -> None:
    with closing(connect(database)) as other:
        run(other, "SELECT pg_advisory_lock(%s)", LOCK_KEY)
        [(pid,)] = run(other, "SELECT pg_backend_pid()")
        finished = alembic_process(database, "upgrade", "head", environment={"MIGRATE_LOCK_WAIT": "1"})
        _assert_reported(finished, LOCK_NOT_OBTAINED, f"held by pid {pid} from ", "MIGRATE_LOCK_WAIT")
        assert "migrate: waiting for the migration lock" in finished.stderr
        # Who only looks does not wait.
        assert alembic_process(database, "current", environment={"MIGRATE_LOCK_WAIT": "0"}).returncode == 0
    assert revision(database) is None


def test_a_table_that_is_in_use_makes_the_step_give_up(at_head: str) -> None:
    with scratch_database(at_head) as database, closing(connect(database, "app")) as reader:
        migrate(database, "downgrade", V6)
        run(reader, "BEGIN")
        run(reader, "SELECT * FROM posts")
        finished = alembic_process(database, "downgrade", "-1", environment=IMPATIENT)
        _assert_reported(finished, TABLE_LOCK_NOT_OBTAINED, V6)
        assert revision(database) == V6
        run(reader, "ROLLBACK")
        assert alembic_process(database, "downgrade", "-1", environment=IMPATIENT).returncode == 0
        assert revision(database) == V5


def test_a_statement_that_takes_too_long_makes_the_step_give_up(at_head: str, project: Path) -> None:
    plant(project, "0000000000a1", "op.execute('SELECT pg_sleep(30)')")
    finished = alembic_process(
        at_head, "upgrade", "head", project=project, environment={"MIGRATE_STATEMENT_TIMEOUT": "0.3"}
    )
    _assert_reported(finished, STEP_FAILED, "canceling statement due to statement timeout")


def test_a_validation_that_cannot_get_its_lock_is_no_unreachable_database(at_head: str) -> None:
    with scratch_database(at_head) as database, closing(connect(database)) as other:
        query(
            database, "UPDATE pg_constraint SET convalidated = false WHERE conname = 'post_users_fk'", role="superuser"
        )
        run(other, "BEGIN")
        run(other, "LOCK TABLE posts IN SHARE UPDATE EXCLUSIVE MODE")
        finished = alembic_process(database, "upgrade", "head", environment=IMPATIENT)
        _assert_reported(finished, TABLE_LOCK_NOT_OBTAINED, "posts.post_users_fk")


def test_a_constraint_that_old_rows_violate_is_named(at_head: str, project: Path) -> None:
    plant(
        project,
        "0000000000a1",
        "op.create_check_constraint(op.f('ck_umur'), 'posts', 'umur > 17', postgresql_not_valid=True)\n"
        "validate_after_commit = ('posts.ck_umur',)",
    )
    with scratch_database(at_head) as database:
        query(database, "INSERT INTO users (email, password) VALUES ('ani@example.com', '!')")
        query(database, "INSERT INTO posts (nama, umur, alamat, owner_id) VALUES ('Ani', 1, '', 1)")
        finished = alembic_process(database, "upgrade", "head", project=project)
        _assert_reported(finished, STEP_FAILED, "posts.ck_umur", "again")
        assert revision(database) == "0000000000a1"
        query(database, "UPDATE posts SET umur = 18")
        migrate(database, "upgrade", "head", project=project)
        assert query(database, "SELECT convalidated FROM pg_constraint WHERE conname = 'ck_umur'") == [(True,)]


def test_a_container_that_cannot_write_files_says_which_can(at_head: str, project: Path) -> None:
    (project / "migrations/versions").chmod(0o555)
    finished = alembic_process(at_head, "revision", "-m", "anything", project=project)
    _assert_reported(finished, 255, "cannot write to migrations/versions here", "")
    assert "make revision" in finished.stderr
