"""Cursors of keyset paging: where a page ended, in a form that promises clients nothing about what is inside."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

_KIND = b"a"  # a cursor of another kind, one day, is told apart
_LENGTH = 8  # 6 bytes: the kind, and an id with room to grow


def encode(post_id: int) -> str:
    """Return the cursor of the page that begins after this post."""
    return urlsafe_b64encode(_KIND + post_id.to_bytes(5, "big")).decode()


def decode(cursor: str) -> int:
    """Return the id in a cursor; raises ValueError for one that `encode` has not made."""
    try:
        content = urlsafe_b64decode(cursor)
    except ValueError:
        content = b""
    # Base64 has several spellings of some texts; only ours counts.
    if content[:1] != _KIND or len(content) != 6 or encode(post_id := int.from_bytes(content[1:], "big")) != cursor:
        raise ValueError("not a cursor from the Link header of an earlier page")
    return post_id


# The route gets the id; clients see a string.
Cursor = Annotated[
    int,
    Field(ge=1, le=2**31 - 1),
    BeforeValidator(decode),
    WithJsonSchema({"type": "string", "pattern": f"^[A-Za-z0-9_-]{{{_LENGTH}}}$", "examples": [encode(1)]}),
]
