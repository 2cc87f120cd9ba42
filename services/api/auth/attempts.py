"""Limits on failed log-ins, kept in PostgreSQL alone, so that they hold across workers, replicas and restarts.

Failures are counted per account and address together (a low limit), per account (higher) and per address. A window
begins with the first failure and ends by itself: nothing that happens while it is full makes it longer. An attacker
with many addresses can fill an account's window, and one with many accounts an address's, but neither for an account
and an address that have logged in together before.

Verdicts are counted, not arrivals. Once the window is full, the right password is refused too, so many guesses at the
same time learn no more than guesses one after another. A success costs nobody anything.

Registrations of an address are counted in the same table, and there each arrival counts: it costs a hash.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from fastapi import Request

from services.api.db.connection import Runner
from services.api.db.statement import Row, Statement
from services.api.problem import Problem
from services.api.settings import Settings

_DAYS_KNOWN = 30

_FOUND = """
    SELECT key, failures, ceil(extract(epoch FROM expires_at - now()))::integer AS seconds
    FROM login_attempts
"""
_find = Statement(f"{_FOUND} WHERE key IN (:pair, :account, :address, :known) AND expires_at > now()")

_COUNT = """
    ON CONFLICT (key) DO UPDATE SET
        failures = CASE WHEN counted.expires_at > now() THEN counted.failures + 1 ELSE 1 END,
        expires_at = CASE WHEN counted.expires_at > now() THEN counted.expires_at ELSE excluded.expires_at END
    RETURNING key, failures, ceil(extract(epoch FROM expires_at - now()))::integer AS seconds
"""
# First the pair, then the account, then the address, in every session: they wait for each other, but never in a circle.
# What the pair's limit refuses counts for nobody else: one address cannot fill an account's window.
_count = Statement(f"""
    WITH pair AS (
        INSERT INTO login_attempts AS counted (key, failures, expires_at)
        VALUES (:pair, 1, now() + make_interval(secs => :window))
        {_COUNT}
    ), wider AS (
        INSERT INTO login_attempts AS counted (key, failures, expires_at)
        SELECT one.key, 1, now() + make_interval(secs => :window)
        FROM pair, (VALUES (CAST(:account AS bytea)), (CAST(:address AS bytea))) AS one (key)
        WHERE pair.failures <= :pair_limit
        {_COUNT}
    )
    SELECT key, failures, seconds FROM pair
    UNION ALL SELECT key, failures, seconds FROM wider
    UNION ALL ({_FOUND} WHERE key = :known AND expires_at > now())
""")  # noqa: S608 - nothing but constants is put together
# Nothing is written once the window is full: what is refused costs a read.
_register = Statement(
    f"""
    WITH full_window AS ({_FOUND} WHERE key = :key AND expires_at > now() AND failures >= :limit),
    arrived AS (
        INSERT INTO login_attempts AS counted (key, failures, expires_at)
        SELECT CAST(:key AS bytea), 1, now() + make_interval(secs => :window)
        WHERE NOT EXISTS (SELECT FROM full_window)
        {_COUNT}
    )
    SELECT failures, seconds FROM arrived UNION ALL SELECT failures + 1, seconds FROM full_window
    """,  # noqa: S608 - nothing but constants is put together
    harmless=True,
)
_remember = Statement("""
    INSERT INTO login_attempts (key, failures, expires_at) VALUES (:known, 0, now() + make_interval(secs => :window))
    ON CONFLICT (key) DO UPDATE SET expires_at = excluded.expires_at
