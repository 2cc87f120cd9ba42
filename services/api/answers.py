"""Answers that the route serialises itself, by the model: FastAPI would check and convert a second time what comes out
of typed columns, which takes as long as all the rest of a read.
"""

from collections.abc import Mapping
from hashlib import blake2b

from fastapi import Request, Response
from pydantic import BaseModel


def json_answer(content: BaseModel, status: int = 200) -> Response:
    """Return the model as JSON."""
    return Response(content.model_dump_json(), status, media_type="application/json")


def conditional(request: Request, body: bytes, headers: Mapping[str, str] | None = None) -> Response:
    """Return the JSON `body` with its ETag, or 304 without a body if the client has it already (RFC 9110, 13.1.2)."""
    tag = f'"{blake2b(body, digest_size=12).hexdigest()}"'
    # no-cache: a cache may keep the answer, and asks each time whether it still holds.
    all_headers = {"ETag": tag, "Cache-Control": "no-cache", **(headers or {})}
    if known := request.headers.get("If-None-Match"):
        tags = {part.strip().removeprefix("W/") for part in known.split(",")}
        if tag in tags or "*" in tags:
            return Response(None, 304, all_headers)
    return Response(body, 200, all_headers, "application/json")
