"""What steps down would lose: found by running them in one transaction, all of which is taken back."""

from dataclasses import dataclass, field

from alembic.operations import Operations
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tangga import connect
from tangga.guard.blockers import Retries, gave_way
from tangga.guard.lock import migration_lock
from tangga.guard.steps import TIMEOUTS, Steps, timeouts
from tangga.project import Project, version_options
from tangga.undo.down import Unforeseen, down
from tangga.undo.saves import Item
from tangga.version_rows import refuse_surplus


@dataclass
class Losing:
    """What one step loses; `unforeseen`: why that cannot be found out."""

    revision: str
    message: str
    items: list[Item] = field(default_factory=list)
    unforeseen: str | None = None


def preview(project: Project, target: str) -> list[Losing]:
    """Return what each step down to `target` would lose, the first to run first; nothing in the database changes.

    The steps run for real, in one transaction that is rolled back, so their locks are held for as long as that takes.
    """
    steps, retries = Steps(project.settings), Retries(project.settings.lock_retry_for)
    engine = connect.engine(project.settings.url, "losses")
    with engine.connect() as connection:
        version = version_options(connection)
    with (
        migration_lock(engine, project.settings, wanted=True),
        EnvironmentContext(project.config, project.scripts) as environment,
    ):
        while True:
            try:
                with engine.connect() as trying, steps.watched(trying), steps.followed(trying):
                    environment.configure(connection=trying, steps=steps, **version)
                    return _tried(project, steps, environment.get_context(), target)
            except DBAPIError as error:
                if steps.current is None or not gave_way(error):
                    raise
                step = steps.current.revision
                retries.pause(f"step {step.revision} ({step.doc}) was rolled back", steps.blockers())


def _tried(project: Project, steps: Steps, ctx: MigrationContext, target: str) -> list[Losing]:
    found: list[Losing] = []
    current = ctx.get_current_heads()
    refuse_surplus(project.scripts, current)
    left = [*project.scripts._downgrade_revs(target, current)]  # type: ignore[arg-type]
    with Operations.context(ctx):
        for step in left:
            assert isinstance(step, RevisionStep)
            if found and found[-1].unforeseen:
                # It starts from a state that nobody knows.
                why = "the step above it cannot be foreseen"
                found.append(Losing(step.revision.revision, step.revision.doc, unforeseen=why))
            else:
                found.append(_losing(steps, ctx, step, last=step is left[-1]))
    assert ctx.connection is not None
    ctx.connection.rollback()
    steps.current = None
    return found


def _losing(steps: Steps, ctx: MigrationContext, step: RevisionStep, *, last: bool) -> Losing:
    """Run one step down without saving anything, as Steps would run it."""
    steps.current = step
    usual = timeouts(steps.settings)
    steps.in_force = {name: getattr(step.revision.module, name, usual[name]) for name in TIMEOUTS}
    for name, value in steps.in_force.items():
        ctx.impl.execute(text(f"SET LOCAL {name} = '{value}'"))

    def run() -> None:
        steps.backfills = set()
        step.migration_fn()

    losing = Losing(step.revision.revision, step.revision.doc)
    try:
        with steps.in_step(ctx, step.revision):
            losing.items = down(ctx, step.revision, run, None, last=last)
    except Unforeseen as error:
        losing.unforeseen = str(error)
    return losing
