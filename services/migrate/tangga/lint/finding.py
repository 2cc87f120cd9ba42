"""What the linter says: a problem, and the place in a revision where it is."""

import re
from pathlib import Path
from typing import NamedTuple

from alembic.script import Script

from tangga.project import Project


class Problem(NamedTuple):
    """What a rule found; where is known by who asked."""

    rule: str
    why: str
    remedy: str


class Finding(NamedTuple):
    """One thing that is wrong with one place in one revision."""

    revision: str
    file: str
    line: int
    # "up", "down", or "" for the file as a whole.
    direction: str
    rule: str
    why: str
    remedy: str
    # The reason that the revision gives in `lint_ignore`; None if this is not an exception.
    exception: str | None = None


def about_file(project: Project, script: Script, problem: Problem, attribute: str = "revision") -> Finding:
    """Return a finding about a file as a whole, at the line that sets `attribute`."""
    text = Path(script.path).read_text()
    found = re.search(rf"^{attribute}\b", text, re.MULTILINE)
    line = text.count("\n", 0, found.start()) + 1 if found else 1
    return Finding(script.revision, project.file_of(script), line, "", *problem)
