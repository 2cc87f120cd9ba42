from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import jwt
import pytest
from fastapi import FastAPI, Request
from pydantic import SecretStr

from services.api.auth.token import bearer_user_id, make_token
from services.api.problem import Problem
from services.api.settings import Settings

KEY = "a key for tests that is long enough"
PREVIOUS = "the key for tests before that one"
SETTINGS = Settings.model_construct(token_minutes=5, token_key=SecretStr(KEY), token_key_previous=SecretStr(PREVIOUS))
SOON = datetime.now(UTC) + timedelta(minutes=5)
# Ids that no row can have, and ways to write 42 that make_token does not.
NOBODYS = [
    "2147483648",
    "99999999999999999999",
    "9" * 5000,
    "0",
    "-1",
    "-42",
    " 42",
    "42\n",
    "+42",
    "042",
    "4_2",
    "\uff14\uff12",
    "٤٢",
]


def _request(authorization: str | None) -> Request:
    carrier = FastAPI()
    carrier.state.settings = SETTINGS
    headers = [] if authorization is None else [(b"authorization", authorization.encode())]
    return Request({"type": "http", "headers": headers, "app": carrier})


def _bearer(claims: dict[str, Any], key: str = KEY, algorithm: str = "HS256") -> str:
    return f"Bearer {jwt.encode(claims, key, algorithm)}"


def test_a_fresh_token_names_its_user() -> None:
    token = make_token(42, SETTINGS)
    assert bearer_user_id(_request(f"Bearer {token}")) == 42
    assert bearer_user_id(_request(f"bEARER  {token} ")) == 42


def test_a_token_expires_after_the_minutes_that_are_set() -> None:
    claims = jwt.decode(make_token(42, SETTINGS), KEY, ["HS256"])
    assert 0 < claims["exp"] - datetime.now(UTC).timestamp() <= 300


def test_tokens_signed_by_hand_as_the_other_tests_do_are_accepted() -> None:
    assert bearer_user_id(_request(_bearer({"sub": "42", "exp": SOON}))) == 42


def test_the_largest_id_is_somebodys() -> None:
    assert bearer_user_id(_request(_bearer({"sub": "2147483647", "exp": SOON}))) == 2**31 - 1


def test_the_previous_key_is_believed_and_does_not_sign() -> None:
    assert bearer_user_id(_request(_bearer({"sub": "42", "exp": SOON}, key=PREVIOUS))) == 42
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(make_token(42, SETTINGS), PREVIOUS, ["HS256"])


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer nonsense",
        "Bearer a.b.c",
        "Bearer \xff",
        f"Basic {make_token(42, SETTINGS)}",
        make_token(42, SETTINGS),
        _bearer({"sub": "42", "exp": SOON}) + "x",
        _bearer({"sub": "42", "exp": SOON - timedelta(minutes=6)}),
        _bearer({"sub": "42", "exp": SOON}, key="another key that is long enough, too"),
        _bearer({"sub": "42", "exp": SOON}, key="", algorithm="none"),
        _bearer({"sub": "42", "exp": SOON}, key=KEY * 2, algorithm="HS512"),
        _bearer({"sub": "42", "exp": SOON}, key=KEY * 2, algorithm="HS384"),
        _bearer({"sub": "42", "exp": SOON - timedelta(minutes=6)}, key=PREVIOUS),
        _bearer({"sub": "42"}),
        _bearer({"exp": SOON}),
        _bearer({"sub": "", "exp": SOON}),
        _bearer({"sub": "somebody", "exp": SOON}),
        _bearer({"sub": "4.2", "exp": SOON}),
        *(_bearer({"sub": sub, "exp": SOON}) for sub in NOBODYS),
        _bearer({"sub": "42", "exp": "soon"}),
        _bearer({"sub": "42", "exp": SOON, "nbf": SOON}),
    ],
    ids=count(),  # tokens differ from one process of the tests to the next
)
def test_any_other_authorization_is_401(authorization: str | None) -> None:
    with pytest.raises(Problem) as raised:
        bearer_user_id(_request(authorization))
    assert raised.value.status == 401
    assert raised.value.headers == {"WWW-Authenticate": "Bearer"}
