"""What log-in answers."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class TokenOut(BaseModel):
    """OAuth2's token answer, RFC 6749 section 5.1."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"access_token": "eyJ0...", "token_type": "bearer"}]})

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the kind of token, not a token
