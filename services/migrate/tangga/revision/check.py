"""A new revision file: looked at before it is written."""

from alembic.operations import MigrationScript
from alembic.runtime.migration import MigrationContext

from tangga.exits import BEHIND, Stop
from tangga.journal.history import applied_below
from tangga.project import environment
from tangga.remedies import say


def check_revision(
    context: MigrationContext, at: tuple[str, ...] | str | None, directives: list[MigrationScript]
) -> None:
    """Alembic's process_revision_directives hook: look before a file is written.

    A new step stands on steps that have run: raises Stop while the database is behind. What autogenerate (and `check`)
    has found is completed by what only the scratch server shows; if nothing is found, no file is written.
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
    if _is_automatic() and context.connection is not None:
        from tangga.revision.automatic import complete  # only now: an upgrade does not pay for it

        complete(context, directives)


def _is_automatic() -> bool:
    """Tell whether the models are compared: `revision --autogenerate`, or `check`."""
    running = environment()
    revision = running.context_opts.get("revision_context") if running else None
    return bool(revision is not None and revision.command_args.get("autogenerate"))
