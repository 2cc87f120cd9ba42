"""Security headers on every answer, a bound on every body, and other origins only where they are named."""

from urllib.parse import unquote_to_bytes

from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.api.errors import on_bug
from services.api.problem import INVALID, answer
from services.api.settings import Settings

Headers = list[tuple[bytes, bytes]]

_ALWAYS: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
# A browser that is made to show an answer as a page gets nothing to run. The documentation page brings its own.
_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_HTTPS = (b"strict-transport-security", b"max-age=31536000")
# What anybody can read may be kept, but must be asked about each time (ETag); tokens, errors and the like may not.
_ASK_AGAIN = (b"cache-control", b"no-cache")
_FORGET = (b"cache-control", b"no-store")


_NO_TARGET = "The request target is neither a path nor an http or https address without user information."
_NO_WEBSOCKETS = "There are no WebSockets here."


class Security:
    """Pure ASGI. Reads `settings` of the app's state at the first request: it is made before they are."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.body_limit: int | None = None

    def _configure(self, scope: Scope) -> int:
        settings: Settings = scope["app"].state.settings
        if settings.cors_origins:
            self.app = CORSMiddleware(
                self.app,
                allow_origins=settings.cors_origins.split(","),
                allow_methods=["GET", "POST", "PUT", "DELETE"],
                allow_headers=[
                    "Authorization", "Content-Type", "If-None-Match", "Idempotency-Key", "X-Request-ID",
                    "traceparent", "tracestate",
                ],
                expose_headers=[
                    "Link", "ETag", "Idempotency-Replayed", "Retry-After", "WWW-Authenticate", "X-Request-ID",
                ],
            )  # fmt: skip
        self.body_limit = settings.body_limit
        return settings.body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of any type; only HTTP is touched."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.body_limit or self._configure(scope)
        reading = scope["method"] == "GET"
        secure = scope["scheme"] == "https"

        headers = dict(scope["headers"])
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = _completed(message, reading=reading, secure=secure)
            await send(message)

        if refusal := _refusal(scope, headers, limit):
            await refusal(scope, receive, send_with_headers)
            return
        if b"content-length" not in headers and not reading:
            receive = _counted(receive, limit)
        try:
            await self.app(scope, receive, send_with_headers)
        except Exception as error:
            if started:
                raise
            # Left to Starlette, it would be answered outside of all middleware: without these headers, and unlogged.
            response = await on_bug(Request(scope), error)
            await response(scope, receive, send_with_headers)


def _completed(message: Message, *, reading: bool, secure: bool) -> list[tuple[bytes, bytes]]:
    """Return the answer's headers with those that protect; what the route has set itself stays."""
    headers = [*message["headers"], *_ALWAYS]
    own = [name for name, _ in message["headers"]]
    if b"content-security-policy" not in own:
        headers.append(_POLICY)
    if b"cache-control" not in own:
        headers.append(_ASK_AGAIN if reading and message["status"] in (200, 304) else _FORGET)
    if secure:
        headers.append(_HTTPS)
    return headers


def _refusal(scope: Scope, headers: dict[bytes, bytes], limit: int) -> ASGIApp | None:
    """Return the answer to a request that no route is to see; None if one may."""
    if scope["path"][:1] != "/" and (scope["method"], scope["path"]) != ("OPTIONS", "*"):
        return answer(400, _NO_TARGET, {"Connection": "close"})
    if b"upgrade" in headers and _is_websocket(headers):
        return answer(400, _NO_WEBSOCKETS, {"Connection": "close"})
    length = headers.get(b"content-length")
    if length is not None and (len(length) > 12 or int(length) > limit):
        # The body stays unread, so nothing else can follow on this connection.
        return answer(413, _too_large(limit), {"Connection": "close"})
    query = scope["query_string"]
    if (b"%" in query or not query.isascii()) and not _is_utf8(query):
        errors = [{"loc": ["query"], "msg": "is not UTF-8", "type": "unparsable"}]
        return answer(422, INVALID, errors=errors)
    return None


def _too_large(limit: int) -> str:
    return f"The body is larger than {limit} bytes."


def _is_websocket(headers: dict[bytes, bytes]) -> bool:
    # Another protocol may be offered, and is ignored, as is an offer that Connection does not name (RFC 9110, 7.8).
    return headers[b"upgrade"].lower() == b"websocket" and b"upgrade" in headers.get(b"connection", b"").lower()


def _counted(receive: Receive, limit: int) -> Receive:
    """Count what arrives without a length given beforehand (chunks); raises 413 past the limit."""
    received = 0

    async def receive_and_count() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise HTTPException(413, _too_large(limit), {"Connection": "close"})
        return message

    return receive_and_count


def _is_utf8(query: bytes) -> bool:
    try:
        unquote_to_bytes(query).decode()
    except UnicodeDecodeError:
        return False
    return True
