"""The API's connections to PostgreSQL."""

import os

from sqlalchemy import Engine, create_engine

from services.api.settings import Settings


def make_engine(settings: Settings) -> Engine:
    """Build the engine of one worker: at most `db_pool_size` connections, every wait bounded.

    Every request is one statement, which is a transaction by itself, so the engine is AUTOCOMMIT: no BEGIN and no
    ROLLBACK go over the wire. Something that needs two statements to hold together opens a transaction of its own
    (`connection.execution_options(isolation_level="READ COMMITTED")`).
    """
    statement_timeout = int(settings.db_statement_timeout * 1000)
    return create_engine(
        settings.url,
        isolation_level="AUTOCOMMIT",
        pool_size=settings.db_pool_size,
        max_overflow=0,
        # An error's text goes to the log; what a client sent, hashes of passwords included, must not.
        hide_parameters=True,
        pool_timeout=settings.db_statement_timeout,
        # After a restart of the database each connection is found dead, and replaced, before a request uses it.
        pool_pre_ping=True,
        pool_reset_on_return=None,
        connect_args={
            "connect_timeout": 3,
            "application_name": f"tangga-api {os.getpid()}",
            "options": f"-c statement_timeout={statement_timeout} -c lock_timeout={statement_timeout}",
        },
    )
