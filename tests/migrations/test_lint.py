"""`alembic lint`: each unsafe operation is found, each safe form passes, and nothing is found for nothing."""

import json
import resource
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tangga.exits import FINDINGS
from tangga.lint import Finding, findings
from tangga.project import Project
from tests.databases import PROJECT, alembic_process, migrate, query, scratch_database
from tests.migrations.staircase import HEAD, REVISIONS, add_posts, add_user, copy_project, edit
from tests.migrations.unsafe import GROUND, OPERATIONS, PAGE, Seen, page, plant, plant_all, see

_ALL = [operation for group in OPERATIONS.values() for operation in group]


@pytest.fixture(scope="module")
def operations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with a step for each form of each operation."""
    return plant_all(_ALL, tmp_path_factory.mktemp("operations"))


@pytest.fixture(scope="module")
def seen(operations: Path) -> list[Seen]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DB_PORT", "1")  # no database is needed
        return see(operations, len(_ALL))


@pytest.mark.parametrize("number", range(len(_ALL)), ids=[operation.name for operation in _ALL])
def test_an_unsafe_operation_is_found_and_its_safe_form_passes(seen: list[Seen], number: int) -> None:
    operation = _ALL[number]
    assert operation.rule in {one.rule for one in seen[number].unsafe}
    assert all(one.why and one.remedy for one in seen[number].unsafe)
    assert [one for one in seen[number].safe if one.exception is None] == []


@pytest.fixture(scope="module")
def grown(operations: Path) -> Iterator[str]:
    """A database on which the operations can be tried: the steps, what they need besides, and a row."""
    with scratch_database() as database:
        migrate(database, "upgrade", HEAD, project=operations)
        add_user(database, "ani@example.com")
        add_posts(database, 1, alamat="", owner_id=1, no_hp="0812")
        migrate(database, "upgrade", GROUND, project=operations)
        yield database


@pytest.mark.parametrize("number", range(len(_ALL)), ids=[operation.name for operation in _ALL])
def test_the_safe_form_runs(operations: Path, grown: str, number: int) -> None:
    with scratch_database(grown) as database:
        migrate(database, "upgrade", f"safe{number}", project=operations)


def test_the_page_of_unsafe_operations_is_what_the_linter_says(seen: list[Seen]) -> None:
    assert PAGE.read_text() == page(seen), "make it anew: python3 -m tests.migrations.unsafe"


def _lint(project: Path, *revisions: str) -> list[Finding]:
    return findings(Project.from_file(project / "alembic.ini"), revisions or None)


def _rules(project: Path, revision: str, direction: str | None = None) -> set[str]:
    found = _lint(project, revision)
    return {one.rule for one in found if direction in (None, one.direction) and one.exception is None}


def test_the_steps_have_no_finding_but_what_they_declare() -> None:
    found = _lint(PROJECT)
    assert [one for one in found if one.exception is None] == []
    assert {one.revision for one in found} <= set(REVISIONS)


def test_without_their_exceptions_the_steps_have_findings(project: Path) -> None:
    for file in (project / "migrations/versions").glob("*.py"):
        file.write_text(file.read_text().replace("lint_ignore =", "not_read ="))
    found = [(REVISIONS.index(one.revision) + 1, one.rule) for one in _lint(project) if one.exception is None]
    assert set(found) == {
        (1, "prefer-bigint-over-int"),
        (1, "prefer-identity"),
        (2, "new-required-column"),
        (3, "prefer-bigint-over-int"),
        (3, "prefer-identity"),
        # From inside its DO block.
        (4, "adding-required-field"),
        (4, "data-with-schema"),
        (4, "lock-table"),
        (4, "new-required-column"),
        (4, "prefer-bigint-over-int"),
        (5, "prefer-bigint-over-int"),
        (8, "prefer-bigint-over-int"),
        (9, "prefer-bigint-over-int"),
        (9, "prefer-bigint-over-smallint"),
    }


# What is said about a step as a whole: upgrade, downgrade, and what is found.
_STEPS: list[tuple[str, str | None, set[tuple[str, str]]]] = [
    ('op.execute("ANALYZE posts")', "pass", {("down", "no-downgrade")}),
    ('op.execute("ANALYZE posts")', "raise NotImplementedError", {("down", "irreversible-undeclared")}),
    ('@irreversible = "gone"\nop.execute("ANALYZE posts")', "raise NotImplementedError", set()),
    ('@irreversible = ""\nop.execute("ANALYZE posts")', "raise ValueError('x')", {("down", "irreversible-undeclared")}),
    ('@irreversible = "gone"\nop.execute("ANALYZE posts")', "pass", {("down", "no-downgrade")}),
    ("pass", "pass", set()),
    ('op.get_bind().execute(sa.text("SELECT 1")).scalar()', "pass", {("up", "not-rendered"), ("down", "no-downgrade")}),
    ("print('nothing of SQL')", "pass", {("up", "not-rendered")}),
    ('op.execute("ANALYZE posts")', "op.get_bind().scalar(sa.text('SELECT 1'))", {("down", "not-rendered")}),
    ("op.execute(\"DO $$ BEGIN EXECUTE 'DROP TABLE ' || 'posts'; END $$\")", None, {("up", "hidden-sql")}),
    ("op.execute(\"DO $$ BEGIN EXECUTE format('LOCK TABLE %I', 'posts'); END $$\")", None, {("up", "lock-table")}),
    ('op.execute("DO $$ BEGIN LOCK TABLE posts; END $$")', None, {("up", "lock-table")}),
    ('op.execute("DO LANGUAGE plpython3u $$ pass $$")', None, {("up", "hidden-sql")}),
    ('op.execute("SELEC 1")', None, {("up", "hidden-sql"), ("up", "syntax-error")}),
    ('@lock_timeout = "0"\nop.execute("ANALYZE posts")', None, {("", "timeouts-off")}),
    ('@lock_timeout = "50ms"\nop.execute("ANALYZE posts")', None, set()),
    (
        'op.create_check_constraint(op.f("ck_p"), "posts", "umur > 0", postgresql_not_valid=True)',
        'op.drop_constraint("ck_p", "posts")',
        {("up", "never-validated")},
    ),
    # An exception stands in the revision, not in a comment.
    (
        'op.execute("-- squawk-ignore-file\\n-- squawk-ignore ban-drop-column\\nALTER TABLE posts DROP COLUMN no_hp")',
        None,
        {("up", "ban-drop-column")},
    ),
    # The way down takes away what the way up has made; but locks and rows count there too.
    ('op.execute("ANALYZE posts")', 'op.drop_column("posts", "no_hp")', set()),
    ('op.execute("ANALYZE posts")', 'op.rename_table("posts", "articles")', set()),
    (
        'op.execute("ANALYZE posts")',
        'op.create_index("ix_a", "posts", ["nama"])',
        {("down", "require-concurrent-index-creation")},
    ),
    ('op.execute("ANALYZE posts")', 'op.execute("DELETE FROM votes")', {("down", "no-where")}),
]  # fmt: skip
# A column's type, what it is changed to, and what is found.
_TYPE_CHANGES: list[tuple[str, str, set[str]]] = [
    ("varchar(30)", "varchar(60)", set()),
    ("varchar(30)", "varchar", set()),
    ("varchar(30)", "text", set()),
    ("varchar(30)", "varchar(20)", {"changing-column-type", "narrowing-type"}),
    ("varchar", "varchar(20)", {"changing-column-type", "narrowing-type"}),
    ("numeric(8, 2)", "numeric(12, 2)", set()),
    ("numeric(8, 2)", "numeric", set()),
    ("numeric(8, 2)", "numeric(12, 3)", {"changing-column-type", "narrowing-type"}),
    ("numeric(8, 2)", "numeric(6, 2)", {"changing-column-type", "narrowing-type"}),
    ("integer", "bigint", {"changing-column-type"}),
    ("bigint", "integer", {"changing-column-type", "narrowing-type", "prefer-bigint-over-int"}),
    ("timestamptz", "date", {"changing-column-type", "narrowing-type"}),
]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Finding]]:
    """The steps above, each on a branch of its own, linted once: revision -> findings."""
    project = copy_project(tmp_path_factory.mktemp("steps"))
    for number, (upgrade, downgrade, _) in enumerate(_STEPS):
        plant(project, f"step{number}", upgrade, **({"downgrade": downgrade} if downgrade else {}))
    for number, (before, after, _) in enumerate(_TYPE_CHANGES):
        plant(project, f"before{number}", f'op.execute("CREATE TABLE t (id bigint, x {before})")')
        plant(project, f"between{number}", 'op.execute("ANALYZE t")', after=f"before{number}")
        change = f'op.execute("ALTER TABLE t ALTER COLUMN x TYPE {after}")'
        plant(project, f"change{number}", change, after=f"between{number}")
    found: dict[str, list[Finding]] = defaultdict(list)
    for one in _lint(project):
        if one.rule != "several-heads":
            found[one.revision].append(one)
    return found


@pytest.mark.parametrize("number", range(len(_STEPS)), ids=[upgrade[:40] for upgrade, _, _ in _STEPS])
def test_a_step_as_a_whole(planted: dict[str, list[Finding]], number: int) -> None:
    assert {(one.direction, one.rule) for one in planted[f"step{number}"]} == _STEPS[number][2]


@pytest.mark.parametrize("number", range(len(_TYPE_CHANGES)), ids=[f"{old} to {new}" for old, new, _ in _TYPE_CHANGES])
def test_a_type_change_is_found_unless_it_widens_for_free(planted: dict[str, list[Finding]], number: int) -> None:
    found = {one.rule for one in planted[f"change{number}"]}
    assert found - {"prefer-text-field"} == _TYPE_CHANGES[number][2]


def test_what_breaks_the_release_before_is_declared_and_only_a_deploy_asks(database: str, project: Path) -> None:
    migrate(database, "upgrade", "head", project=project)
    file = plant(
        project,
        "planted00001",
        'op.alter_column("posts", "nama", new_column_name="name")',
        downgrade='op.alter_column("posts", "name", new_column_name="nama")',
    )
    assert _rules(project, "planted00001") == {"renaming-column"}
    edit(file, "def upgrade", 'breaks_previous_release = "it reads nama"\ndef upgrade')
    assert _rules(project, "planted00001") == set()
    for options, code in ((), 0), (("--pending",), FINDINGS), (("--pending", "--outage"), 0):
        linted = alembic_process(database, "lint", *options, project=project)
        assert linted.returncode == code, linted.stdout
    refused = alembic_process(database, "lint", "--pending", project=project).stdout
    assert refused.startswith("migrations/versions/planted_planted00001.py:")
    assert "breaks-previous-release" in refused
    assert "cannot work with it: it reads nama" in refused
    assert "1 revision: 1 finding" in refused
    migrate(database, "upgrade", "head", project=project)
    assert "0 revisions: 0 findings" in alembic_process(database, "lint", "--pending", project=project).stdout


def test_squawks_false_alarms_are_known_by_their_case(project: Path) -> None:
    plant(
        project,
        "planted00001",
        """
