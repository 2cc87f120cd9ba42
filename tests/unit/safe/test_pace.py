"""How fast a backfill goes: batches of a quarter of a second, pauses when others need the server."""

import pytest

from tangga.safe.pace import Pace


def test_batches_grow_and_shrink_towards_a_quarter_of_a_second() -> None:
    pace = Pace(1000)
    pace.pause_after(0.125, 1000, 0)
    assert pace.size == 2000
    pace.pause_after(0.25, 2000, 0)
    assert pace.size == 2000
    pace.pause_after(0.5, 2000, 0)
    assert pace.size == 1000
    # Never by more than half or twice at once: one slow batch says little.
    pace.pause_after(25, 1000, 0)
    assert pace.size == 500
    pace.pause_after(0.001, 500, 0)
    assert pace.size == 1000


def test_a_batch_has_its_bounds() -> None:
    pace = Pace(40_000)
    pace.pause_after(0.01, 40_000, 0)
    assert pace.size == 50_000
    for _ in range(20):
        pace.gave_way()
    assert pace.size == 10
    pace.pause_after(9, 10, 0)
    assert pace.size == 10


def test_alone_it_does_not_pause() -> None:
    pace = Pace(100)
    # Up to twice as slow as the best of lately is how batches differ.
    assert [pace.pause_after(seconds, 100, 0) for seconds in (0.1, 0.12, 0.09, 0.17, 0.1)] == [0] * 5
    assert pace.paused == 0


@pytest.mark.parametrize(("waiting", "pause"), [(1, 0.1), (2, 0.2), (3, 0.3), (1000, 2.0)])
def test_each_session_that_waited_is_given_as_long_again(waiting: int, pause: float) -> None:
    pace = Pace(100)
    assert pace.pause_after(0.1, 100, waiting) == pytest.approx(pause)
    assert pace.paused == pytest.approx(pause)
    # And the next batch is smaller: this one was long enough to be in the way.
    assert pace.size == 50


def test_who_waits_for_a_moment_is_helped_by_the_pause_alone() -> None:
    pace = Pace(100)
    assert pace.pause_after(0.04, 100, 1) == pytest.approx(0.04)
    assert pace.size == 200


def test_a_server_that_is_slower_than_it_was_gets_a_pause() -> None:
    pace = Pace(100)
    pace.pause_after(0.1, 100, 0)
    assert pace.pause_after(0.25, 100, 0) == pytest.approx(0.25 * (0.25 / 0.102 - 2))
    assert pace.pause_after(0.5, 100, 0) == pytest.approx(0.5)


def test_what_was_best_is_forgotten_slowly() -> None:
    """Rows that `where` leaves out go faster than others ever can: once, and it would pause for ever."""
    pace = Pace(100)
    pace.pause_after(0.01, 100, 0)
    pauses = [pace.pause_after(0.1, 100, 0) for _ in range(200)]
    assert pauses[0] == pytest.approx(0.1)
    assert pauses[-1] == 0
