"""Which steps are folded: one straight line from the first one, which has run here."""

from alembic.script import Script
from sqlalchemy import Connection

from tangga.drift.position import position
from tangga.exits import ALEMBIC_REFUSES, BEHIND, Stop
from tangga.project import Project
from tangga.remedies import say


def fold(project: Project, to: str) -> list[Script]:
    """Return the steps from the first up to `to`; raises Stop if they are not one straight line of at least two."""
    target = project.scripts.get_revision(to)
    if target is None:
        raise Stop("base is no step", f"{say('history')} lists the steps", ALEMBIC_REFUSES)
    folded = [*project.scripts.iterate_revisions(target.revision, "base")][::-1]
    for below, step in zip([None, *folded], folded, strict=False):
        straight = step.down_revision == (below.revision if below else None) and not step.dependencies
        if not straight or (below and below.nextrev != {step.revision}):
            raise Stop(
                f"the steps up to {target.revision} are not one straight line: see {step.revision} ({step.doc})",
                f"squash up to a step below the fork, or above the merge once no branch ends there: {say('graph')}",
                ALEMBIC_REFUSES,
            )
    if len(folded) < 2:
        raise Stop(f"{target.revision} is the first step: there is nothing to fold", say("history"), ALEMBIC_REFUSES)
    return folded


def require_past(project: Project, connection: Connection, to: Script) -> None:
    """Raise Stop if the database is below a step: it still needs what would be folded."""
    at = position(project, connection)
    above = {step.revision for step in project.scripts.iterate_revisions(at, "base")} if at else {to.revision}
    if to.revision not in above:
        raise Stop(
            f"the database is at {', '.join(at)}, below {to.revision}: it still needs the steps that would be folded",
            f"{say('migrate')} first, here and on every other database",
            BEHIND,
        )
