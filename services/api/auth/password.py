"""Password hashes: argon2id with the parameters of RFC 9106's second recommendation (64 MiB, 3 passes)."""

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_hasher = PasswordHasher()
# Verified against when there is no such user, so that the answer takes as long as for a wrong password. The hash of a
# random text that was thrown away; made here, it would lengthen every start by a sixth of a second.
_nobody = "$argon2id$v=19$m=65536,t=3,p=4$PaBRopRmMleZVnD7oj1S8w$E+6fPB2ZSdixFXZFiF1AEcAGmzb/qE01DzwJITdf9NM"


def hash_password(password: str) -> str:
    """Return an argon2id hash. Takes tens of milliseconds of CPU and 64 MiB, on purpose."""
    return _hasher.hash(password)


def password_matches(password: str, password_hash: str | None) -> bool:
    """Compare in the same time whether the user exists (`password_hash` given) or not."""
    try:
        return (
            _hasher.verify(_nobody if password_hash is None else password_hash, password) and password_hash is not None
        )
    except InvalidHashError:
        # Not a hash at all: the placeholder owner's "!".
        return password_matches(password, None)
    except VerificationError:
        return False
