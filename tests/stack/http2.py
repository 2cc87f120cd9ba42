"""The least of an HTTP/2 client that sends a whole body first and reads the answer then, as many do: no pushing ahead of
flow control, and a stream that is reset while it is sending is a failure."""

import socket
import ssl
import struct

DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 7, 8
_ACK = _END_STREAM = 1
_END_HEADERS = 4


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


def _text(value: str) -> bytes:
    return bytes([len(value)]) + value.encode()


class Refused(Exception):
    """The server has ended the stream before all was sent."""


class Http2:
    """One connection, and one POST on it."""

    def __init__(self, port: int) -> None:
        context = ssl._create_unverified_context()
        context.set_alpn_protocols(["h2"])
        self._socket = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 60))
        self._read = self._socket.makefile("rb").read
        self._connection_window = self._stream_window = self._initial = 65535

    def post(self, path: str, size: int) -> bytes:
        """Send a body of this size; return the answer's head as it came (HPACK), in which a status may be read."""
        with self._socket:
            # HPACK's static table: 0x83 :method POST, 0x87 :scheme https, 4 :path, 1 :authority.
            head = b"\x83\x87\x04" + _text(path) + b"\x01" + _text("localhost")
            begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(SETTINGS, 0, 0)
            self._socket.sendall(begin + _frame(HEADERS, _END_HEADERS, 1, head))
            while size:
                part = min(size, 16384, self._connection_window, self._stream_window)
                if part <= 0:
                    self._next()
                    continue
                size -= part
                self._connection_window -= part
                self._stream_window -= part
                self._socket.sendall(_frame(DATA, 0 if size else _END_STREAM, 1, b"x" * part))
            while (answer := self._next()) is None:
                pass
            return answer

    def _next(self) -> bytes | None:
        """Take one frame from the server; return the head of the answer, if it is that."""
        start = self._read(9)
        if len(start) < 9:
            raise Refused("the connection has ended")
        kind, flags = start[3], start[4]
        stream = struct.unpack("!I", start[5:])[0]
        payload = self._read(int.from_bytes(start[:3]))
        if kind in (RST_STREAM, GOAWAY):
            raise Refused(f"frame of type {kind}: {payload!r}")
        if kind == WINDOW_UPDATE:
            more = struct.unpack("!I", payload)[0]
            if stream:
                self._stream_window += more
            else:
                self._connection_window += more
        if kind == SETTINGS and not flags & _ACK:
            for name, value in struct.iter_unpack("!HI", payload):
                if name == 4:  # the window that streams begin with
                    self._stream_window += value - self._initial
                    self._initial = value
            self._socket.sendall(_frame(SETTINGS, _ACK, 0))
        return payload if kind == HEADERS else None
