"""A new revision file: looked at before it is written."""

from alembic.operations import MigrationScript
from alembic.runtime.migration import MigrationContext
from alembic.util import msg

from tangga import compared
from tangga.exits import BEHIND, Stop
from tangga.journal.history import applied_below
from tangga.remedies import say


def check_revision(
    context: MigrationContext, at: tuple[str, ...] | str | None, directives: list[MigrationScript]
) -> None:
    """Alembic's process_revision_directives hook: look before a file is written.

    A new step stands on steps that have run: raises Stop while the database is behind. An autogenerate that found
    nothing writes no file, and says so.
    """
    assert context.config is not None
    assert context.script is not None
    if context.connection is not None:
        current = (at,) if isinstance(at, str) else at or ()
        below = applied_below(context.script, current)
        wanted = {
            script.revision for each in directives for script in context.script.get_revisions(each.head or "head")
        }
        if missing := sorted(wanted - below):
            raise Stop(
                f"the database is behind: it is at {', '.join(current) or 'nothing yet (base)'}, "
                f"and the new step would stand on {', '.join(missing)}",
                f"{say('migrate')}, then {say('revision')} again",
                BEHIND,
            )
    if not getattr(context.config.cmd_opts, "autogenerate", False):
        return
    if all(directive.upgrade_ops is None or directive.upgrade_ops.is_empty() for directive in directives):
        directives.clear()
        msg("Alembic finds no difference between models and database, so no file was written.")
        msg(f"It does not compare {compared.NOT_BY_ALEMBIC}: {say('check')} does, then write the step by hand.")
