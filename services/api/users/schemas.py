"""Users as clients send and see them."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from services.api.fields import WITHOUT_NUL, Email, Input, OptionalText

EXAMPLE: JsonDict = {"id": 1, "email": "ani@example.com", "created_at": "2026-11-22T16:50:00Z"}


class UserIn(Input):
    """A registration."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"email": "ani@example.com", "password": "correct horse battery staple"}]}
    )

    email: Annotated[Email, Field(description="one account per address; upper and lower case are the same")]
    password: Annotated[
        OptionalText, Field(min_length=8, max_length=200, json_schema_extra={"format": "password"} | WITHOUT_NUL)
    ]


class UserOut(BaseModel):
    """A user without the password."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    id: int
    email: str
    created_at: datetime
