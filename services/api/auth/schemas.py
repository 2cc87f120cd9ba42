"""What log-in answers."""

from typing import Literal

from pydantic import BaseModel


class TokenOut(BaseModel):
    """OAuth2's token answer, RFC 6749 section 5.1."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the kind of token, not a token
