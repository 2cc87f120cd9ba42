"""The one error that routes raise, and the one shape in which every error is answered (RFC 9457)."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from starlette.responses import JSONResponse

MEDIA_TYPE = "application/problem+json"
INVALID = "The request does not have the expected form."
TOO_LONG = "The database did not answer in time. Nothing was written."
UNKNOWN = (
    "The database's answer was lost, so this may have been done, or not. Look before you send it again; a post that is "
    "sent with an Idempotency-Key may simply be sent again with the same key."
)
UNAUTHORIZED = "Log in first: the token is missing or not valid."


class Problem(Exception):
    """An answer other than success: an HTTP status, a sentence for the reader, headers if the status asks for them."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers

    @classmethod
    def unauthorized(cls) -> "Problem":
        """401 for a token that is missing, wrong, expired, or whose user is gone: one answer for all."""
        return cls(401, UNAUTHORIZED, {"WWW-Authenticate": "Bearer"})


def answer(
    status: int,
    detail: str,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[Mapping[str, object]] | None = None,
) -> JSONResponse:
    """Build a problem answer; `errors` says of a 422 which fields are wrong (`loc`), and why (`msg`, `type`)."""
    body: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors is not None:
        body["errors"] = errors
    return JSONResponse(body, status, dict(headers or {}), media_type=MEDIA_TYPE)
