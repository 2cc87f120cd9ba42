"""The API's connections to PostgreSQL."""

import logging
import os
import select
import socket

from psycopg2.extensions import connection as Connection
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError

from services.api.observe.statements import CountingCursor
from services.api.settings import Settings

logger = logging.getLogger("tangga.api")


def make_engine(settings: Settings) -> Engine:
    """Build the engine of one worker: at most `db_pool_size` connections, every wait bounded.

    Every request is one statement, which is a transaction by itself, so the engine is AUTOCOMMIT: no BEGIN and no
    ROLLBACK go over the wire. Something that needs two statements to hold together opens a transaction of its own
    (`connection.execution_options(isolation_level="READ COMMITTED")`).
    """
    statement_timeout = int(settings.db_statement_timeout * 1000)
    engine = create_engine(
        settings.url,
        isolation_level="AUTOCOMMIT",
        pool_size=settings.db_pool_size,
        max_overflow=0,
        # An error's text goes to the log; what a client sent, hashes of passwords included, must not.
        hide_parameters=True,
        pool_timeout=settings.db_statement_timeout,
        pool_reset_on_return=None,
        connect_args={
            "connect_timeout": 3,
            "application_name": application_name(),
            "options": f"-c statement_timeout={statement_timeout} -c lock_timeout={statement_timeout}",
            "cursor_factory": CountingCursor,
            # A server that vanished without a word (its machine is gone) answers neither data nor these.
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": statement_timeout,
        },
    )
    event.listen(engine, "checkout", _refuse_dead)
    return engine


def application_name() -> str:
    """Say in pg_stat_activity which worker of which container holds a connection. PostgreSQL keeps 63 bytes."""
    return f"tangga-api {socket.gethostname()[:36]} worker {os.getpid()}"


def _refuse_dead(connection: Connection, _record: object, _proxy: object) -> None:
    """Before a request uses a pooled connection: has the server ended it? Costs no round trip.

    Nothing is due on an idle connection, so anything to read is the server's farewell or the end of the line (or news
    of a changed setting, for which a new connection is right as well). SQLAlchemy then connects anew, by itself.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        logger.warning("database_connection_replaced")
        raise DisconnectionError("the server has ended this connection")
