"""A connection to the database without the settings' own machinery, which most of an upgrade to head would wait for."""

import os
from typing import Any


def connect() -> Any:
    """Return a connection of psycopg2's, or None if there is none to be had: the usual way says why."""
    user, host, database = (os.environ.get(name) for name in ("DB_USERNAME", "DB_HOSTNAME", "DB_NAME"))
    password = os.environ.get("DB_PASS") or _secret("db_pass")
    if not (user and password and host and database):
        return None
    import psycopg2

    try:
        return psycopg2.connect(
            host=host, port=os.environ.get("DB_PORT", "5432"), dbname=database, user=user, password=password,
            application_name="tangga-migrate", connect_timeout=5,
            sslmode=os.environ.get("DB_SSLMODE") or None, sslrootcert=os.environ.get("DB_SSLROOTCERT") or None,
        )  # fmt: skip
    except psycopg2.Error:
        return None


def _secret(name: str) -> str | None:
    """Return a secret that is a file, as in production (services/api/settings.py reads it likewise)."""
    try:
        with open(f"/run/secrets/{name}", encoding="utf-8") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError):
        return None
