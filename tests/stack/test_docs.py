"""Every command that a page shows is run, in the page's order, on a stack that was just started, and prints what it shows."""

import re
import shlex
import time
from pathlib import Path

import pytest

from tests.migrations.staircase import HEAD
from tests.stack.conftest import REPOSITORY, Stack
from tests.support.pages import difference, differs, outputs

PAGES = [
    "README.md",
    "docs/operators.md",
    "docs/secrets.md",
    "docs/backups.md",
    "docs/authors.md",
    "docs/panduan-migrasi.md",
    "docs/history-and-graph.md",
    "docs/proof.md",
]
# Shown by the README, and run by other tests or by whoever runs this one: tests inside tests would never end.
ELSEWHERE = {"make test", "make lint"}


def bring_up(stack: Stack) -> None:
    """Nothing to do if the page before has left it as a reader would: serving."""
    if stack.run("curl", "-fs", f"{stack.url}/readyz").returncode != 0:
        stack.make("up")


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_works(stack: Stack, page: str) -> None:
    shown = [(command, output) for command, output in outputs(REPOSITORY / page) if command not in ELSEWHERE]
    assert shown, f"{page} shows no command"
    before = stack.steps()
    bring_up(stack)
    different = []
    for command, output in shown:
        began = time.monotonic()
        result = stack.run("bash", "-euo", "pipefail", "-c", command)
        print(f"{time.monotonic() - began:6.1f} s  {command}")
        assert result.returncode == 0, f"{page}: {command}\n{result.stdout}"
        printed = result.stdout.replace(stack.name, "tangga").replace(str(stack.port), "8000")
        if found := difference(output, printed):
            different.append(f"{page}: {command}\n{found}")
    assert not different, "\n".join(different)
    bring_up(stack)
    assert stack.revision() == HEAD, f"{page} does not end where it began"
    assert stack.steps() == before, f"{page} leaves files behind"


def test_the_readme_shows_the_help_as_it_is(stack: Stack) -> None:
    assert not differs("README.md", "The stack", stack.make("help"))


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")]
    dead = [
        f"{page.relative_to(REPOSITORY)}: {link}"
        for page in pages
        for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text())
        if not (page.parent / link).exists()
    ]
    assert dead == []


def test_commands_in_pages_name_real_targets(stack: Stack) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (stack.folder / "Makefile").read_text(), re.M)) | {
        "test-unit",
        "test-api",
        "test-migrations",
    }
    for page in PAGES:
        for code in re.findall(r"`(make [^`\n]+)`", Path(REPOSITORY / page).read_text()):
            target = next(
                (word for word in shlex.split(code.split("#")[0], posix=False)[1:] if "=" not in word), "help"
            )
            assert target in targets, f"{page}: {code}"
