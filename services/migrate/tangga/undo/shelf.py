"""The saves that are there, and which of them can be put back now."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from tangga.exits import ALEMBIC_REFUSES, BEHIND, Stop
from tangga.journal.tables import place
from tangga.project import applied
from tangga.remedies import say
from tangga.undo.saves import KINDS, Kept

# The save was made while the step ran; the log has its beginning to the millisecond.
_RUNS_DOWN = """
    SELECT revision, started_at - interval '1 second' AS since,
           started_at + seconds * interval '1 second' + interval '1 second' AS until
    FROM {log} WHERE direction = 'down' AND outcome = 'done'
"""
_NEVER_HAPPENED = "the step down was not finished"
_WAITS = "waits until its step is applied again"


class Shelf:
    """The saves that are there, and which of them can be put back now."""

    def __init__(self, kept: Sequence[Kept], connection: Connection, scripts: ScriptDirectory) -> None:
        self._kept = kept
        heads = applied(connection)
        steps = scripts.iterate_revisions(heads, "base") if heads else ()
        # The oldest first, as they were applied.
        self._applied = [script.revision for script in steps][::-1]
        log = place(connection)
        self._runs = connection.execute(text(_RUNS_DOWN.format(log=log))).all() if log else []

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
