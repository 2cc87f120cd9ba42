"""Whose turn it is to have a password hashed, and what becomes of those who do not wait."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from unittest import mock

import pytest
from fastapi import Request
from starlette.types import Message

from services.api.auth import hashing
from services.api.auth.hashing import Hashing, Lane
from services.api.problem import Problem


class Work:
    """A lane of one thread that waits for every piece of work to be let go; `done` says in which order they went."""

    def __init__(self, waiting: int) -> None:
        self.lane = Lane("log-in", 1, waiting, niceness=10)
        self.done: list[str] = []
        self._go_on = threading.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def send(self, *names: str) -> None:
        """Send in work; the first letter is the key."""
        for name in names:
            self._tasks[name] = asyncio.create_task(self.lane.run(name[0].encode(), self._work, name))
            await asyncio.sleep(0)

    def give_up(self, name: str) -> None:
        self._tasks[name].cancel()

    async def outcomes(self) -> dict[str, str]:
        """Let everything go; return what became of what was not done."""
        self._go_on.set()
        try:
            results = await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        finally:
            self.lane.close()
        pairs = zip(self._tasks, results, strict=True)
        return {name: type(result).__name__ for name, result in pairs if result is not None}

    def _work(self, name: str) -> None:
        assert self._go_on.wait(600)
        self.done.append(name)


def _run(waiting: int, scene: Callable[[Work], Awaitable[None]]) -> tuple[list[str], dict[str, str]]:
    async def inside() -> tuple[list[str], dict[str, str]]:
        work = Work(waiting)
        await scene(work)
        outcomes = await work.outcomes()
        return work.done, outcomes

    return asyncio.run(inside())


def test_whoever_sends_many_waits_behind_themselves() -> None:
    async def scene(work: Work) -> None:
        await work.send("a1", "a2", "a3", "a4", "b1", "c1", "b2")

    assert _run(10, scene) == (["a1", "a2", "b1", "c1", "a3", "b2", "a4"], {})


def test_in_a_full_queue_the_longest_line_gives_way_to_a_shorter_one_and_to_no_other() -> None:
    async def scene(work: Work) -> None:
        await work.send("a1", "a2", "a3", "a4", "a5")  # a1 is at it; the queue has room for three
        await work.send("b1", "b2", "c1", "d1")

    done, outcomes = _run(3, scene)
    assert done == ["a1", "a2", "b1", "c1"]
    assert outcomes == dict.fromkeys(["a3", "a4", "a5", "b2", "d1"], "Problem")


def test_without_room_nobody_waits() -> None:
    async def scene(work: Work) -> None:
        await work.send("a1", "b1")

    assert _run(0, scene) == (["a1"], {"b1": "Problem"})


def test_who_gives_up_in_the_queue_costs_nothing_and_who_gives_up_at_work_keeps_the_thread_till_the_end() -> None:
    async def scene(work: Work) -> None:
        await work.send("a1", "a2", "b1", "c1")
        for name in ("a1", "a2", "c1"):
            work.give_up(name)
        await asyncio.sleep(0)
        await work.send("d1", "e1")

    done, outcomes = _run(3, scene)
    assert done == ["a1", "b1", "d1", "e1"]
    assert outcomes == dict.fromkeys(["a1", "a2", "c1"], "CancelledError")


def test_a_turn_that_comes_when_it_is_given_up_is_passed_on() -> None:
    async def scene(work: Work) -> None:
        await work.send("a1", "b1", "c1")
        work.lane._next()  # b1's turn has come, but b1 has not heard of it
        work.give_up("b1")

    done, outcomes = _run(3, scene)
    assert (sorted(done), outcomes) == (["a1", "c1"], {"b1": "CancelledError"})


class Client:
    """A client whose request has been read, and who may leave."""

    def __init__(self) -> None:
        self._gone = asyncio.Event()
        self.request = Request({"type": "http", "headers": []}, self._receive)

    def leave(self) -> None:
        self._gone.set()

    async def _receive(self) -> Message:
        await self._gone.wait()
        return {"type": "http.disconnect"}


async def _refuse(status: int) -> None:
    raise Problem(status, "")


@pytest.mark.parametrize(
    ("status", "may_be_held", "held"), [(429, 1, True), (503, 1, True), (401, 1, False), (429, 0, False)]
)
def test_a_refusal_is_held_back_if_it_may_be(status: int, may_be_held: int, held: bool) -> None:
    async def inside() -> None:
        with mock.patch.object(hashing, "_HOLD_SECONDS", 600):
            client, worker = Client(), Hashing(1, 0, may_be_held)
            refusal = asyncio.create_task(worker.attend(client.request, _refuse(status)))
            done, _ = await asyncio.wait((refusal,), timeout=0.2)
            assert (not done) == held
            client.leave()  # nobody is left to hold it for
            with pytest.raises(Problem):
                await asyncio.wait_for(refusal, 300)
            assert worker._may_be_held == may_be_held
            worker.close()

    asyncio.run(inside())


def test_work_ends_with_its_client() -> None:
    async def inside() -> None:
        client, worker = Client(), Hashing(1, 0, 0)
        ended = asyncio.Event()

        async def work() -> None:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(600)
            ended.set()

        attended = asyncio.create_task(worker.attend(client.request, work()))
        await asyncio.sleep(0.05)
        assert not attended.done()
        client.leave()
        with pytest.raises(Problem):
            await asyncio.wait_for(attended, 300)
        await asyncio.wait_for(ended.wait(), 300)
        worker.close()

    asyncio.run(inside())
