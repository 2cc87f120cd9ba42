"""What is shown of an error that a program printed, and what is to be done; and which files are read as a chain."""

from pathlib import Path

import pytest

from tangga import causes
from tangga.precheck import heads_of_files, steps_of_files
from tangga.project import Project

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("stderr", "cause"),
    [
        (
            'psql:<stdin>:12: ERROR:  role "grafana" does not exist\nCONTEXT:  x',
            'role "grafana" does not exist',
        ),
        (
            "pg_dump: error: query failed: ERROR:  permission denied for table t\n"
            "pg_dump: detail: Query was: LOCK TABLE public.t IN ACCESS SHARE MODE",
            "permission denied for table t DETAIL: Query was: LOCK TABLE public.t IN ACCESS SHARE MODE",
        ),
        (
            'WARNING:  something\nERROR:  permission denied to create extension "x"\n'
            "HINT:  Must be superuser to create this extension.",
            'permission denied to create extension "x" HINT: Must be superuser to create this extension.',
        ),
        (
            'pg_dump: error: connection to server at "db", port 5432 failed: FATAL:  no pg_hba.conf entry',
            'connection to server at "db", port 5432 failed: FATAL: no pg_hba.conf entry',
        ),
        ("bash: line 1: pg_dump: command not found", "bash: line 1: pg_dump: command not found"),
        ("", "it printed no cause"),
        (f"ERROR:  {'x' * 5000}", f"{'x' * 299}…"),
    ],
    ids=["psql", "pg_dump", "hint", "connection", "no client", "silent", "endless"],
)
def test_the_cause_is_found_in_what_a_program_printed(stderr: str, cause: str) -> None:
    assert causes.of_program(stderr.splitlines()) == cause


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ('permission denied to create extension "vector"', "EXTENSIONS="),
        ('must be owner of extension "vector"', "DROP EXTENSION"),
        ('extension "vector" is not available', "POSTGRES_PACKAGES"),
        ("permission denied to create role", "EXTRA_ROLES="),
        ('role "grafana" does not exist', "EXTRA_ROLES="),
        ("permission denied for table ledger", "OWNER TO"),
    ],
)
def test_the_remedy_fits_the_cause(words: str, named: str) -> None:
    """In this stack's words: pyproject.toml has them."""
    Project.from_file(PROJECT / "alembic.ini")
    remedy = causes.remedy(words)
    assert remedy is not None
    assert named in remedy


def test_of_other_causes_nothing_is_guessed() -> None:
    assert causes.remedy('column "x" does not exist') is None


def _write(folder: Path, **steps: str | None) -> str:
    for name, below in steps.items():
        (folder / f"{name}.py").write_text(f'revision = "{name}"\ndown_revision = {below!r}\n')
    return str(folder)


def test_a_chain_is_read_from_the_text_of_its_files(tmp_path: Path) -> None:
    folder = _write(tmp_path, a=None, b="a", c="b", other="a")
    assert sorted(heads_of_files(folder)) == ["c", "other"]
    assert steps_of_files(folder) == {"a": None, "b": "a", "c": "b", "other": "a"}


def test_what_is_no_chain_is_left_to_alembic(tmp_path: Path) -> None:
    """An id that is there twice, one that is missing, a circle: read as text, each would pass for a chain."""
    for name, steps in {
        "missing": {"a": None, "b": "a", "c": "gone"},
        "circle": {"a": None, "b": "a", "c": "d", "d": "c"},
        "of itself": {"a": None, "b": "a", "c": "c"},
    }.items():
        (tmp_path / name).mkdir()
        assert steps_of_files(_write(tmp_path / name, **steps)) == {}, name
    folder = _write(tmp_path, a=None, b="a")
    (tmp_path / "b_copy.py").write_text((tmp_path / "b.py").read_text())
    assert (steps_of_files(folder), heads_of_files(folder)) == ({}, [])
