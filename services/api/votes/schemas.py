"""Votes as clients send them."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from services.api.fields import Input


class VoteIn(Input):
    """`dir` 1 votes for the post, 0 takes the vote back."""

    post_id: Annotated[int, Field(ge=1, le=2**31 - 1)]
    dir: Literal[0, 1]


class VoteOut(BaseModel):
    """What happened, in words."""

    detail: str
