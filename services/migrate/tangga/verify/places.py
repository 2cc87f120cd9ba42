"""Scratch databases on which steps run, up and down and as printed SQL; the time that they take is counted."""

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from alembic.script import Script
from sqlalchemy import Connection, Engine, event

from tangga.catalogue import dump
from tangga.catalogue.identity import Identity, identity
from tangga.catalogue.ours import speaks_of_them
from tangga.catalogue.sql import execute
from tangga.causes import one_line
from tangga.project import Project, applied, version_table
from tangga.scratch.server import Scratch

# Of the schemas that were dumped last, so many: before a step, after it, and one more.
_KEPT = 3
# One statement that writes to rows that are there. Of many comments before it, none is read in two ways.
_WRITES = re.compile(r"(?>\s+|--[^\n]*\n|/\*.*?\*/)*+(?:UPDATE|DELETE)\b[^;]*;?\s*\Z", re.IGNORECASE | re.DOTALL)


class Place(NamedTuple):
    """A scratch database, with a connection for the steps; one that sees all rows, and one that inserts some."""

    engine: Engine
    connection: Connection
    observer: Connection
    filler: Connection


class Heard:
    """What a step executes, by SQLAlchemy."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        # Each UPDATE and DELETE -> how many rows it met.
        self._met: dict[str, int] = {}

    def met_nothing(self) -> list[str]:
        """Return each UPDATE and DELETE, on one line, that met no row however often it ran."""
        return [" ".join(statement.split()) for statement, rows in self._met.items() if not rows]

    @contextmanager
    def on(self, connection: Connection) -> Iterator[None]:
        """Hear what the body executes on a connection."""

        def hear(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            self.statements.append(statement)

        def count(_connection: object, cursor: Any, statement: str, *_: object) -> None:
            if _WRITES.match(statement) and not speaks_of_them(statement):
                # Some drivers do not count the rows of many sets of parameters (-1).
                self._met[statement] = self._met.get(statement, 0) + abs(cursor.rowcount)

        event.listen(connection, "before_cursor_execute", hear)
        event.listen(connection, "after_cursor_execute", count)
        try:
            yield
        finally:
            event.remove(connection, "before_cursor_execute", hear)
            event.remove(connection, "after_cursor_execute", count)


class NotPrintable(Exception):
    """A step cannot be printed as SQL."""


class Places:
    """Makes scratch databases, and runs steps on them; what is kept for further ones ends with the context.

    `in_steps`: the seconds that went into the steps themselves.
    """

    def __init__(self, project: Project) -> None:
        self.in_steps = 0.0
        # What the last step has executed.
        self.heard = Heard()
        self._project = project
        self._scratch = Scratch(project)
        self._kept = ExitStack()
        # A database that goes up without rows, as far as one was asked for, to be copied; and how many steps it is up.
        self._model: Engine | None = None
        self._height = 0
        self._dumped: dict[Identity, dict[str, str]] = {}

    def __enter__(self) -> "Places":
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.close()

    @contextmanager
    def after(self, steps: list[Script]) -> Iterator[Place]:
        """Make a scratch database that has gone straight up these steps: always the first ones, more each time."""
        if steps and not self._model:
            self._model = self._kept.enter_context(self._scratch.database())
        like, left = None, steps
        if self._model and self._height <= len(steps):
            self._raise(self._model, steps)
            like, left = self._model, []
        with self._scratch.database(like) as engine, self._place(engine) as place:
            if not like:
                self._begin(place.connection)
            for step in left:
                self.run(place.connection, step)
            yield place

    def _begin(self, connection: Connection) -> None:
        self._project.begin(connection)
        connection.commit()

    def _raise(self, model: Engine, steps: list[Script]) -> None:
        with model.connect() as connection:
            if not self._height:
                self._begin(connection)
            for step in steps[self._height :]:
                self.run(connection, step)
                self._height += 1

    @contextmanager
    def _place(self, engine: Engine) -> Iterator[Place]:
        seeing = self._scratch.seeing_all(engine)
        observing = seeing.execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection, observing.connect() as observer, seeing.connect() as filler:
            yield Place(engine, connection, observer, filler)

    def run(self, connection: Connection, step: Script, *, down: bool = False) -> float:
        """Run a step, up or down, and return how many seconds it took; raises what the step raises."""
        start = time.monotonic()
        self.heard = Heard()
        try:
            with self.heard.on(connection):
                self._project.step(connection, step, down=down)
            return time.monotonic() - start
        finally:
            # After a failure there is a transaction to be ended.
            connection.rollback()
            self.in_steps += time.monotonic() - start

    def run_printed(self, place: Place, step: Script) -> str | None:
        """Run what --sql prints of a step, and return the error if it fails.

        Raises NotPrintable if it cannot be printed; nothing has run then.
        """
        import pglast  # the container that serves does without it

        try:
            printed = self._project.sql_of(step, applied(place.observer))
        except Exception as error:
            raise NotPrintable(one_line(error)) from error
        if not applied(place.observer) and (made := version_table(place.observer)):
            execute(place.observer, f"DROP TABLE {made}")  # what is printed of a first step makes it
        start = time.monotonic()
        try:
            with place.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
                for statement in pglast.split(printed):
                    execute(connection, statement)
        except Exception as error:
            return one_line(error)
        finally:
            self.in_steps += time.monotonic() - start
        return None

    def dump(self, place: Place) -> list[str]:
        """Return pg_dump's schema, as lines."""
        return self._scratch.dump(place.engine)

    def objects(self, place: Place) -> dict[str, str]:
        """Return the schema as named objects; where the catalogue is as it was, by the dump that was made then."""
        now = identity(place.observer)
        if now not in self._dumped:
            self._dumped[now] = dump.objects(self.dump(place))
            if len(self._dumped) > _KEPT:
                del self._dumped[next(iter(self._dumped))]
        return self._dumped[now]
