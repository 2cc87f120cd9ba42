"""How fast a backfill goes: as large as a batch of a quarter of a second, slower when others need the server."""

_BATCH_SECONDS = 0.25
_LARGEST_BATCH = 50_000
_SMALLEST_BATCH = 10
_LONGEST_PAUSE = 2.0


class Pace:
    """How many rows the next batch has (`size`), and for how many seconds the backfill has paused so far."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.paused = 0.0
        self._best = float("inf")

    def pause_after(self, seconds: float, rows: int, waiting: int) -> float:
        """Return how many seconds to pause after a batch, and choose the size of the next one.

        The batch took `seconds` for `rows` rows; `waiting` sessions waited for it at its end.
        """
        # The best rate is forgotten slowly: rows that `where` leaves out go faster than others ever can.
        self._best = min(self._best * 1.02, seconds / rows)
        pause = _pause(seconds, seconds / rows / self._best, waiting)
        self.size = _next_size(self.size, seconds, waiting)
        self.paused += pause
        return pause

    def gave_way(self) -> None:
        """Choose a smaller batch, for the last one could not get its rows."""
        self.size = max(_SMALLEST_BATCH, self.size // 2)


def _pause(seconds: float, slowness: float, waiting: int) -> float:
    """Return how long to pause after a batch that took `seconds`, `slowness` times the best of lately.

    Not at all up to twice the best; then up to as long as the batch took; as long again for each session that waited.
    """
    return min(_LONGEST_PAUSE, seconds * (min(1.0, max(0.0, slowness - 2)) + waiting))


def _next_size(size: int, seconds: float, waiting: int) -> int:
    """Return how many rows the next batch should have, to take as long as batches should.

    Fewer if somebody waited for this one; but who waits for a moment is helped by the pause, not by smaller batches.
    """
    wanted = 0.5 if waiting and seconds > _BATCH_SECONDS / 5 else min(2.0, max(0.5, _BATCH_SECONDS / seconds))
    return max(_SMALLEST_BATCH, min(_LARGEST_BATCH, int(size * wanted)))
