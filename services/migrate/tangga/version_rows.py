"""The rows of alembic_version beside each other: one that is below another is too many, and Alembic cannot go on."""

from collections.abc import Iterable
from typing import NamedTuple

from alembic.script import ScriptDirectory

from tangga.exits import DRIFT, Stop
from tangga.remedies import say


class Surplus(NamedTuple):
    """A row that is below another one."""

    revision: str
    above: str

    def __str__(self) -> str:
        return f"{self.revision} is below {self.above}, which says the same and more"


def surplus(scripts: ScriptDirectory, current: Iterable[str]) -> list[Surplus]:
    """Return the rows that are below another; rows without a file here are left out."""
    known = {script.revision for script in scripts.walk_revisions()}
    rows = sorted(known.intersection(current))
    found = []
    for above in rows:
        below = {script.revision for script in scripts.iterate_revisions(above, "base")}
        found += [Surplus(row, above) for row in rows if row in below and row != above]
    return found


def stored_heads(scripts: ScriptDirectory) -> frozenset[str]:
    """Return the heads as a database at all of them holds them: one that another depends on (depends_on) has no row."""
    return frozenset(scripts.revision_map._real_heads)


def refuse_surplus(scripts: ScriptDirectory, current: Iterable[str]) -> None:
    """Raise Stop if a row is below another: a step would start from where the database is not."""
    rows = tuple(current)
    found = surplus(scripts, rows) if len(rows) > 1 else []
    if found:
        raise Stop(what(found), remedy(found), DRIFT)


def what(found: list[Surplus]) -> str:
    """Return what is wrong, in one line."""
    return f"alembic_version has a row too many: {'; '.join(map(str, found))}"


def remedy(found: list[Surplus]) -> str:
    """Return the statement that takes them out."""
    names = ", ".join(f"'{name}'" for name in dict.fromkeys(row.revision for row in found))
    statement = f"DELETE FROM alembic_version WHERE version_num IN ({names})"  # noqa: S608 - to be read
    return f"{say('as-owner')}: {statement}; that runs no step"