op.execute("CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, post_id bigint UNIQUE)")
op.create_index("ix_t_post_id", "t", ["post_id"])
op.create_foreign_key("fk_t_post_id_posts", "t", "posts", ["post_id"], ["id"])
op.create_check_constraint(op.f("ck_t_post_id"), "t", "post_id > 0")
op.execute("INSERT INTO t (post_id) VALUES (1)")
op.add_column("posts", sa.Column("kota", sa.Text(), server_default="x"))
op.add_column("posts", sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.func.now()))
""",
    )
    assert _rules(project, "planted00001") == set()
    # The same index and CHECK in a later step, when the table may have rows.
    plant(
        project,
        "planted00002",
        """
op.create_index("ix_t_later", "t", ["post_id"])
op.create_check_constraint(op.f("ck_t_later"), "t", "post_id > 0")
op.execute("UPDATE t SET post_id = 1 WHERE post_id = 2")
""",
        after="planted00001",
    )
    assert _rules(project, "planted00002") == {
        "require-concurrent-index-creation",
        "constraint-missing-not-valid",
        "data-with-schema",
    }


@pytest.mark.parametrize("proven", [True, False])
def test_set_not_null_after_a_check_of_an_earlier_step(project: Path, proven: bool) -> None:
    attribute = '@validate_after_commit = ("posts.ck_posts_no_hp",)\n' if proven else ""
    plant(
        project,
        "planted00001",
        attribute + 'op.create_check_constraint(op.f("ck_posts_no_hp"), "posts", "no_hp IS NOT NULL", '
        "postgresql_not_valid=True)",
    )
    plant(
        project,
        "planted00002",
        'op.alter_column("posts", "no_hp", nullable=False)\nop.drop_constraint("ck_posts_no_hp", "posts")',
        after="planted00001",
    )
    assert _rules(project, "planted00002") == (set() if proven else {"adding-not-nullable-field"})


def test_what_a_branch_does_is_not_held_against_another(project: Path) -> None:
    plant(project, "planted00001", 'op.execute("ALTER TABLE posts ALTER COLUMN alamat TYPE varchar(20)")')
    plant(project, "planted00002", 'op.execute("ALTER TABLE posts ALTER COLUMN alamat TYPE text")')
    assert _rules(project, "planted00002") == {"several-heads"}
    plant(project, "planted00003", "pass", after=("planted00001", "planted00002"), downgrade="pass")
    assert _rules(project, "planted00002") == set()


def test_every_head_is_named(project: Path) -> None:
    assert "several-heads" not in {one.rule for one in _lint(project)}
    for revision in ("planted00001", "planted00002"):
        plant(project, revision, 'op.execute("ANALYZE posts")')
    found = [one for one in _lint(project) if one.rule == "several-heads"]
    assert {(one.revision, one.line, one.direction) for one in found} == {
        ("planted00001", 5, ""),
        ("planted00002", 5, ""),
    }


def test_the_line_is_that_of_the_call(project: Path) -> None:
    file = plant(
        project,
        "planted00001",
        """
