"""gunicorn's HTTP protocol, as this service needs it: no WebSockets, and answers that reach whoever still sends."""

import asyncio
from typing import Any

from gunicorn.asgi.protocol import ASGIProtocol  # type: ignore[import-untyped]

# What is thrown away for one answer, and by one worker at the same time: that costs neither memory nor a place of
# MAX_IN_FLIGHT. Who goes on sending beyond that is cut off.
_SECONDS = 5.0
_BYTES = 40 * 1024 * 1024
_CONNECTIONS = 100


class Discarding(asyncio.Protocol):
    """The end of a connection whose client may still be sending (RFC 9112, 9.6).

    Closed at once, with data unread, the connection would be reset, and the answer lost on its way or in the client,
    which is told that sending has failed. So only our side is closed; the rest is read and thrown away.
    """

    under_way = 0

    def __init__(self, transport: asyncio.Transport, before: asyncio.Protocol) -> None:
        """Take the connection over from `before`, which still hears of its end."""
        Discarding.under_way += 1
        self._transport = transport
        self._before = before
        self._left = _BYTES
        self._timer = asyncio.get_running_loop().call_later(_SECONDS, transport.abort)
        transport.set_protocol(self)
        if transport.can_write_eof():
            transport.write_eof()  # when the answer has been sent
        transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Throw it away."""
        self._left -= len(data)
        if self._left < 0:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has closed, or was cut off."""
        Discarding.under_way -= 1
        self._timer.cancel()
        self._before.connection_lost(exc)


class Protocol(ASGIProtocol):  # type: ignore[misc]
    """One connection."""

    _closed: bool
    _refused = False

    def _is_websocket_upgrade(self, _request: Any) -> bool:
        """There are none: an upgrade is a request like any other, which middleware/security.py refuses."""
        return False

    def _will_close(self, request: Any, response_requires_close: bool) -> bool:
        """After an answer that did not wait for the whole body nothing else can follow; say so."""
        return not self._body_has_come() or super()._will_close(request, response_requires_close)

    def _send_error_response(self, *arguments: Any) -> None:
        """The server's own answer, to what it could not make out: more of that may be on its way."""
        super()._send_error_response(*arguments)
        self._refused = True

    def _close_transport(self) -> None:
        """Close, but not in the face of a client who is still sending."""
        unread = self._refused or not self._body_has_come()
        if self._closed or not unread or Discarding.under_way >= _CONNECTIONS or self.transport.is_closing():
            super()._close_transport()
            return
        self._closed = True
        Discarding(self.transport, self)

    def _body_has_come(self) -> bool:
        receiver = self._body_receiver
        return receiver is None or receiver._complete
