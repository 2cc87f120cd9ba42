"""The tutorial's commands, in its order, each as its reader types it."""

import re
from pathlib import Path

import pytest

from tests.databases import alembic_process, migrate, query
from tests.migrations.staircase import HEAD, REVISIONS, STEPS, V1, V2, V4, catalogue, revision
from tests.support import in_process


def test_the_tutorial_can_be_followed(database: str, project: Path) -> None:
    versions = project / "migrations/versions"
    hidden = {file.name: file.read_text() for file in versions.glob("*.py")}

    def alembic(*arguments: str) -> str:
        finished = in_process.alembic(database, *arguments, project=project)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    def reach_chapter(number: int) -> None:
        """Show the steps that the reader has written by then."""
        for name, text in sorted(hidden.items())[:number]:
            (versions / name).write_text(text)

    for file in versions.glob("*.py"):
        file.unlink()
    alembic("revision", "-m", "v1 create table posts")
    [written] = versions.glob("*_v1_create_table_posts.py")
    assert written.read_text().startswith('"""v1 create table posts\n')
    assert "op.create_table" not in written.read_text()
    written.unlink()

    reach_chapter(1)
    assert alembic("current") == ""
    migrate(database, "upgrade", "444acb4ddc7b", project=project)
    assert alembic("current") == "444acb4ddc7b (head)\n"

    reach_chapter(2)
    assert alembic("current") == "444acb4ddc7b\n"
    assert alembic("heads") == "28801a7e4404 (head)\n"
    migrate(database, "upgrade", "28801a7e4404", project=project)
    migrate(database, "downgrade", "444acb4ddc7b", project=project)
    assert alembic("current") == "444acb4ddc7b\n"
    migrate(database, "upgrade", "28801a7e4404", project=project)

    reach_chapter(3)
    migrate(database, "upgrade", "head", project=project)
    reach_chapter(4)
    migrate(database, "upgrade", "head", project=project)
    migrate(database, "downgrade", "-1", project=project)
    assert alembic("current") == "8c82b1632f52\n"
    assert alembic("history").splitlines() == [
        "8c82b1632f52 -> af786b740296 (head), v4 add foreign-key to posts table",
        "28801a7e4404 -> 8c82b1632f52, v3 buat tabel users",
        "444acb4ddc7b -> 28801a7e4404, v2 tambah field alamat",
        "<base> -> 444acb4ddc7b, v1 create table posts",
    ]
    migrate(database, "upgrade", "head", project=project)
    assert alembic("current") == "af786b740296 (head)\n"

    query(database, "CREATE EXTENSION pg_trgm")  # today's models have more tables, and an index that needs it
    alembic("revision", "--autogenerate", "-m", "v5 auto generate untuk vote")
    [written] = versions.glob("*_v5_auto_generate_untuk_vote.py")
    assert re.search(r'op\.create_table\(\s*"votes"', written.read_text())
    # The scratch server has it by a step, too.
    extension = 'op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")'
    written.write_text(
        written.read_text().replace("def upgrade() -> None:\n", f"def upgrade() -> None:\n    {extension}\n")
    )
    migrate(database, "upgrade", "head", project=project)
    agreed = alembic("check")
    assert "models and database agree" in agreed
    assert agreed.endswith("No new upgrade operations detected.\n")


def test_the_generated_step_equals_the_written_ones(database: str, at_head: str, project: Path) -> None:
    for file in sorted((project / "migrations/versions").glob("*.py"))[4:]:
        file.unlink()
    migrate(database, "upgrade", V4)
    query(database, "CREATE EXTENSION pg_trgm")  # models do not know extensions
    assert in_process.alembic(database, "revision", "--autogenerate", "-m", "v5", project=project).returncode == 0
    migrate(database, "upgrade", "head", project=project)
    assert catalogue(database) == catalogue(at_head)
    migrate(database, "downgrade", "-1", project=project)
    assert revision(database) == V4


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("current",), f"{V2}\n"),
        (("heads",), f"{HEAD} (head)\n"),
        (("history", "-r", f"{V1}:{V2}"), f"{V1} -> {V2}, {STEPS[1].message}\n<base> -> {V1}, {STEPS[0].message}\n"),
        (("show", "head"), f"Rev: {HEAD} (head)\n"),
        (("branches",), ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_who_only_looks_changes_nothing(database: str, arguments: tuple[str, ...], expected: str) -> None:
    migrate(database, "upgrade", V2)
    before = catalogue(database)
    finished = in_process.alembic(database, *arguments)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith(expected)
    assert (revision(database), catalogue(database)) == (V2, before)


def test_history_marks_where_the_database_is(database: str) -> None:
    migrate(database, "upgrade", V2)
    lines = in_process.alembic(database, "history", "--indicate-current").stdout.splitlines()
    assert len(lines) == len(REVISIONS)
    assert [line for line in lines if "(current)" in line] == [f"{V1} -> {V2} (current), {STEPS[1].message}"]


def test_asking_whether_the_database_is_at_head_answers_with_the_exit_code(database: str, at_head: str) -> None:
    migrate(database, "upgrade", V2)
    assert in_process.alembic(at_head, "current", "--check-heads").returncode == 0
    assert in_process.alembic(database, "current", "--check-heads").returncode != 0


def test_results_go_to_stdout_and_progress_to_stderr(database: str) -> None:
    finished = alembic_process(database, "upgrade", "head")
    assert finished.stdout == ""
    assert [line for line in finished.stderr.splitlines() if "Running upgrade" in line] == [
        f"migrate: Running upgrade {below} -> {step.revision}, {step.message}"
        for below, step in zip(["", *REVISIONS], STEPS, strict=False)
    ]
    assert all(line.startswith("migrate: ") for line in finished.stderr.splitlines())