""")
# More than one failure adds, so the table does not outgrow one window. It waits for nobody, and nobody for long for it.
_sweep = Statement(
    """
    DELETE FROM login_attempts WHERE key IN (
        SELECT key FROM login_attempts WHERE expires_at <= now() ORDER BY expires_at LIMIT 20 FOR UPDATE SKIP LOCKED
    )
    """,
    harmless=True,
)


@dataclass(frozen=True)
class Attempt:
    """The keys of one attempt to log in: keyed hashes, so that the table tells neither e-mail nor address."""

    pair: bytes
    account: bytes
    address: bytes
    known: bytes

    @classmethod
    def of(cls, email: str, client: str, settings: Settings) -> "Attempt":
        """Build the keys for the e-mail as registered, and the client's address."""
        address = _network(client)
        return cls(
            _key(settings, "pair", email, address),
            _key(settings, "account", email),
            _key(settings, "address", address),
            _key(settings, "known", email, address),
        )


async def require_allowed(db: Runner, attempt: Attempt, settings: Settings) -> bool:
    """Before the password is looked at: raises Problem 429 if a window is full.

    Tells whether the account has logged in from this address before.
    """
    rows = await _found(db, attempt)
    _refuse_past_limits(rows, attempt, settings, more=1)
    return attempt.known in rows


async def count_failure(db: Runner, attempt: Attempt, settings: Settings) -> None:
    """After a wrong password: count it; raises Problem 429 if a window had been full already."""
    values = {
        **vars(attempt),
        "window": settings.login_attempts_window,
        "pair_limit": settings.login_attempts,
    }
    rows = {row["key"].tobytes(): row for row in await db.rows(_count, **values)}
    await db.rows(_sweep)
    _refuse_past_limits(rows, attempt, settings)


async def allow_success(db: Runner, attempt: Attempt, settings: Settings) -> None:
    """After the right password: raises Problem 429 if a window has been filled since; else remember the address."""
    rows = await _found(db, attempt)
    _refuse_past_limits(rows, attempt, settings, more=1)
    if attempt.known not in rows or rows[attempt.known]["seconds"] < (_DAYS_KNOWN - 1) * 86400:
        await db.rows(_remember, known=attempt.known, window=_DAYS_KNOWN * 86400)


async def count_registration(db: Runner, client: str, settings: Settings) -> bytes:
    """Before a password is hashed: count, and return the window's key; raises Problem 429 if the window is full."""
    key = _key(settings, "registration", _network(client))
    limit, window = settings.registrations_per_address, settings.registrations_window
    row = await db.row(_register, key=key, limit=limit, window=window)
    assert row
    if row["failures"] > limit:
        wait = {"Retry-After": str(max(1, row["seconds"]))}
        raise Problem(429, "Too many registrations from this address. Try again later.", wait)
    if row["failures"] == 1:  # a row more
        await db.rows(_sweep)
    return key


def client_address(request: Request) -> str:
    """Return whose attempt a request is; "" for a socket without addresses."""
    return request.client.host if request.client else ""


def _key(settings: Settings, *parts: str) -> bytes:
    message = "\0".join(parts).encode(errors="surrogatepass")
    return hmac.digest(settings.token_keys()[0].encode(), message, "sha256")[:16]


def _network(client: str) -> str:
    """Return what one attacker has of addresses: one of IPv4; of IPv6 a whole /64."""
    try:
        address = ip_address(client.partition("%")[0])
    except ValueError:
        return client  # a socket without addresses
    if address.version == 4:
        return str(address)
    return str(address.ipv4_mapped or ip_network((int(address), 64), strict=False))


async def _found(db: Runner, attempt: Attempt) -> Mapping[bytes, Row]:
    return {row["key"].tobytes(): row for row in await db.rows(_find, **vars(attempt))}


def _refuse_past_limits(rows: Mapping[bytes, Row], attempt: Attempt, settings: Settings, more: int = 0) -> None:
    limits = {attempt.pair: settings.login_attempts}
    if attempt.known not in rows:
        limits[attempt.account] = settings.login_attempts_per_account
        limits[attempt.address] = settings.login_attempts_per_address
    waits = [
        rows[key]["seconds"] for key, limit in limits.items() if key in rows and rows[key]["failures"] + more > limit
    ]
    if waits:
        raise Problem(429, "Too many failed log-ins. Try again later.", {"Retry-After": str(max(1, *waits))})
