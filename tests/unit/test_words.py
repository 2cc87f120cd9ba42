"""Texts for people: columns, moments, durations, paths."""

from datetime import datetime, timedelta, timezone

import pytest

from tangga.words import aligned, count, duration, file_name, folder_name, print_lines, when


def test_columns_are_as_wide_as_their_widest_value_and_end_without_blanks() -> None:
    rows = [("name", "rows", ""), ("posts", "12", "there"), ("a", "1,000", "")]
    assert aligned(rows) == ["name   rows", "posts  12     there", "a      1,000"]
    assert aligned(rows, right=(1,)) == ["name    rows", "posts     12  there", "a      1,000"]


def test_no_rows_are_no_lines() -> None:
    assert aligned([]) == []


def test_lines_are_printed_without_trailing_blanks(capsys: pytest.CaptureFixture[str]) -> None:
    print_lines("one  ", "", "two")
    assert capsys.readouterr().out == "one\n\ntwo\n"


def test_a_moment_is_told_in_utc_to_the_second() -> None:
    moment = datetime(2026, 11, 22, 17, 30, 59, 999999, tzinfo=timezone(timedelta(hours=7)))
    assert when(moment) == "2026-11-22 10:30:59"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0004, "0 ms"),
        (0.9994, "999 ms"),
        (1, "1.0 s"),
        (59.94, "59.9 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (90061, "25 h 1 min"),
    ],
)
def test_a_duration_has_the_unit_that_suits_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 rows"), (1, "1 row"), (2000, "2,000 rows")])
def test_a_number_has_its_noun(number: int, text: str) -> None:
    assert count(number, "row") == text


def test_a_file_is_named_from_the_folder_of_the_project() -> None:
    assert file_name("/app/migrations/versions/v1.py") == "migrations/versions/v1.py"
    assert folder_name("/app/migrations/versions") == "migrations/versions"
