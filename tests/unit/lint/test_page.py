"""docs/unsafe-operations.md is what the linter says of its rules' examples now."""

from pathlib import Path

import pytest

from tangga import cli
from tangga.lint.rules import RULES

PROJECT = Path(__file__).parents[3]


def test_the_page_is_what_the_linter_says(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["-c", str(PROJECT / "alembic.ini"), "lint", "--page"])
    page = capsys.readouterr().out
    again = "make it anew: docker compose run --rm -T tools alembic lint --page > docs/unsafe-operations.md"
    assert (PROJECT / "docs/unsafe-operations.md").read_text() == page, again
    for rule in RULES.values():
        assert f"**{rule.name}**" in page or not (rule.remedy or rule.examples), rule.name
