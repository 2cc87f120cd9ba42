"""Where steps are tried out or printed, they wait for nothing: a sleep is cut short, a silent network given up."""

import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

_SLEEP_SECONDS = 0.1
_NETWORK_SECONDS = 10.0
_OURS = str(Path(__file__).parent)

# Who is told of a wait, in seconds as it was asked for: the last.
told: list[Callable[[float], None]] = []


@contextmanager
def hurried() -> Iterator[None]:
    """Let the steps that run in the body wait for nothing; the body of another such run may be within it."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(before or _NETWORK_SECONDS)
    try:
        with mock.patch.object(time, "sleep", _sleeping(time.sleep)):
            yield
    finally:
        socket.setdefaulttimeout(before)


def _sleeping(sleep: Any) -> Any:
    def asleep(seconds: float) -> None:
        # Who polls for the plan is one of us; and so is an outer run, which has been told.
        if sys._getframe(1).f_code.co_filename.startswith(_OURS):
            sleep(seconds)
            return
        for tell in told[-1:]:
            tell(seconds)
        sleep(min(seconds, _SLEEP_SECONDS))

    return asleep
