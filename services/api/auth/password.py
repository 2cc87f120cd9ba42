"""Password hashes: argon2id with the parameters of RFC 9106's second recommendation (64 MiB, 3 passes)."""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from services.api.problem import Problem

P = ParamSpec("P")
T = TypeVar("T")

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


class Hashing:
    """Where one worker hashes: threads of their own, of low priority, behind a bounded queue."""

    def __init__(self, threads: int, waiting: int) -> None:
        """Hash at most `threads` passwords at the same time, while at most `waiting` others wait."""
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="hashing", initializer=_yield_to_others)
        self._limit = threads + waiting
        self._under_way = 0

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work` in one of the threads and return its result; raises Problem 503 at once if the queue is full."""
        if self._under_way >= self._limit:
            raise Problem(503, "Too many log-ins are under way. Try again shortly.", {"Retry-After": "1"})
        self._under_way += 1
        try:
            # Not lambda: a request that is given up in the queue takes its work with it.
            return await asyncio.wrap_future(self._threads.submit(work, *args, **kwargs))
        finally:
            self._under_way -= 1

    def close(self) -> None:
        """End the threads; whoever still waits is not served."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _yield_to_others() -> None:
    # Linux counts niceness per thread, and argon2's own threads inherit it. Still enough to come through under load.
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
