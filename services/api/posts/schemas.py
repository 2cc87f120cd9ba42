"""Posts as clients send and see them."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from services.api.fields import Input, OptionalText, Text
from services.api.users.schemas import UserOut


class PostIn(Input):
    """A whole post: POST and PUT both take all of it."""

    nama: Text
    umur: Annotated[int, Field(ge=0, le=2**31 - 1)]
    alamat: OptionalText
    published: bool = True
    no_hp: Annotated[OptionalText, Field(max_length=32)] | None = None


class PostOut(BaseModel):
    """A post with its owner and the number of its votes."""

    id: int
    nama: str
    umur: int
    alamat: str
    published: bool
    no_hp: str | None
    created_at: datetime
    owner_id: int
    owner: UserOut
    votes: int
