"""What an upgrade of PostgreSQL decides, and what it does of it on the fake engine."""

from pathlib import Path

import pytest

from tests.unit.scripts.doing import calls, do
from tests.unit.scripts.operations import Outcome, says
from tests.unit.scripts.shell import call

DECISIONS = "lib/ui.sh db-upgrade/decisions.sh"


@pytest.mark.parametrize(
    ("serves", "keeps", "left"),
    [
        ("p_db-data", "", ["p_old", "p_new"]),
        ("p_db-data", "p_old", ["p_new"]),
        ("p_new", "p_db-data", ["p_old"]),
        ("p_other", "p_old", []),  # the one that serves is not among them: they are not what they seem to be
        ("p_db", "", []),
    ],
)
def test_what_an_earlier_run_has_left(serves: str, keeps: str, left: list[str]) -> None:
    assert call(DECISIONS, "leftovers", serves, keeps, stdin="p_db-data\np_old\np_new\n").split() == left


def test_the_newer_client_copies() -> None:
    assert call(DECISIONS, "newer", "15", "postgres:15", "17", "postgres:17") == "postgres:17\n"
    assert call(DECISIONS, "newer", "17", "postgres:17", "15", "postgres:15") == "postgres:17\n"
    assert call(DECISIONS, "newer", "9", "postgres:9", "10", "postgres:10") == "postgres:10\n"


def test_the_version_of_an_image() -> None:
    assert call(DECISIONS, "major_in", stdin="PATH=/bin\nPG_MAJOR=17\nNOT_PG_MAJOR=3\n") == "17\n"
    assert call(DECISIONS, "major_in", stdin="PATH=/bin\n") == ""


@pytest.mark.parametrize(
    ("state", "course"),
    [
        ("running healthy", "up"),
        ("running starting", "wait"),
        ("exited unhealthy", "over"),
        ("", "wait"),
        ("created ", "wait"),
    ],
)
def test_how_the_new_server_starts(state: str, course: str) -> None:
    assert call(DECISIONS, "course_of_start", state) == f"{course}\n"


def untouched(outcome: Outcome) -> bool:
    """Return whether the old server serves as before."""
    return not calls(outcome, "^(compose (stop|kill|up)|volume rm)") and "POSTGRES_IMAGE" not in outcome.files[".env"]


REFUSED = {
    "no database": ("compose ps *db", (), "the database of this stack does not run here"),
    "the same version": ("image inspect --format {{range*", ("PG_MAJOR=17",), "the database is PostgreSQL 17 already"),
    "no version": ("image inspect --format {{range*:17*", ("PATH=/bin",), "does not say which version it is"),
    "a migration": (
        "*PGAPPNAME=tangga-db-upgrade*",
        ("a migration is running",),
        "the tables cannot be kept locked: a migration is running",
    ),
    "it does not start": (
        "inspect --format {{.State.Status}} {{.State.Health*",
        ("exited unhealthy",),
        "the new server did not start; the old one serves as before",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_ends_it_while_the_old_server_serves(what: str, tmp_path: Path) -> None:
    pattern, answer, cause = REFUSED[what]
    outcome = do("db-upgrade", tmp_path, prepare=lambda folder: says(folder, pattern, *answer))
    assert outcome.code == 1
    assert cause in outcome.printed
    assert untouched(outcome)


@pytest.mark.parametrize("name", ["POSTGRES_IMAGE", "DB_VOLUME"])
def test_what_the_environment_says_would_win_over_env(name: str, tmp_path: Path) -> None:
    outcome = do("db-upgrade", tmp_path, environment={name: "x"})
    assert "is set in the environment, which wins over .env" in outcome.printed
    assert untouched(outcome)


def test_a_volume_that_is_kept_is_not_forgotten(tmp_path: Path) -> None:
    outcome = do("db-upgrade", tmp_path, settings={"DB_VOLUME_PREVIOUS": "db-data-15"})
    assert "the volume of the last upgrade, db-data-15, is still kept" in outcome.printed
    assert untouched(outcome)


def test_leftovers_of_a_killed_run_are_removed_and_nothing_else(tmp_path: Path) -> None:
    volumes = ("project_db-data", "project_db-data-17-1")
    outcome = do("db-upgrade", tmp_path, prepare=lambda folder: says(folder, "volume ls *", *volumes))
    assert outcome.code == 0, outcome.printed
    assert calls(outcome, "^volume rm") == ["volume rm project_db-data-17-1"]


@pytest.mark.parametrize("command", [("--back",), ("--confirm",)])
def test_there_is_nothing_to_go_back_to_or_to_delete(command: tuple[str, ...], tmp_path: Path) -> None:
    outcome = do("db-upgrade", tmp_path, command=("scripts/db-upgrade.sh", *command), environment={"yes": "1"})
    assert outcome.code == 1
    assert "error: no volume from before an upgrade is kept" in outcome.printed


def test_nobody_goes_back_without_being_asked(tmp_path: Path) -> None:
    outcome = do("db-upgrade back=1", tmp_path, environment={})
    assert outcome.code == 1
    assert "what was written since the upgrade is not on the volume db-data" in outcome.printed
    assert not calls(outcome, "^compose (stop|kill|up)")


def test_who_waits_for_the_tables_does_not_get_them_when_the_old_server_ends(tmp_path: Path) -> None:
    """Told to stop, it lets one that waits write, which is then on the old volume alone."""
    assert calls(do("db-upgrade", tmp_path / "up"), "^compose (stop|kill)") == ["compose kill db"]
    back = do("db-upgrade back=1", tmp_path / "back")
    assert calls(back, "^compose (stop|kill)") == ["compose stop db"], "nobody keeps writers out"
