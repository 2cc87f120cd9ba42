from unittest import mock

import pytest
from argon2 import extract_parameters

from services.api.auth import password as hashing
from services.api.auth.password import _hasher, _nobody, hash_password, password_matches

HASH = hash_password("correct horse")


def test_the_right_password_matches() -> None:
    assert password_matches("correct horse", HASH)


@pytest.mark.parametrize("password", ["wrong horse", "correct hors", "Correct horse", "", "correct horse\0", "é" * 999])
def test_a_wrong_password_does_not_match(password: str) -> None:
    assert not password_matches(password, HASH)


# The last one's id is a word: with its salt in it, each process of the tests would have a test of another name.
_CUT = pytest.param(HASH[:-1] + "\0", id="cut")


@pytest.mark.parametrize("password_hash", [None, "!", "", "x" * 100, "$argon2id$v=19$broken", _CUT])
@pytest.mark.parametrize("password", ["!", "nobody has this password", ""])
def test_nobody_has_a_password(password: str, password_hash: str | None) -> None:
    assert not password_matches(password, password_hash)


@pytest.mark.parametrize("password_hash", [None, "!"])
def test_for_a_user_who_cannot_log_in_the_same_is_computed_as_for_one_who_can(password_hash: str | None) -> None:
    """What it takes: `make bench`. "!" is looked at before, and is no hash: that costs nothing."""
    with mock.patch.object(hashing, "_hasher", mock.Mock(wraps=_hasher)) as hasher:
        assert not password_matches("wrong horse", password_hash)
    asked = [call.args for call in hasher.verify.call_args_list if call.args[0] != "!"]
    assert [password for _, password in asked] == ["wrong horse"]
    assert extract_parameters(asked[0][0]) == extract_parameters(HASH)


def test_what_stands_for_no_user_is_hashed_as_users_are() -> None:
    assert not _hasher.check_needs_rehash(_nobody)


def test_hashes_are_argon2id_and_never_the_same() -> None:
    assert HASH.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert hash_password("correct horse") != HASH
