"""Scratch databases on which steps run, up and down and as printed SQL; the time that they take is counted."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from alembic.script import Script
from sqlalchemy import Connection, Engine

from tangga.catalogue import dump
from tangga.catalogue.sql import execute
from tangga.causes import one_line
from tangga.project import Project
from tangga.scratch.server import Scratch


class Place(NamedTuple):
    """A scratch database, with a connection for the steps and one that observes."""

    engine: Engine
    connection: Connection
    observer: Connection


class NotPrintable(Exception):
    """A step cannot be printed as SQL."""


class Places:
    """Makes scratch databases, and runs steps on them. `in_steps`: the seconds that went into the steps themselves."""

    def __init__(self, project: Project) -> None:
        self.in_steps = 0.0
        self._project = project
        self._scratch = Scratch(project)

    @contextmanager
    def after(self, steps: list[Script]) -> Iterator[Place]:
        """Make a scratch database that has gone straight up these steps."""
        with self._scratch.database() as engine, engine.connect() as connection:
            observing = engine.execution_options(isolation_level="AUTOCOMMIT")
            with observing.connect() as observer:
                place = Place(engine, connection, observer)
                for step in steps:
                    self.run(place, step.revision)
                yield place

    def run(self, place: Place, to: str, *, down: bool = False) -> float:
        """Go to a revision, and return how many seconds it took; raises what the step raises."""
        start = time.monotonic()
        try:
            (self._project.downgrade if down else self._project.upgrade)(place.connection, to)
            return time.monotonic() - start
        finally:
            # After a failure there is a transaction to be ended.
            place.connection.rollback()
            self.in_steps += time.monotonic() - start

    def run_printed(self, place: Place, step: Script) -> str | None:
        """Run what --sql prints of a step, and return the error if it fails.

        Raises NotPrintable if it cannot be printed; nothing has run then.
        """
        import pglast  # the container that serves does without it

        try:
            printed = self._project.sql(below(step), step.revision)
        except Exception as error:
            raise NotPrintable(one_line(error)) from error
        start = time.monotonic()
        try:
            for statement in pglast.split(printed):
                execute(place.observer, statement)
        except Exception as error:
            return one_line(error)
        finally:
            self.in_steps += time.monotonic() - start
        return None

    def dump(self, place: Place) -> list[str]:
        """Return pg_dump's schema, as lines."""
        return self._scratch.dump(place.engine)

    def objects(self, place: Place) -> dict[str, str]:
        """Return the schema as named objects."""
        return dump.objects(self.dump(place))


def below(step: Script) -> str:
    """Return what a step stands on; of a merge, one of several."""
    down = step.down_revision
    return "base" if not down else down if isinstance(down, str) else next(iter(down))
