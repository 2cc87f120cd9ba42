"""Who asked: the request's id, and its place in a distributed trace (W3C Trace Context, level 1)."""

import os
import re
from collections.abc import Iterable
from typing import NamedTuple

# Bounded and without blanks, quotes or control characters: it goes into log lines and back into a header.
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
# Version 00 ends after the flags; a later one may go on after another dash, and is read as far as 00 goes.
_TRACEPARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class Trace(NamedTuple):
    """Ids of one request: `parent_id` is the caller's span, None if this service begins the trace."""

    request_id: str
    trace_id: str
    span_id: str
    parent_id: str | None
    flags: str

    @property
    def traceparent(self) -> str:
        """The header to send along to another service that is called on behalf of this request."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def read_trace(headers: Iterable[tuple[bytes, bytes]]) -> Trace:
    """Take the ids from the request's headers (names in lower case); make those that are missing or malformed."""
    request_id = parent = None
    traceparents = 0
    for name, value in headers:
        if name == b"x-request-id":
            request_id = _REQUEST_ID.fullmatch(value)
        elif name == b"traceparent":
            traceparents += 1
            parent = _TRACEPARENT.fullmatch(value)
    made = os.urandom(24).hex()
    trace_id, span_id, parent_id, flags = made[:32], made[32:], None, "00"
    # Two of them, or something after version 00's flags: malformed as a whole, and a new trace begins.
    if parent and traceparents == 1 and not (parent[5] and parent[1] == b"00"):
        trace_id, parent_id = parent[2].decode(), parent[3].decode()
        # Of a later version's flags only the first bit, sampled, is known.
        flags = f"{int(parent[4], 16) & 1:02x}"
    return Trace(request_id[0].decode() if request_id else trace_id, trace_id, span_id, parent_id, flags)
