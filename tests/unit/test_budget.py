import pytest

from services.api.observe.budget import Server, shortage


@pytest.mark.parametrize(
    ("server", "replicas", "workers", "pool"),
    [
        (Server(100, 3, 0), 1, 2, 5),
        (Server(100, 3, 0), 1, 1, 92),
        (Server(100, 3, 5), 4, 23, 1),
        (Server(100, 3, 20), 1, 1, 77),
        (Server(100, 3, 0, 92), 1, 1, 92),
    ],
    ids=str,
)
def test_what_fits_is_no_matter(server: Server, replicas: int, workers: int, pool: int) -> None:
    assert shortage(server, replicas, workers, pool) is None


@pytest.mark.parametrize(
    ("server", "sizes", "numbers"),
    [
        (Server(100, 3, 0), (1, 1, 93), ["open 93", "PostgreSQL has 92", "at most 92"]),
        (Server(100, 3, 20), (1, 1, 78), ["open 78", "PostgreSQL has 77", "20 for other", "at most 77"]),
        (Server(100, 13, 0), (3, 4, 10), ["open 120", "3 replicas", "4 workers", "10 (DB_POOL", "has 82", "most 6"]),
        (Server(20, 3, 50), (2, 2, 5), ["open 20", "PostgreSQL has 0", "at most 1"]),
        (Server(100, 3, 0, 40), (2, 3, 7), ["open 42", "PostgreSQL has 40", "may have 40", "at most 6"]),
    ],
    ids=str,
)
def test_what_does_not_fit_is_said_with_numbers_and_remedies(
    server: Server, sizes: tuple[int, int, int], numbers: list[str]
) -> None:
    words = shortage(server, *sizes)
    assert words
    for part in [*numbers, "DB_POOL_SIZE", "WEB_CONCURRENCY", "API_REPLICAS", "max_connections"]:
        assert part in words
