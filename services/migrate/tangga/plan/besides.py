"""What a step does besides its statements: it waits, prints, connects over the network, starts a program.

Its transaction holds its locks meanwhile, and nothing of it is taken back. On the copy a wait is cut short, and a
network that does not answer is given up, so that a plan comes to an end.
"""

import functools
import io
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

from alembic.script import Script

from tangga.guard.session import place

_SLEEP_SECONDS = 0.1
_NETWORK_SECONDS = 10.0
_OURS = str(Path(__file__).parents[1])
_PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn")


class _Seen:
    """One step's run: the thread that it is in, and what was seen, in words."""

    def __init__(self, step: Script) -> None:
        self.lines: list[str] = []
        self._step = step
        self._thread = threading.get_ident()

    def note(self, what: str) -> None:
        if threading.get_ident() != self._thread:
            return
        line = f"{what} at {place(self._step)}"
        if line not in self.lines:
            self.lines.append(line)


# The step that runs now; an audit hook cannot be taken away again.
_now: list[_Seen] = []


@contextmanager
def besides(step: Script) -> Iterator[list[str]]:
    """Note, in the list that is yielded, what the step does in the body besides its statements."""
    _listen()
    seen = _Seen(step)
    _now.append(seen)
    try:
        with hurried(), redirect_stdout(_Printed(sys.stdout)):
            yield seen.lines
    finally:
        _now.remove(seen)


@contextmanager
def hurried() -> Iterator[None]:
    """Let steps wait for nothing in the body: not when they are tried out, and not when they are printed."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(before or _NETWORK_SECONDS)
    try:
        with mock.patch.object(time, "sleep", _sleeping(time.sleep)):
            yield
    finally:
        socket.setdefaulttimeout(before)


@functools.cache
def _listen() -> None:
    sys.addaudithook(_heard)


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if not _now:
        return
    if event == "socket.connect":
        address = arguments[1]
        where = ":".join(map(str, address[:2])) if isinstance(address, tuple) else str(address)
        _now[-1].note(f"connects to {where}")
    elif event in _PROGRAMS:
        _now[-1].note(f"starts the program {arguments[0]!s}")


def _sleeping(sleep: Any) -> Any:
    def asleep(seconds: float) -> None:
        # Who polls for the plan is one of us.
        if sys._getframe(1).f_code.co_filename.startswith(_OURS):
            sleep(seconds)
            return
        if _now:
            _now[-1].note(f"waits {seconds:g} s")
        sleep(min(seconds, _SLEEP_SECONDS))

    return asleep


class _Printed(io.TextIOBase):
    """What a step prints, noted and passed on."""

    def __init__(self, to: Any) -> None:
        self._to = to

    def write(self, text: str) -> int:
        """Pass on; what is not blank is noted."""
        if text.strip() and _now:
            _now[-1].note("prints")
        self._to.write(text)
        return len(text)

    def flush(self) -> None:
        """Pass on."""
        self._to.flush()
