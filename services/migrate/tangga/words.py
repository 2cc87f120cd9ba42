"""Texts for people: columns, moments, durations, sizes, counts."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path


def print_lines(*lines: str) -> None:
    """Print lines without trailing blanks."""
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in lines)


def aligned(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Return rows as lines, each column as wide as its widest value; the columns `right` (from 0) end together."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            value.rjust(width) if number in right else value.ljust(width)
            for number, (value, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def when(moment: datetime) -> str:
    """Return a moment as people read it: in UTC, to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def duration(seconds: float) -> str:
    """Return a duration with the unit that suits it."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def file_name(path: str | Path) -> str:
    """Return a step's file as its project knows it: migrations/versions/file.py."""
    return "/".join(Path(path).parts[-3:])


def folder_name(path: str | Path) -> str:
    """Return the folder of the steps as its project knows it: migrations/versions."""
    return "/".join(Path(path).parts[-2:])


def count(number: int, what: str) -> str:
    """Return a number with its noun: 1 row, 2,000 rows."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
