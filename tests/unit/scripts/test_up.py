"""What the words of a database that did not start mean. What make up does of it: test_up_says_why.py."""

import pytest

from tests.unit.scripts.shell import call

DECISIONS = "lib/ui.sh up/decisions.sh"


@pytest.mark.parametrize(
    ("log", "versions"),
    [
        (
            "FATAL:  database files are incompatible with server\nDETAIL:  The data directory was initialized by "
            "PostgreSQL version 15, which is not compatible with this version 17.7 (Debian 17.7-1).\n",
            "15 17\n",
        ),
        ("LOG:  database system is ready to accept connections\n", ""),
    ],
)
def test_a_volume_of_another_version(log: str, versions: str) -> None:
    assert call(DECISIONS, "versions_in_log", stdin=log) == versions


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        ("error: the volume is damaged\n   do: bring it back\n", "the volume is damaged\n"),
        ("psql:/etc/tangga/roles.sql:12: ERROR:  no such role\nLOG:  x\n", "roles.sql:12: no such role\n"),
        ("psql: error: connection failed: FATAL:  no\n", "connection failed: FATAL:  no\n"),
        ("psql:roles.sql:1: NOTICE:  well\nLOG:  error: of somebody else\n", ""),
    ],
)
def test_the_cause_in_the_log_of_the_database(log: str, cause: str) -> None:
    assert call(DECISIONS, "cause_in_log", stdin=log) == cause


@pytest.mark.parametrize(
    ("cause", "own", "remedy"),
    [
        ('roles.sql:3: extension "vector" is not available', "", "correct EXTENSIONS in .env"),
        ('database "x" does not exist', "", "DB_NAME in .env"),
        ("damaged", "bring it back", "bring it back"),
        ("damaged", "", "see make logs s=db"),
    ],
)
def test_what_is_to_be_done(cause: str, own: str, remedy: str) -> None:
    assert call(DECISIONS, "remedy_of_database", cause, own).startswith(remedy)
