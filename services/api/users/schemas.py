"""Users as clients send and see them."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from services.api.fields import Email, Input, OptionalText


class UserIn(Input):
    """A registration."""

    email: Email
    password: Annotated[OptionalText, Field(min_length=8, max_length=200)]


class UserOut(BaseModel):
    """A user without the password."""

    id: int
    email: str
    created_at: datetime