for name in ("a", "b"):
    op.execute(
        f'''
        DROP INDEX
            {name}
        '''
    )
op.drop_index(
    "c",
)
safe.add_column("posts", sa.Column("kode", sa.CHAR(5)))
""",
        downgrade='op.drop_index("d")',
    )
    lines = [(one.line, one.rule, one.direction) for one in _lint(project, "planted00001")]
    assert lines == [
        (9, "require-concurrent-index-deletion", "up"),
        (15, "require-concurrent-index-deletion", "up"),
        (18, "ban-char-field", "up"),
        (21, "require-concurrent-index-deletion", "down"),
    ]
    assert file.read_text().splitlines()[8].strip() == "op.execute("


def test_an_exception_stands_in_the_revision_with_a_reason(project: Path) -> None:
    plant(
        project,
        "planted00001",
        '@lint_ignore = {"ban-drop-column": "nobody reads it"}\nop.drop_column("posts", "no_hp")',
    )
    [found] = _lint(project, "planted00001")
    assert (found.rule, found.exception) == ("ban-drop-column", "nobody reads it")
    # It excuses this rule, in this file, and nothing else.
    plant(
        project,
        "planted00002",
        '@lint_ignore = {"ban-drop-column": " ", "cluster": "once"}\nop.drop_column("posts", "alamat")\n'
        'op.drop_table("votes")',
        after="planted00001",
    )
    found_by_rule = {one.rule: one for one in _lint(project, "planted00002")}
    assert set(found_by_rule) == {"ban-drop-column", "ban-drop-table", "exception-without-reason", "unused-exception"}
    assert found_by_rule["ban-drop-table"].exception is None
    assert found_by_rule["unused-exception"].line == 7
    assert "cluster" in found_by_rule["unused-exception"].why


def test_the_command_for_a_person_and_for_a_program(project: Path) -> None:
    def lint(*arguments: str) -> tuple[int, str]:
        # Without a database: nothing listens on this port.
        finished = alembic_process("unused", "lint", *arguments, project=project, environment={"DB_PORT": "1"})
        assert finished.stderr == ""
        return finished.returncode, finished.stdout

    asked = "The database was not asked (--database): edited files and invalid indexes are not seen.\n"
    assert lint() == (0, f"10 revisions: 0 findings, 15 exceptions with a reason\n{asked}")
    plant(project, "planted00001", 'op.drop_column("posts", "no_hp")')
    code, output = lint("head")
    assert code == FINDINGS
    assert output == (
        "migrations/versions/planted_planted00001.py:8  ban-drop-column (up)\n"
        "    why: Dropping a column may break existing clients\n"
        "     do: let a release go out that no longer reads it; then drop it, and say so in lint_ignore\n"
        f"\n1 revision: 1 finding, 0 exceptions with a reason\n{asked}"
    )
    code, output = lint("--json")
    assert code == FINDINGS
    found = [one for one in json.loads(output) if one["exception"] is None]
    assert found == [
        {
            "revision": "planted00001",
            "file": "migrations/versions/planted_planted00001.py",
            "line": 8,
            "direction": "up",
            "rule": "ban-drop-column",
            "why": "Dropping a column may break existing clients",
            "remedy": "let a release go out that no longer reads it; then drop it, and say so in lint_ignore",
            "exception": None,
        }
    ]
    code, output = lint("--verbose", REVISIONS[1])
    assert code == 0
    assert " except: the walkthrough wants alamat NOT NULL without a default" in output


def test_a_database_tells_edited_files_and_invalid_indexes(at_head: str, project: Path) -> None:
    def lint(database: str) -> tuple[int, list[tuple[str, int, str]]]:
        finished = alembic_process(database, "lint", "--database", "--json", project=project)
        found = [one for one in json.loads(finished.stdout) if one["exception"] is None]
        return finished.returncode, [(one["rule"], one["line"], one["revision"]) for one in found]

    plant(project, "planted00001", 'safe.create_index("ix_posts_nama", "posts", ["nama"], unique=True)')
    with scratch_database(at_head) as database:
        migrate(database, "upgrade", "head", project=project)
        assert lint(database) == (0, [])
        query(
            database,
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_posts_nama'::regclass",
            role="superuser",
        )
        edit(next((project / "migrations/versions").glob(f"*_{HEAD}_*.py")), "v10", "V10")
        assert lint(database) == (
            FINDINGS,
            [("edited-after-applied", 12, HEAD), ("invalid-index", 5, "planted00001")],
        )
    unreachable = alembic_process("unused", "lint", "--database", project=project, environment={"DB_PORT": "1"})
    assert unreachable.returncode == 5
    assert "no database at" in unreachable.stderr


def _processor_seconds(project: Path, *arguments: str) -> float:
    """Return what `alembic ...` costs, with Python's start; so that other tests of this moment do not count."""
    environment = {"DB_PORT": "1", "PYTHONDONTWRITEBYTECODE": ""}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    finished = alembic_process("unused", *arguments, project=project, environment=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _printing(project: Path) -> float:
    up, down = ("upgrade", "head", "--sql"), ("downgrade", "head:base", "--sql")
    _processor_seconds(project, *up)  # byte code is written
    return _processor_seconds(project, *up) + _processor_seconds(project, *down)


def test_all_revisions_are_linted_in_two_seconds_and_for_less_than_printing_them(project: Path) -> None:
    printing = _printing(project)
    lint = min(_processor_seconds(project, "lint") for _ in range(3))
    print(f"lint {lint:.2f} s, printing both ways {printing:.2f} s of processor time")
    assert lint < min(2, printing)


def test_linting_500_more_costs_no_more_than_printing_them(project: Path) -> None:
    below = HEAD
    for number in range(500):
        plant(project, f"many{number}", 'op.execute("ANALYZE posts")', after=below)
        below = f"many{number}"
    printing = _printing(project)
    assert _processor_seconds(project, "lint") < 1.3 * printing
