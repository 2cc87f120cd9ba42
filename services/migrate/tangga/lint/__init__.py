"""Find the steps that would hurt: each revision's SQL, both directions, by squawk and by rules of our own.

pglast and squawk are needed only to lint (the extra `lint`), so what imports them is loaded only then.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from tangga.exits import STEP_FAILED, Stop
from tangga.lint.finding import Finding
from tangga.project import Project
from tangga.remedies import say

__all__ = ["Finding", "findings", "needing_the_parser"]


def findings(project: Project, revisions: Collection[str] | None = None) -> list[Finding]:
    """Return what is wrong with the revisions (all, or those named), exceptions included, in the order of the steps.

    Needs no database. A revision that cannot be rendered is a finding too. Raises Stop if pglast or squawk is missing.
    """
    with needing_the_parser():
        from tangga.lint.checks import findings as find

    return find(project, revisions)


@contextmanager
def needing_the_parser() -> Iterator[None]:
    """Say what to install if the body's imports need pglast, and it is not there; raises Stop."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "pglast":
            raise
        raise Stop("pglast is not installed here", say("no-squawk"), STEP_FAILED) from None
