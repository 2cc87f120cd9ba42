"""The pages, their fenced blocks, and whether what a block shows is what is printed now."""

import difflib
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).parents[2]
PAGES = [*PROJECT.glob("*.md"), *sorted(PROJECT.glob("docs/**/*.md"))]
# Ids of steps are words; other ids are made anew each time.
_STEPS = "|".join(path.name.split("_")[2] for path in PROJECT.glob("migrations/versions/*.py"))
_FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
# What a command was, what make says of its failure, and what is shown only while something takes long.
_BESIDE = re.compile(r"\$ |make(\[\d\])?: |  … .* \(\d+ s\)$|WARNING: | (Container|Network|Volume) \S+  \w+$")
# The end of something that took long, which of some commands (STEP_QUIET) is shown only then.
_TOOK_LONG = re.compile(r"  ✓ (.*?) +(?:[2-9]|\d{2,})\.\d s$")
# What an id, a moment or a number is; the id of a step stays.
_NUMBERS = re.compile(
    rf"(?<![0-9a-z])(?:({_STEPS})|(?=[a-f]*\d)[0-9a-f]{{8,}})(?![0-9a-z])"
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+\d\d)?"
    r"|\d+(?:[.,:]\d+)*"
)
_BEFORE = [
    (r"\x1b\[[0-9;]*[A-Za-z]", ""),
    (r"localhost/tangga/(\w+)-stand-in:", r"\1:"),
    (r"Less than a|About an?", "1"),
]
_AFTERWARDS = [
    (r"\b0 ?(ms|us|s|min|h|days?|bytes|[kKMG]i?B|(second|minute|hour)s?)\b", "0 s"),
    (r"\b0 s( 0 s)+", "0 s"),
    (r"─+|--+", "-"),
    (r"\s+", " "),
]


class Block(NamedTuple):
    """A fenced block of a page: what it is in, and its text, without the indentation of a list."""

    page: str
    language: str
    text: str


def blocks(page: Path, *languages: str) -> Iterator[Block]:
    """Yield the blocks of a page that are in one of these languages."""
    for _, language, text in _FENCED.findall(page.read_text()):
        if language in languages:
            yield Block(str(page.relative_to(PROJECT)), language, textwrap.dedent(text))


def differs(page: str, first_line: str, printed: str) -> str:
    """Return the difference between a `text` block, named by the beginning of its first line, and what is printed."""
    [shown] = [block.text for block in blocks(PROJECT / page, "text") if block.text.startswith(first_line)]
    return difference(shown, printed)


def difference(shown: str, printed: str) -> str:
    """Return what of a page is not what is printed, as a diff; nothing if only numbers, times and ids differ.

    A line of three dots stands for any lines, three dots within a line for any words.
    """
    ours, theirs = _shape(shown), _shape(_as_if_quick(printed, shown))
    pattern = "".join("(.*\n)*?" if line == "..." else _any_words(line) + "\n" for line in ours)
    if re.fullmatch(pattern, "".join(f"{line}\n" for line in theirs)):
        return ""
    return "\n".join(difflib.unified_diff(ours, theirs, "on the page", "printed now", lineterm=""))


def outputs(page: Path) -> Iterator[tuple[str, str]]:
    """Yield each command of a page's console blocks, and what it prints there; a backslash continues a line."""
    for block in blocks(page, "console"):
        for command, output in re.findall(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", block.text, re.MULTILINE):
            yield command.replace("\\\n", ""), output


def _as_if_quick(printed: str, shown: str) -> str:
    """Return what is printed without the end of what took long, unless the page shows it."""
    long = ((line, _TOOK_LONG.match(line)) for line in printed.splitlines())
    return "\n".join(line for line, found in long if not found or f"  ✓ {found[1]} " in shown)


def _any_words(line: str) -> str:
    return ".*".join(map(re.escape, re.split(r" ?\.\.\.", line)))


def _shape(text: str) -> list[str]:
    return [_without_numbers(line) for line in text.splitlines() if line.strip() and not _BESIDE.match(line)]


def _without_numbers(line: str) -> str:
    for pattern, same in _BEFORE:
        line = re.sub(pattern, same, line)
    line = _NUMBERS.sub(lambda found: found[1] or "0", line)
    for pattern, same in _AFTERWARDS:
        line = re.sub(pattern, same, line)
    return line.rstrip()
