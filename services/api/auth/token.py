"""Bearer tokens: a signed statement of who logged in, and until when. No database is asked."""

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from fastapi import Request
from fastapi.routing import APIRoute

from services.api.fields import LARGEST_INTEGER
from services.api.problem import Problem
from services.api.settings import Settings

_ALGORITHM = "HS256"


def make_token(user_id: int, settings: Settings) -> str:
    """Return a JWT (RFC 7519) for the user that expires after `token_minutes`."""
    expires = datetime.now(UTC) + timedelta(minutes=settings.token_minutes)
    claims = {"sub": str(user_id), "exp": expires}
    return jwt.encode(claims, settings.token_keys()[0], algorithm=_ALGORITHM)


def bearer_user_id(request: Request) -> int:
    """Return the user id in the request's bearer token; raises Problem 401 when there is none that holds."""
    settings: Settings = request.app.state.settings
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Problem.unauthorized()
    try:
        claimed = _claims(token.strip(), settings)["sub"]
        user_id = int(claimed)
        # As make_token writes it: int() takes " 1" and other scripts' digits, and the column has 32 bits.
        if str(user_id) != claimed or not 1 <= user_id <= LARGEST_INTEGER:
            raise Problem.unauthorized()
    except (jwt.InvalidTokenError, ValueError):
        raise Problem.unauthorized() from None
    request.state.user_id = user_id  # for the log
    return user_id


def _claims(token: str, settings: Settings) -> dict[str, Any]:
    """Return the claims if one of the keys has signed them; raises jwt.InvalidTokenError."""
    key, *previous = settings.token_keys()
    try:
        return _decode(token, key)
    except jwt.InvalidSignatureError:
        if not previous:
            raise
        return _decode(token, previous[0])


def _decode(token: str, key: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, key, algorithms=[_ALGORITHM], options={"require": ["sub", "exp"]})
    return claims


def needs_bearer(request: Request) -> bool:
    """Tell whether the matched route asks for a token."""
    route = request.scope.get("route")
    return isinstance(route, APIRoute) and any(d.name == "user_id" for d in route.dependant.dependencies)
