"""Find the steps that would hurt: each revision's SQL, both directions, by squawk and by rules of our own."""

from collections.abc import Collection
from typing import NamedTuple

from tangga.project import Project


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


def findings(project: Project, revisions: Collection[str] | None = None) -> list[Finding]:
    """Return what is wrong with the revisions (all, or those named), exceptions included, in the order of the steps.

    Needs no database. Raises nothing for a revision that cannot be rendered: that is a finding too.
    """
    # It needs pglast and squawk, which the runtime image does not have.
    from tangga.lint.checks import findings as find

    return find(project, revisions)
