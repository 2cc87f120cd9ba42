"""Field types that more than one schema uses."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, EmailStr, Field


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain a NUL byte")
    return text


# PostgreSQL's text types cannot hold a NUL byte; the length bounds what one row can cost.
Text = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_no_nul)]
OptionalText = Annotated[str, Field(max_length=1000), AfterValidator(_no_nul)]
# One spelling of an address, so that one person has one account and logs in to the one that they registered.
Email = Annotated[EmailStr, Field(max_length=320), AfterValidator(str.lower)]


class Input(BaseModel):
    """Base of request bodies: a field that nobody knows is an error, not a silence."""

    model_config = ConfigDict(extra="forbid")
