"""What a step does besides its statements: it waits, prints, connects over the network, starts a program.

Its transaction holds its locks meanwhile, and nothing of it is taken back. On the copy none of it lasts (hurried.py).
"""

import functools
import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from alembic.script import Script

from tangga import hurried
from tangga.guard.session import place

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

    def waits(self, seconds: float) -> None:
        self.note(f"waits {seconds:g} s")


# The step that runs now; an audit hook cannot be taken away again.
_now: list[_Seen] = []


@contextmanager
def besides(step: Script) -> Iterator[list[str]]:
    """Note, in the list that is yielded, what the step does in the body besides its statements."""
    _listen()
    seen = _Seen(step)
    _now.append(seen)
    hurried.told.append(seen.waits)
    try:
        with redirect_stdout(_Printed(sys.stdout)):
            yield seen.lines
    finally:
        hurried.told.remove(seen.waits)
        _now.remove(seen)


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
