"""Field types that more than one schema uses."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain a NUL byte")
    return text


# PostgreSQL's text types cannot hold a NUL byte; the length bounds what one row can cost.
Text = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_no_nul)]
OptionalText = Annotated[str, Field(max_length=1000), AfterValidator(_no_nul)]


class Input(BaseModel):
    """Base of request bodies: a field that nobody knows is an error, not a silence."""

    model_config = ConfigDict(extra="forbid")
