"""A connection of our own, in place of env.py's asynchronous one.

What protects a step (COPY for the saves, the session that watches, the driver's errors) is synchronous. So the steps of
an env.py that runs in run_sync run on a connection of psycopg2's or psycopg's, to the same database.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from alembic import context
from sqlalchemy import Connection

from tangga import connect
from tangga.exits import WRONG_SETTING, Stop
from tangga.guard.steps import timeouts
from tangga.rehearsal import asked, use_search_path
from tangga.settings import Settings, address_of

# What two sessions of one server agree on.
_WHERE = "SELECT current_database(), pg_postmaster_start_time()::text"


@contextmanager
def synchronous(theirs: Connection, settings: Settings) -> Iterator[Connection]:
    """Yield a connection to migrate on: the given one, or, in run_sync, one that `context.configure` takes instead."""
    if not theirs.dialect.is_async:
        yield theirs
        return
    if theirs.in_transaction():
        raise Stop(
            "env.py has begun a transaction on its connection before tangga.guarded",
            "commit it first; the steps run on a connection of their own", WRONG_SETTING,
        )  # fmt: skip
    url = address_of(theirs.engine.url.render_as_string(hide_password=False))
    with connect.engine(url, "migrate", session=timeouts(settings)).connect() as ours:
        if asked(theirs, _WHERE) != asked(ours, _WHERE):
            raise Stop(
                f"{settings.address} is not the server that env.py is connected to",
                "let the URL of its engine name the server itself", WRONG_SETTING,
            )  # fmt: skip
        use_search_path(theirs, ours)
        original: Any = context.configure

        def configure(connection: Connection | None = None, **options: Any) -> None:
            original(connection=ours if connection is theirs else connection, **options)

        vars(context)["configure"] = configure  # as Alembic itself puts it there
        try:
            yield ours
        finally:
            vars(context)["configure"] = original
