"""Votes as clients send them."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from services.api.fields import Input, RowId, WholeNumber


class VoteIn(Input):
    """A vote for a post, or its withdrawal."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"post_id": 1, "dir": 1}]})

    post_id: Annotated[RowId, Field(description="the post")]
    # Not Literal[0, 1]: that takes true as well.
    dir: Annotated[int, Field(ge=0, le=1, description="1 votes for the post, 0 takes the vote back"), WholeNumber]


class VoteOut(BaseModel):
    """What happened, in words."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"detail": "Your vote was counted."}]})

    detail: str
