"""Put back what steps down had saved, once their upgrade has run again."""

import argparse
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from tangga import connect
from tangga.exits import ALEMBIC_REFUSES, BEHIND, STEP_FAILED, Stop
from tangga.guard import log
from tangga.guard.lock import migration_lock
from tangga.guard.steps import timeouts
from tangga.project import Project, applied
from tangga.remedies import say
from tangga.undo.putting_back import Outcome, put_back
from tangga.undo.saving import KINDS, Damaged, Kept, saves
from tangga.words import aligned, print_lines

HELP = "put back what steps down had saved"

# The save was made while the step ran; the log has its beginning to the millisecond.
_RUNS_DOWN = text("""
    SELECT revision, started_at - interval '1 second' AS since,
           started_at + seconds * interval '1 second' + interval '1 second' AS until
    FROM migration_log WHERE direction = 'down' AND outcome = 'done'
""")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "save", nargs="?", default="newest", help="a folder's name, or newest: all that can be put back (default)"
    )
    parser.add_argument("--list", action="store_true", help="say what is there, and put nothing back")


def run(project: Project) -> None:
    """Put back one save, or all that belong to revisions that are applied now; or list what is there."""
    options = project.config.cmd_opts
    assert options is not None
    log.to_stderr()
    settings = project.settings
    engine = connect.engine(settings.url, "restore", session=timeouts(settings))
    try:
        kept = saves(settings.save_dir)
        with (
            migration_lock(engine, settings, wanted=not options.list),
            engine.begin() as connection,
        ):
            shelf = Shelf(kept, connection, project.scripts)
            if options.list:
                print_lines(*shelf.listed() or [f"{settings.save_dir} holds no save"])
                return
            chosen = shelf.newest() if options.save == "newest" else [shelf.named(options.save)]
            if not chosen:
                print_lines(*shelf.why_nothing(settings.save_dir))
                return
            for each in chosen:
                each.verify()
            outcomes = put_back(connection, chosen)
    except Damaged as error:
        raise Stop(str(error), "bring back a good copy of that folder, if there is one", STEP_FAILED) from error
    for each in chosen:
        each.note_restored()
    print_lines(*_table(outcomes))


class Shelf:
    """The saves that are there, and which of them can be put back now."""

    def __init__(self, kept: Sequence[Kept], connection: Connection, scripts: ScriptDirectory) -> None:
        self._kept = kept
        heads = applied(connection)
        steps = scripts.iterate_revisions(heads, "base") if heads else ()
        # The oldest first, as they were applied.
        self._applied = [script.revision for script in steps][::-1]
        logged = connection.scalar(text("SELECT to_regclass('migration_log')")) is not None
        self._runs = connection.execute(_RUNS_DOWN).all() if logged else []

    def newest(self) -> list[Kept]:
        """Return the newest save of each revision that is applied and not restored yet, in the order of the upgrade."""
        newest = {each.save.revision: each for each in self._kept if self._state(each) != _NEVER_HAPPENED}
        ready = [newest[revision] for revision in self._applied if revision in newest]
        return [each for each in ready if each.restored is None]

    def named(self, name: str) -> Kept:
        """Return one save; raises Stop if it is not there, or its revision is not applied."""
        found = next((each for each in self._kept if each.path.name == name), None)
        if found is None:
            raise Stop(f"there is no save called {name}", "alembic restore-data --list names them", ALEMBIC_REFUSES)
        if found.save.revision not in self._applied:
            raise Stop(
                f"{name} is of step {found.save.revision} ({found.save.message}), which is not applied now",
                f"{say('migrate')} first",
                BEHIND,
            )
        return found

    def why_nothing(self, directory: Path) -> list[str]:
        """Say why there is nothing to put back; raises Stop if an upgrade would change that."""
        waiting = [each for each in self._kept if self._state(each) == _WAITS]
        if waiting:
            raise Stop(
                f"nothing can be put back: step {waiting[-1].save.revision} ({waiting[-1].save.message}), "
                "of which the newest save is, is not applied now",
                f"{say('migrate')} first",
                BEHIND,
            )
        restored = [each for each in self._kept if each.restored]
        if restored:
            name, when = restored[-1].path.name, restored[-1].restored
            return [f"nothing left to put back: {name} was already restored on {when}; name it to do it again"]
        return [f"nothing to put back: {directory} holds no save of a step of this database"]

    def listed(self) -> list[str]:
        """Return a line per save and per item, the oldest first."""
        lines = []
        for each in self._kept:
            lines.append(f"{each.path.name}  {each.save.message}  ({self._state(each)})")
            lines += [f"    {item}: {item.rows:,} rows, {KINDS[item.kind]}" for item in each.save.items]
        return lines

    def _state(self, kept: Kept) -> str:
        if kept.restored:
            return f"restored on {kept.restored}"
        if not self._happened(kept):
            return _NEVER_HAPPENED
        return "can be put back" if kept.save.revision in self._applied else _WAITS

    def _happened(self, kept: Kept) -> bool:
        """A step that was killed between its save and its commit left a whole folder, and lost nothing."""
        moment = datetime.fromisoformat(kept.save.time)
        return any(run.revision == kept.save.revision and run.since <= moment <= run.until for run in self._runs)


_NEVER_HAPPENED = "the step down was not finished"
_WAITS = "waits until its step is applied again"


def _table(outcomes: list[Outcome]) -> list[str]:
    rows = [("what", "kind", "saved", "put back", "")]
    rows += [
        (str(each.item), KINDS[each.item.kind], f"{each.item.rows:,}", f"{each.restored:,}", "; ".join(each.notes))
        for each in outcomes
    ]
    return aligned(rows, right=(2, 3))
