"""`Idempotency-Key`: a write that is sent again, because its answer was lost, is not done again.

The key, the write and its answer are committed together (decision 19). Whoever comes with the same key while the first
one is still at it waits for that commit, so there is nothing in between to be seen.
"""

from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Annotated

from fastapi import Header, Response
from fastapi.exceptions import RequestValidationError
from psycopg2.errors import LockNotAvailable
from psycopg2.extras import Json
from pydantic import BaseModel

from services.api.db.connection import Runner
from services.api.db.database import Database
from services.api.db.statement import Statement
from services.api.problem import Problem

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern="^[!-~]+$",
        description="Of the client's making, such as a UUID. Sent again with the same body, the request is not done a "
        "second time: it gets the first answer, with the header `Idempotency-Replayed: true`.",
    ),
]

UNDER_WAY = "The first request with this Idempotency-Key is still under way."

# Waits for a transaction that holds the same key; not as long as a statement may take, for it holds a connection.
# set_config stands in FROM, so it is called before the row is inserted.
_claim = Statement("""
    INSERT INTO idempotency_keys AS kept (user_id, key, request, expires_at)
    SELECT :user_id, :key, :request, now() + make_interval(hours => :hours)
    FROM set_config('lock_timeout', '2s', true)
    ON CONFLICT (user_id, key) DO UPDATE SET request = excluded.request, expires_at = excluded.expires_at
    WHERE kept.expires_at <= now()
    RETURNING user_id
""")
_stored = Statement(
    "SELECT request, status, headers, body FROM idempotency_keys WHERE user_id = :user_id AND key = :key"
)
# More than one request adds, so what has expired never piles up. It waits for nobody.
_store = Statement("""
    WITH swept AS (
        DELETE FROM idempotency_keys WHERE (user_id, key) IN (
            SELECT user_id, key FROM idempotency_keys WHERE expires_at <= now()
            ORDER BY expires_at LIMIT 20 FOR UPDATE SKIP LOCKED
        )
    )
    UPDATE idempotency_keys SET status = :status, headers = :headers, body = :body
    WHERE user_id = :user_id AND key = :key
""")


async def once(
    db: Database,
    user_id: int,
    key: str,
    hours: int,
    route: str,
    body: BaseModel,
    write: Callable[[Runner], Awaitable[Response]],
) -> Response:
    """Do the write and keep its answer for so many hours; or return the answer that is kept already.

    An error that `write` raises undoes everything, so the request may be sent again. Raises RequestValidationError if
    the key was used for another request, Problem 409 if the first request takes too long.
    """
    request = sha256(f"{route}\n{body.model_dump_json()}".encode()).digest()
    async with db.transaction() as transaction:
        try:
            claimed = await transaction.row(_claim, user_id=user_id, key=key, request=request, hours=hours)
        except LockNotAvailable:
            raise Problem(409, UNDER_WAY, {"Retry-After": "1"}) from None
        if claimed is None:
            return await _replayed(transaction, user_id, key, request)
        response = await write(transaction)
        headers = {header: value for header, value in response.headers.items() if header != "content-length"}
        answer = {"status": response.status_code, "headers": Json(headers), "body": bytes(response.body).decode()}
        await transaction.rows(_store, user_id=user_id, key=key, **answer)
    return response


async def _replayed(transaction: Runner, user_id: int, key: str, request: bytes) -> Response:
    stored = await transaction.row(_stored, user_id=user_id, key=key)
    if stored is None:  # it went with its user
        raise Problem.unauthorized()
    if bytes(stored["request"]) != request:
        wrong = {"loc": ["header", "idempotency-key"], "msg": "was used for another request", "type": "key_reused"}
        raise RequestValidationError([wrong])
    return Response(stored["body"], stored["status"], stored["headers"] | {"Idempotency-Replayed": "true"})
