"""Field types that more than one schema uses."""

from typing import Annotated
from unicodedata import normalize

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, validate_email
from pydantic.config import JsonDict

LARGEST_INTEGER = 2**31 - 1  # PostgreSQL's integer


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain a NUL byte")
    return text


def spelled_out(text: str) -> str:
    """Return the address in lower case, its domain as people read it; raises ValueError for what is no address.

    As EmailStr does it; but that loads email_validator (20 ms) with the module, and this when somebody registers.
    """
    if "<" in text:  # "Ani <ani@example.com>": it would drop the name
        raise ValueError("must be the address alone, without a name")
    return validate_email(text)[1].lower()


def _normal_form(text: str) -> str:
    # Full-width letters, ligatures and the like become plain ones. What is lower case may have another normal form.
    return normalize("NFKC", spelled_out(normalize("NFKC", text)))


def _whole_number(value: object) -> object:
    # In a path or a query everything is text, and int() would take " 1", "+1", "1.0" and "1_0": one row, many names.
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        raise ValueError("must consist of decimal digits")
    # To JSON, 30.0 is the integer 30.
    return int(value) if isinstance(value, float) and value.is_integer() else value


# PostgreSQL's text types cannot hold a NUL byte; the length bounds what one row can cost.
WITHOUT_NUL: JsonDict = {"pattern": "^[^\\u0000]*$"}
Text = Annotated[str, Field(min_length=1, max_length=1000, json_schema_extra=WITHOUT_NUL), AfterValidator(_no_nul)]
OptionalText = Annotated[str, Field(max_length=1000, json_schema_extra=WITHOUT_NUL), AfterValidator(_no_nul)]
# One spelling of an address, so that one person has one account and logs in to the one that they registered.
Email = Annotated[
    str,
    Field(max_length=320),
    AfterValidator(_normal_form),
    WithJsonSchema({"type": "string", "format": "email", "maxLength": 320}),
]
# Columns are 32 bits wide. A number that does not fit is refused here, not by the database.
WholeNumber = BeforeValidator(_whole_number)
Integer = Annotated[int, Field(ge=0, le=LARGEST_INTEGER), WholeNumber]
RowId = Annotated[int, Field(ge=1, le=LARGEST_INTEGER), WholeNumber]


class Input(BaseModel):
    """Base of request bodies: unknown fields and values of another JSON type ("30" or true for 30) are errors."""

    model_config = ConfigDict(extra="forbid", strict=True)
