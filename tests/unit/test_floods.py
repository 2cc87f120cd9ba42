"""What `make bench-floods` sends, and what it makes of the answers."""

import asyncio
from collections import Counter

import pytest

from tests.load import attacker
from tests.load.floods import ASKED, NONE, Turn, missed, ratios, rows, table


@pytest.mark.parametrize("kind", attacker.KINDS)
def test_a_request_is_whole_and_no_two_are_of_the_same(kind: str) -> None:
    head, _, body = attacker.request(kind, "a1").partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0].endswith(b" HTTP/1.1")
    assert b"Host: localhost" in lines
    assert (f"Content-Length: {len(body)}".encode() in lines) == bool(body)
    assert (b"Connection: close" in lines) == (kind in attacker.NEW)
    assert (attacker.request(kind, "a2") != attacker.request(kind, "a1")) == (kind not in attacker.NEW)


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", ("200", True)),
        (b"HTTP/1.1 429 Too Many\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", ("429", False)),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", ("404", False)),
    ],
)
def test_an_answer_is_read_to_its_end(answer: bytes, read: tuple[str, bool]) -> None:
    async def inside() -> tuple[str, bool]:
        reader = asyncio.StreamReader()
        reader.feed_data(answer)
        return await attacker.answered(reader)

    assert asyncio.run(inside()) == read


def test_an_answer_that_is_cut_off_is_none() -> None:
    async def inside() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[")
        reader.feed_eof()
        await attacker.answered(reader)

    with pytest.raises(asyncio.IncompleteReadError):
        asyncio.run(inside())


def _turn(flood: str, number: int, milliseconds: float, **more: Counter[str]) -> Turn:
    return Turn("api", flood, number, {asked: [milliseconds / 1000] * 3 for asked in ASKED}, **more)


def test_a_flood_is_compared_with_none_of_the_same_round() -> None:
    turns = [_turn(NONE, 0, 10), _turn("searches", 0, 20), _turn("searches", 1, 90), _turn(NONE, 1, 30)]
    assert ratios(turns, "api", "searches", "read") == pytest.approx([2, 3])
    assert ratios([*turns, _turn("searches", 2, 1)], "api", "searches", "read") == pytest.approx([2, 3])
    assert ratios(turns, "proxy", "searches", "read") == []


def test_the_table() -> None:
    turns = [_turn(NONE, 0, 10), _turn("searches", 0, 20, attacker=Counter({"429": 2, "200": 7}))]
    without, beside = rows(turns)
    assert without == ["api", NONE, "10", "10", "10", "10", "-", "-"]
    assert beside == ["api", "searches", *["20 (2.0)"] * 4, "-", "200: 7 429: 2"]
    assert table([["a", "bb"], ["ccc", ""]]) == "a    bb\nccc"


def test_what_is_missed() -> None:
    good = [_turn(NONE, 0, 10), _turn("searches", 0, 20)]
    assert missed(good) == []
    slow = [_turn(NONE, 0, 10), _turn("searches", 0, 1000)]
    assert [line.partition(" times")[0] for line in missed(slow)] == [f"api, searches, {a}: 100.0" for a in ASKED]
    refused = [good[0], _turn("searches", 0, 20, refused=Counter({"log-in 503": 1}))]
    assert missed(refused) == ["api, searches: the victim was refused: log-in 503: 1"]
    unbounded = [good[0], _turn("connections", 0, 1000)]
    assert missed(unbounded) == []
    nobody = [good[0], Turn("api", "searches", 0, {})]
    assert len([line for line in missed(nobody) if "not answered" in line]) == len(ASKED)
