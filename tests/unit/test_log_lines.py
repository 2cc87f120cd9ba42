import asyncio
import json
import logging
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import pytest
from pydantic import BaseModel

from services.api.observe import logs
from services.api.settings import LogFormat

HOSTILE = 'a\n{"event": "forged"}\r\x1b[2J\x00\x9b\u2028"\\\ud800é'
REQUEST = {
    "time": datetime(2026, 11, 23, 3, 0, 0, 123456, UTC),
    "level": "info",
    "event": "request",
    "request_id": "r-1",
    "trace_id": "t",
    "span_id": "s",
    "parent_id": None,
    "method": "GET",
    "route": "/posts/{post_id}",
    "status": 200,
    "duration_ms": 1.234,
    "database_ms": 0.5,
    "statements": 1,
    "user_id": 7,
    "client": "127.0.0.1",
    "bytes": 10,
    "pid": 1,
}


def _record(name: str, message: str, *arguments: object, error: BaseException | None = None, **extra: Any) -> Any:
    info = (type(error), error, error.__traceback__) if error else None
    return logging.getLogger(name).makeRecord(name, logging.WARNING, "f", 1, message, arguments, info, extra=extra)


def _written(capfd: pytest.CaptureFixture[str], record: logging.LogRecord, text: bool = False) -> str:
    logs.Handler(text).emit(record)
    return capfd.readouterr().out


def test_our_events_are_constants_with_fields(capfd: pytest.CaptureFixture[str]) -> None:
    [line] = _written(capfd, _record("tangga.api", "database_unreachable", reason="gone")).splitlines()
    fields = json.loads(line)
    assert datetime.fromisoformat(fields.pop("time")).tzinfo
    assert fields.pop("pid")
    assert fields == {"level": "warning", "event": "database_unreachable", "reason": "gone"}


def test_a_librarys_words_are_its_message() -> None:
    fields = logs.fields_of(_record("gunicorn.error", "Booting %s", "worker"))
    assert (fields["event"], fields["message"]) == ("gunicorn", "Booting worker")


@pytest.mark.parametrize("text", [False, True])
def test_nothing_that_is_logged_can_begin_a_line_of_its_own(text: bool, capfd: pytest.CaptureFixture[str]) -> None:
    record = _record("other", HOSTILE, reason=HOSTILE, error=ValueError(HOSTILE))
    lines = _written(capfd, record, text).split("\n")
    if not text:
        assert json.loads(lines[0])["event"] == "other"
        assert lines[1:] == [""]
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for line in lines for character in line)
    assert all(line.startswith("    ") for line in lines[1:-1])


def test_a_field_that_is_no_json_is_shown_as_text(capfd: pytest.CaptureFixture[str]) -> None:
    fields = json.loads(_written(capfd, _record("tangga.x", "event", a={1}, b=ValueError("c"), d=None)))
    assert (fields["a"], fields["b"], fields["d"]) == ("{1}", "c", None)


def test_text_is_for_people(capfd: pytest.CaptureFixture[str]) -> None:
    logs.write_request(REQUEST, text=True)
    words = capfd.readouterr().out
    assert "GET /posts/{post_id} 200 1.2 ms" in words
    assert "user_id=7" in words
    assert "warning database_unreachable reason=gone" in _written(
        capfd, _record("tangga.x", "database_unreachable", reason="gone"), text=True
    )


def test_lines_are_written_whole_and_together() -> None:
    written: list[bytes] = []

    async def many() -> None:
        for _ in range(100):
            logs.write_request(REQUEST, text=False)
        assert sum(lines.count(b"\n") for lines in written) < 100
        async with asyncio.timeout(300):
            while sum(lines.count(b"\n") for lines in written) < 100:  # without another one, the last ones follow
                await asyncio.sleep(0.01)

    with mock.patch("os.write", lambda _descriptor, lines: written.append(lines)):
        asyncio.run(many())
    # PIPE_BUF: what is shorter is never mixed with what another worker writes.
    assert max(map(len, written)) <= 4096
    assert len(written) < 20
    lines = b"".join(written).splitlines()
    assert len(lines) == 100
    assert {json.loads(line)["time"] for line in lines} == {"2026-11-23T03:00:00.123456Z"}


def test_the_line_of_an_error_comes_after_those_of_the_requests_before_it() -> None:
    written: list[bytes] = []

    async def both() -> None:
        logs.write_request(REQUEST, text=False)
        logs.Handler(text=False).emit(_record("tangga.x", "later"))

    with mock.patch("os.write", lambda _descriptor, lines: written.append(lines)):
        asyncio.run(both())
    assert [json.loads(line)["event"] for line in b"".join(written).splitlines()] == ["request", "later"]


@pytest.mark.parametrize(
    ("wanted", "terminal", "text"),
    [("auto", True, True), ("auto", False, False), ("json", True, False), ("text", False, True)],
)
def test_people_at_a_terminal_get_text(
    wanted: LogFormat, terminal: bool, text: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.isatty", lambda _descriptor: terminal)
    assert logs.is_text(wanted) is text


def test_a_traceback_names_causes_and_ends_with_the_error() -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise RuntimeError("outer") from inner
    except RuntimeError as error:
        text = logs.traceback_of(error)
    assert "KeyError: 'inner'" in text
    assert text.endswith("builtins.RuntimeError: outer")
    assert __file__ in text


def test_a_traceback_is_bounded() -> None:
    assert len(logs.traceback_of(ValueError("x" * 100_000))) == 8000


def test_a_traceback_does_not_show_what_was_sent() -> None:
    class Model(BaseModel):
        number: int

    sent = {"number": "secret"}
    with pytest.raises(ValueError, match="secret") as raised:
        Model.model_validate(sent)
    assert "secret" not in logs.traceback_of(raised.value)
    assert "('number',), 'int_parsing'" in logs.traceback_of(raised.value)
