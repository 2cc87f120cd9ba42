"""What the linter says: a problem, and the place in a revision where it is."""

from typing import Any, NamedTuple

from alembic.script import Script

from tangga.project import Project
from tangga.revision.loading import line_of


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
    # The statement, however it is formatted; "" if it is about no statement.
    about: str = ""

    def plain(self) -> dict[str, Any]:
        """Return what a program is told."""
        found = self._asdict()
        del found["about"]
        return found


def about_file(project: Project, script: Script, problem: Problem, attribute: str = "revision") -> Finding:
    """Return a finding about a file as a whole, at the line that sets `attribute`."""
    return Finding(script.revision, project.file_of(script), line_of(script.path, attribute), "", *problem)
