"""Posts as clients send and see them."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from services.api.fields import Input, Integer, OptionalText, Text
from services.api.users.schemas import EXAMPLE as OWNER
from services.api.users.schemas import UserOut

_WRITTEN: JsonDict = {
    "nama": "Ani",
    "umur": 30,
    "alamat": "Jl. Melati 1",
    "published": True,
    "no_hp": "+62 812 3456 7890",
}
EXAMPLE: JsonDict = _WRITTEN | {
    "id": 1,
    "created_at": OWNER["created_at"],
    "owner_id": OWNER["id"],
    "owner": OWNER,
    "votes": 2,
}


class PostIn(Input):
    """A whole post: POST and PUT both take all of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_WRITTEN]})

    nama: Annotated[Text, Field(description="name")]
    umur: Annotated[Integer, Field(description="age")]
    alamat: Annotated[OptionalText, Field(description="address")]
    published: bool = True
    no_hp: Annotated[Annotated[OptionalText, Field(max_length=32)] | None, Field(description="phone number")] = None


class PostOut(BaseModel):
    """A post with its owner and the number of its votes."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

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
