"""What pages show is compared with what is printed; commands, settings and lines have their form."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.pages import PAGES, PROJECT, Block, blocks, difference, outputs

# Page, beginning of the block -> why it is not compared with what is printed.
NOT_PRINTED = {
    ("docs/architecture.md", "scripts, compose.yaml"): "what stands where",
    ("docs/architecture.md", "cli.py "): "the tree of files; made by tests/architecture.py, whose own test compares",
    ("docs/production.md", "HTTP/2: "): "the counts of one run in November 2026, in the order of that run",
}
# Records of what was measured then, which is not what is printed now.
RECORDS = "docs/decisions/"
_COMPARED = re.compile(r'\bdiffers\(\s*"([^"]+)",\s*("(?:\\.|[^"\\])*")')


def _compared() -> set[tuple[str, str]]:
    """Return the blocks that tests compare."""
    tests = "".join(test.read_text() for test in sorted((PROJECT / "tests").rglob("test_*.py")))
    return {(page, ast.literal_eval(start)) for page, start in _COMPARED.findall(tests)}


def _names(name: tuple[str, str], block: Block) -> bool:
    return block.page == name[0] and block.text.startswith(name[1])


def test_every_output_on_a_page_is_compared_or_has_a_reason_not_to_be() -> None:
    named = [*_compared(), *NOT_PRINTED]
    assert len(named) == len(set(named))
    shown = [block for page in PAGES for block in blocks(page, "text") if not block.page.startswith(RECORDS)]
    of = {
        block: [each for each in named if block.page == each[0] and block.text.startswith(each[1])] for block in shown
    }
    assert {block: found for block, found in of.items() if len(found) != 1} == {}
    assert sorted(each for found in of.values() for each in found) == sorted(named), "one names no block"


SHOWN = """$ make migrate
  … migrate (2 s)
  ✓ migrate                                1.3 s
migrate: Running upgrade a84f6d1be027 -> 3b7d90c5e2a6, v10 index untuk pencarian nama
...
saved 100,000 rows in /saved/20261122T232856.231199Z_c1f0c6f0a5d2 ...
make: *** [Makefile:25: up] Error 1
"""
PRINTED = """  ✓ migrate     12 ms
migrate: Running upgrade a84f6d1be027 -> 3b7d90c5e2a6, v10 index untuk pencarian nama

migrate: something else
migrate: and more
saved 7 rows in /saved/20270101T000000.000001Z_c1f0c6f0a5d2, at last
"""


def test_numbers_times_and_ids_may_differ() -> None:
    assert difference(SHOWN, PRINTED) == ""


@pytest.mark.parametrize("seconds", ["2.0", "31.4"])
def test_on_a_slow_machine_the_end_of_what_took_long_is_shown_besides(seconds: str) -> None:
    long = f"  … build (2 s)\n  ✓ build                                  {seconds} s\n"
    assert difference(SHOWN, long + PRINTED) == ""
    assert difference(f"  ✓ build          0.8 s\n{SHOWN}", long + PRINTED) == ""
    # Quick, it is not shown; and what is shown however quick must be on the page.
    assert difference(SHOWN, long.replace(seconds, "1.9") + PRINTED) != ""
    assert difference(f"  ✓ build          0.8 s\n{SHOWN}", PRINTED) != ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("✓", "✗"),
        ("Running", "Running the"),
        ("v10 index untuk pencarian nama\n", ""),
        ("3b7d90c5e2a6", "c1f0c6f0a5d2"),  # the id of a step is no number
        ("  ✓", "planted\n  ✓"),
        ("saved 100,000 rows in", "saved 100,000 lines in"),
    ],
)
def test_a_word_or_a_line_that_is_not_printed_is_seen(old: str, new: str) -> None:
    assert SHOWN.count(old) == 1
    assert difference(SHOWN.replace(old, new), PRINTED) != ""
    assert difference(SHOWN, PRINTED + "one more\n") != ""


def test_commands_and_what_they_print_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.pages.PROJECT", tmp_path)
    (tmp_path / "page.md").write_text(
        "a\n\n  ```console\n  $ a \\\n    b\n  c\n\n  d\n  $ e\n  ```\n\n```sh\n$ f\n```\n"
    )
    assert [*outputs(tmp_path / "page.md")] == [("a   b", "c\n\nd\n"), ("e", "")]


def test_commands_that_cannot_be_run_are_shell_all_the_same() -> None:
    for page in PAGES:
        for block in blocks(page, "sh"):
            read = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
            assert read.returncode == 0, (block, read.stderr)


def test_settings_on_pages_are_in_the_manual() -> None:
    manual = set(re.findall(r"^#?([A-Z_]+)=", (PROJECT / ".env.example").read_text(), re.M))
    for page in PAGES:
        for block in blocks(page, "ini"):
            assert {line.partition("=")[0] for line in block.text.splitlines()} <= manual, block


def _prose(page: Path) -> list[str]:
    """Return the lines of a page that can be wrapped: no table, heading, fenced block, picture or HTML."""
    text = re.sub(r"^( *)```.*?^\1```$", lambda found: "\n" * found[0].count("\n"), page.read_text(), flags=re.M | re.S)
    return [line for line in text.splitlines() if not re.match(r"\s*([|#<]|!\[)", line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_prose_stays_within_120_columns(page: Path) -> None:
    assert [line for line in _prose(page) if len(line) > 120] == []
