"""Answers that the route serialises itself, once: FastAPI would check and convert a second time what comes out of
typed columns, which takes as long as all the rest of a read. A test shows that they are what the models promise
(tests/api/test_contract.py).
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import orjson
from fastapi import Request, Response


def json_answer(content: Any, status: int = 200) -> Response:
    """Return the content as JSON."""
    return Response(_json(content), status, media_type="application/json")


def conditional(request: Request, content: Any, headers: Mapping[str, str] | None = None) -> Response:
    """Return the content as JSON with its ETag, or 304 if the client has it already (RFC 9110, 13.1.2)."""
    body = _json(content)
    tag = f'"{blake2b(body, digest_size=12).hexdigest()}"'
    # no-cache: a cache may keep the answer, and asks each time whether it still holds.
    all_headers = {"ETag": tag, "Cache-Control": "no-cache", **(headers or {})}
    if known := request.headers.get("If-None-Match"):
        tags = {part.strip().removeprefix("W/") for part in known.split(",")}
        if tag in tags or "*" in tags:
            return Response(None, 304, all_headers)
    return Response(body, 200, all_headers, "application/json")


def _json(content: Any) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_UTC_Z)
