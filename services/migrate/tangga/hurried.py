"""Where steps are tried out or printed, they wait for nothing: a sleep is cut short, a silent network given up."""

import functools
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_SLEEP_SECONDS = 0.1
_NETWORK_SECONDS = 10.0
_OURS = str(Path(__file__).parent)

# Who is told of a wait, in seconds as it was asked for: the last.
told: list[Callable[[float], None]] = []
# The time-outs of sockets before each of the runs that are going on.
_runs: list[float | None] = []


@contextmanager
def hurried() -> Iterator[None]:
    """Let the steps that run in the body wait for nothing; the body of another such run may be within it."""
    listen()
    _runs.append(socket.getdefaulttimeout())
    socket.setdefaulttimeout(_runs[-1] or _NETWORK_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(_runs.pop())


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in a body that has not ended after so many seconds, and again where it goes on in spite of it.

    A call into the driver is interrupted only when it returns: the server's statement_timeout bounds that. Only the
    main thread can be interrupted, and not on Windows.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise TimeoutError(f"it has not ended after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    somebodys = signal.setitimer(signal.ITIMER_REAL, seconds, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *somebodys)
        signal.signal(signal.SIGALRM, before)


@functools.cache
def listen() -> None:
    """Put a guard before time.sleep, once: before a file of a step takes it by its name. Outside of a run it sleeps."""
    sleep = time.sleep

    @functools.wraps(sleep)
    def asleep(seconds: float) -> None:
        # Who polls for the plan is one of us.
        if not _runs or sys._getframe(1).f_code.co_filename.startswith(_OURS):
            sleep(seconds)
            return
        for tell in told[-1:]:
            tell(seconds)
        sleep(min(seconds, _SLEEP_SECONDS))

    time.sleep = asleep  # type: ignore[assignment] # a number that is no float, and no int, is nobody's
