"""What keeps a step that is tried out, or printed, from waiting and from going on for ever."""

import signal
import threading
import time

import pytest

from tangga.hurried import within


def test_a_body_that_does_not_end_is_ended() -> None:
    def endless() -> None:
        with within(0.05):
            while True:
                pass

    with pytest.raises(TimeoutError, match=r"it has not ended after 0\.05 s"):
        endless()


def test_one_that_goes_on_in_spite_of_it_is_ended_again() -> None:
    refused = 0
    with within(0.05):
        while refused < 2:
            try:
                time.sleep(10)
            except TimeoutError:
                refused += 1
    assert refused == 2


def test_what_somebody_else_has_set_comes_after_it() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: heard.append(number))
    signal.setitimer(signal.ITIMER_REAL, 100)
    try:
        with within(50):
            assert signal.getitimer(signal.ITIMER_REAL)[0] <= 50
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 50
        signal.raise_signal(signal.SIGALRM)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert heard == [signal.SIGALRM]


def test_a_thread_is_not_interrupted() -> None:
    ended: list[str] = []

    def body() -> None:
        with within(0.01):
            time.sleep(0.05)
        ended.append("by itself")

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert ended == ["by itself"]
