"""One address, one spelling."""

# ruff: noqa: RUF001 - full-width letters are what is tested

import sys
import unicodedata

import pytest
from pydantic import TypeAdapter

from services.api.fields import Email

email: TypeAdapter[str] = TypeAdapter(Email)


@pytest.mark.parametrize(
    ("spellings", "address"),
    [
        (["ani@example.com", "ANI@EXAMPLE.COM", "ani@ＥＸＡＭＰＬＥ．com"], "ani@example.com"),
        (["ａｎｉ@example.com", "ＡＮＩ@example.com", "ani＠example。com"], "ani@example.com"),
        (
            ["ani@bücher.example.com", "ani@BÜCHER.example.com", "ani@XN--BCHER-KVA.example.com"],
            "ani@bücher.example.com",
        ),
        (["ani@bu\u0308cher.example.com", "ani@xn--bcher-kva.example.com"], "ani@bücher.example.com"),
        (["bücher@example.com", "BU\u0308CHER@example.com"], "bücher@example.com"),
        (["ﬁne①@example.com", "FINE1@example.com"], "fine1@example.com"),
        (["\u212aim@example.com"], "kim@example.com"),  # the sign for kelvin
    ],
)
def test_spellings_of_one_address_are_one(spellings: list[str], address: str) -> None:
    assert {email.validate_python(spelling) for spelling in [*spellings, address]} == {address}


@pytest.mark.parametrize(
    "text", ["Ani <ani@example.com>", "Ani ＜ani@example.com＞", "ani@example.com, budi@example.com", "ani"]
)
def test_what_is_no_address_alone_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - pydantic's
        email.validate_python(text)


def test_the_normal_form_of_a_normal_form_is_itself() -> None:
    # Characters that have another normal form, or another case: among them those that have another form again.
    changing = [c for c in map(chr, range(0x80, sys.maxunicode)) if unicodedata.normalize("NFKC", c.lower()) != c]
    accepted = 0
    for start in range(0, len(changing), 7):
        try:
            once = email.validate_python(f"a{changing[start]}@example.com")
        except ValueError:
            continue
        accepted += 1
        assert email.validate_python(once) == once
    assert accepted > 500
