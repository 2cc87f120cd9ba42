"""What it means if PostgreSQL, or what stands before it, does not let us in: for /readyz and for the migrator."""

from typing import NamedTuple


class Refusal(NamedTuple):
    """What is wrong, and what to do."""

    what: str
    remedy: str


# Part of what libpq or the other side says -> what it means.
_REFUSALS = {
    "certificate verify failed": Refusal(
        "the database's certificate is not signed by the CA in DB_SSLROOTCERT",
        "put that server's CA into the file that DB_SSLROOTCERT names; if it is the right one, somebody stands between",
    ),
    "does not match host name": Refusal(
        "the database's certificate is for another name than DB_HOSTNAME",
        "set DB_HOSTNAME to the name that the certificate has; if it is the right one, this is another server",
    ),
    "server does not support SSL": Refusal(
        "the database has no TLS, and DB_SSLMODE asks for it",
        "switch TLS on there; only in a network that nobody else can read: DB_SSLMODE=disable",
    ),
    "no encryption": Refusal("the database takes nobody without TLS", "set DB_SSLMODE=verify-full"),
    "unsupported startup parameter": Refusal(
        "a pooler answers, and takes no settings for a session",
        "for the API: DB_POOLER=true; for migrate: the server itself as MIGRATE_DB_HOSTNAME",
    ),
    "root certificate file": Refusal(
        "the file of DB_SSLROOTCERT cannot be read in the container",
        "let everybody read it (chmod a+r): a certificate is no secret",
    ),
}


def refusal(error: str) -> Refusal | None:
    """Return what an error of a connection means; None if there is no more to say than it says itself."""
    return next((meaning for part, meaning in _REFUSALS.items() if part in error), None)
