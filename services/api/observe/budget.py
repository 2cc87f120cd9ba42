"""Do all workers of all replicas fit into PostgreSQL's max_connections? Behind a pooler: is a statement bounded?

Said at the start, in words.
"""

import logging
from contextlib import closing
from typing import NamedTuple

import psycopg2

from services.api.settings import Settings

logger = logging.getLogger("tangga.api")

# A migration (2: the lock and the work), a backup, a person with psql, one to spare.
_RESERVE = 5

_ASK = """
    SELECT current_setting('max_connections')::int, current_setting('superuser_reserved_connections')::int,
        greatest((SELECT count(*) FROM pg_stat_activity WHERE datname IS NOT NULL AND usename <> current_user),
            coalesce(current_setting('reserved_connections', true), '0')::int),
        rolconnlimit FROM pg_roles WHERE rolname = current_user
"""
_ASK_ROLE = "SELECT setting::float8 / 1000 FROM pg_settings WHERE name = 'statement_timeout'"


class Server(NamedTuple):
    """What PostgreSQL has to give: its limit, what of that is for superusers, what other roles hold now or are kept."""

    max_connections: int
    superusers: int
    others: int
    limit: int = -1  # of the role (services/postgres/roles.sql); -1 is none


def shortage(server: Server, replicas: int, workers: int, pool: int) -> str | None:
    """Say what does not fit and what to change; None if it fits."""
    wanted = replicas * workers * pool
    free = server.max_connections - server.superusers - max(server.others, _RESERVE)
    free = min(free, server.limit) if server.limit >= 0 else free
    if wanted <= free:
        return None
    limit = f", and the API's role may have {server.limit} (CONNECTION LIMIT)" if server.limit == free else ""
    return (
        f"The API may open {wanted} connections: {replicas} replicas (API_REPLICAS) x {workers} workers "
        f"(WEB_CONCURRENCY) x {pool} (DB_POOL_SIZE). PostgreSQL has {max(free, 0)} for it: max_connections is "
        f"{server.max_connections}, {server.superusers} are kept for superusers and "
        f"{max(server.others, _RESERVE)} for other clients{limit}. Under load, requests will be answered 503. "
        f"Set DB_POOL_SIZE to at most {max(free // (replicas * workers), 1)}, or lower WEB_CONCURRENCY or "
        "API_REPLICAS, or raise max_connections."
    )


def unbounded(seconds: float, settings: Settings) -> str | None:
    """Say that the role's statement_timeout is not the one that is asked for; None if it is."""
    if seconds == settings.db_statement_timeout:
        return None
    role, wanted = settings.db_username, f"{settings.db_statement_timeout:g}"
    return (
        f"Behind a pooler a statement is bounded by its role alone: {role} has a statement_timeout of {seconds:g} s "
        f"(0: none), and DB_STATEMENT_TIMEOUT is {wanted}. `make up` gives it that; where the "
        f"database is elsewhere, its administrator: ALTER ROLE {role} SET statement_timeout = '{wanted}s', the same "
        "for lock_timeout, then restart the pooler."
    )


def check(settings: Settings, workers: int) -> None:
    """Ask the server once, and log a warning if there is a shortage. Never raises: the service starts anyway."""
    try:
        parameters = {**settings.connection_parameters(), "password": settings.passwords()[0]}
        with (
            closing(
                psycopg2.connect(**parameters, connect_timeout=3, application_name="tangga-api budget")
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(_ASK_ROLE if settings.db_pooler else _ASK)
            [row] = cursor.fetchall()
    except psycopg2.Error as error:
        logger.warning("connection_budget_unknown", extra={"reason": str(error).strip()})
        return
    if settings.db_pooler:
        if words := unbounded(row[0], settings):
            logger.warning("statement_timeout_differs", extra={"reason": words})
    elif words := shortage(Server(*row), settings.api_replicas, workers, settings.db_pool_size):
        logger.warning("connection_budget_exceeded", extra={"reason": words})
