"""Where passwords are hashed: log-ins and registrations apart, so that neither shuts the other out.

Each has threads of its own and a bounded queue before them. In a queue each key (whoever one client is) has a line of
its own, and the lines are served by turns: whoever sends hundreds of requests waits behind themselves (decision 35).
"""

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from fastapi import Request

from services.api.problem import Problem

P = ParamSpec("P")
T = TypeVar("T")

_HOLD_SECONDS = 2.0


class Lane:
    """Threads of low priority for one kind of work, and the queue before them."""

    def __init__(self, name: str, threads: int, waiting: int, niceness: int) -> None:
        """Work in `threads` at the same time, while at most `waiting` others wait."""
        self._name = name
        self._threads = ThreadPoolExecutor(threads, f"hashing-{name}", _yield_to_others, (niceness,))
        self._free = threads
        self._room = waiting
        self._waiting = 0
        self._lines: dict[bytes, deque[asyncio.Future[None]]] = {}

    async def run(self, key: bytes, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work` in one of the threads when it is the key's turn; raises Problem 503 if the queue is full.

        Whoever is cancelled while they wait has cost nothing.
        """
        if self._free:
            self._free -= 1
        else:
            turn = self._join(key)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.cancelled():
                    self._leave(key, turn)
                elif turn.exception() is None:
                    self._next()  # it was our turn just now
                raise
        hashing = asyncio.wrap_future(self._threads.submit(work, *args, **kwargs))
        # Not when this request ends: a hash that nobody waits for any more keeps its thread until it is done.
        hashing.add_done_callback(lambda _: self._next())
        return await asyncio.shield(hashing)

    def close(self) -> None:
        """End the threads; whoever still waits is not served."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _join(self, key: bytes) -> asyncio.Future[None]:
        """Stand in the key's line. In a full queue the last of the longest line gives way, or whoever comes."""
        if self._waiting >= self._room:
            longest = max(self._lines, key=lambda other: len(self._lines[other]), default=key)
            if len(self._lines.get(longest, ())) <= len(self._lines.get(key, ())) + 1:
                raise self._full()
            last = self._lines[longest][-1]
            self._leave(longest, last)
            if not last.done():
                last.set_exception(self._full())
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(key, deque()).append(turn)
        self._waiting += 1
        return turn

    def _leave(self, key: bytes, turn: asyncio.Future[None]) -> None:
        line = self._lines.get(key)
        if line and turn in line:
            line.remove(turn)
            self._waiting -= 1
            if not line:
                del self._lines[key]

    def _next(self) -> None:
        """Give the thread that has become free to the first of the line that has waited longest for a turn."""
        while self._lines:
            key = next(iter(self._lines))
            line = self._lines.pop(key)
            turn = line.popleft()
            self._waiting -= 1
            if line:
                self._lines[key] = line  # behind the others
            if not turn.done():  # given up just now
                turn.set_result(None)
                return
        self._free += 1

    def _full(self) -> Problem:
        return Problem(503, f"Too many {self._name}s are under way. Try again shortly.", {"Retry-After": "1"})


class Hashing:
    """Where one worker hashes, and how it treats those who ask for too much of it."""

    def __init__(self, threads: int, waiting: int, may_be_held: int) -> None:
        """Give log-ins so many threads, registrations one. So many refusals at most are held back at the same time."""
        self.log_ins = Lane("log-in", threads, waiting, niceness=10)
        # A flood of them must not slow log-ins by more than what the processor has left.
        self.registrations = Lane("registration", 1, waiting, niceness=15)
        self._may_be_held = may_be_held

    async def attend(self, request: Request, work: Coroutine[Any, Any, T]) -> T:
        """Do the work of a request for as long as its client is there; its body must have been read.

        A refusal is held back for a while: whoever sends the next request as soon as the last one was answered spends
        their own time with it, not ours.
        """
        working = asyncio.ensure_future(work)
        # After the body comes only the news that the client has gone.
        gone = asyncio.ensure_future(request.receive())
        try:
            await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise Problem(503, "The client has gone.")  # nobody reads it; the log says 499
            refusal = working.exception()
            if isinstance(refusal, Problem) and refusal.status in (429, 503):
                await self._hold(gone)
            return working.result()
        finally:
            working.cancel()
            gone.cancel()

    def close(self) -> None:
        """End the threads; whoever still waits is not served."""
        self.log_ins.close()
        self.registrations.close()

    async def _hold(self, gone: asyncio.Future[Any]) -> None:
        if self._may_be_held > 0:
            self._may_be_held -= 1
            try:
                await asyncio.wait((gone,), timeout=_HOLD_SECONDS)
            finally:
                self._may_be_held += 1


def _yield_to_others(niceness: int) -> None:
    # Linux counts niceness per thread, and argon2's own threads inherit it. Still enough to come through under load.
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
