import time

import pytest

from services.api.auth.password import _hasher, _nobody, hash_password, password_matches

HASH = hash_password("correct horse")


def _seconds(password_hash: str | None) -> float:
    # Of the processor, all threads: other programs on the machine do not count.
    times = []
    for _ in range(3):
        start = time.process_time()
        assert not password_matches("wrong horse", password_hash)
        times.append(time.process_time() - start)
    return min(times)


def test_the_right_password_matches() -> None:
    assert password_matches("correct horse", HASH)


@pytest.mark.parametrize("password", ["wrong horse", "correct hors", "Correct horse", "", "correct horse\0", "é" * 999])
def test_a_wrong_password_does_not_match(password: str) -> None:
    assert not password_matches(password, HASH)


@pytest.mark.parametrize("password_hash", [None, "!", "", "x" * 100, "$argon2id$v=19$broken", HASH[:-1] + "\0"])
@pytest.mark.parametrize("password", ["!", "nobody has this password", ""])
def test_nobody_has_a_password(password: str, password_hash: str | None) -> None:
    assert not password_matches(password, password_hash)


@pytest.mark.parametrize("password_hash", [None, "!"])
def test_a_user_who_cannot_log_in_takes_as_long_as_one_who_can(password_hash: str | None) -> None:
    assert _seconds(password_hash) > _seconds(HASH) / 2


def test_what_stands_for_no_user_is_hashed_as_users_are() -> None:
    assert not _hasher.check_needs_rehash(_nobody)


def test_hashes_are_argon2id_and_never_the_same() -> None:
    assert HASH.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert hash_password("correct horse") != HASH
