"""Request targets in absolute form: `GET http://localhost/posts HTTP/1.1`, which every server must accept."""

import re
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

# RFC 9112, 3.2.2; without user information, which RFC 9110, 4.2.4 calls an error.
_ABSOLUTE = re.compile(
    rb"(?:http|https)://((?:\[[0-9a-f:.]+\]|[a-z0-9._~!$&'()*+,;=%-]+)(?::[0-9]*)?)(/[^#]*)?", re.IGNORECASE
)


class Target:
    """Turn the absolute form into the usual one. The scheme is the connection's, or the proxy's, as for any request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of any type. What has neither form stays as it is: middleware/security.py refuses it."""
        if scope["type"] == "http" and scope["path"][:1] != "/" and scope["method"] != "CONNECT":
            _rewrite(scope)
        await self._app(scope, receive, send)


def _rewrite(scope: Scope) -> None:
    if absolute := _ABSOLUTE.fullmatch(scope["raw_path"]):
        path = absolute[2] or b"/"
        scope["raw_path"] = path
        scope["path"] = unquote_to_bytes(path).decode(errors="replace")
        # Whatever the header says, the target counts (RFC 9112, 3.2.2).
        scope["headers"] = [(b"host", absolute[1]), *(pair for pair in scope["headers"] if pair[0] != b"host")]
