"""Log lines on stdout: JSON, one object per line, or text for people.

An event has a constant name; what varies stands in fields (docs/observability.md lists both). The line of each request
is written by the middleware (services/api/middleware/observe.py); everything else goes through `logging` to here.
"""

import asyncio
import json
import logging
import os
import traceback
from datetime import UTC, datetime
from typing import Any

import orjson
import psycopg2
from pydantic import ValidationError

from services.api.settings import LogFormat, LogLevel

_STDOUT = 1
# So many bytes arrive in a pipe undivided, whatever other workers write (PIPE_BUF of Linux).
_ATOMIC = 4096
_FLUSH_SECONDS = 0.05
_waiting = bytearray()
_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z
# So long a line still arrives whole, between those of other workers, unless the pipe is full. The end tells the most.
_TRACEBACK_CHARACTERS = 8000
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
# What a terminal would obey instead of showing, the line's own end included.
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    code: f"\\u{code:04x}" for code in (0x2028, 0x2029)
}


def is_text(log_format: LogFormat) -> bool:
    """Tell whether lines are for people: asked for, or stdout is a terminal."""
    return log_format == "text" or (log_format == "auto" and os.isatty(_STDOUT))


def write_request(fields: dict[str, Any], text: bool) -> None:
    """Write the line of one request: there are many, and every value in it is bounded and of ASCII characters.

    As JSON it is written together with those of the next moment: each write wakes whoever collects the lines, which
    takes longer than all that the API itself does for a line (decision 20).
    """
    if text:
        _write(_as_text(fields))
        return
    line = orjson.dumps(fields, option=_OPTIONS)
    if len(_waiting) + len(line) > _ATOMIC:
        flush()
    if not _waiting:
        asyncio.get_running_loop().call_later(_FLUSH_SECONDS, flush)
    _waiting.extend(line)


def flush() -> None:
    """Write the lines of requests that wait."""
    if _waiting:
        lines = bytes(_waiting)
        _waiting.clear()
        _write_now(lines)


class Handler(logging.Handler):
    """Turns records of `logging` into the same lines."""

    def __init__(self, text: bool) -> None:
        super().__init__()
        self._text = text

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record."""
        fields = fields_of(record)
        _write(_as_text(fields) if self._text else _as_json(fields))


def set_up(log_format: LogFormat, level: LogLevel) -> None:
    """Send everything that is logged in this process to stdout; of libraries, only what is a warning at least."""
    logging.root.handlers = [Handler(is_text(log_format))]
    logging.root.setLevel("ERROR" if level == "error" else "WARNING")
    logging.getLogger("tangga").setLevel(level.upper())
    logging.captureWarnings(True)


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return a record's fields. The event of a library's line is the library's name, and its words are `message`."""
    fields: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC),
        "level": record.levelname.lower(),
        "event": record.name.partition(".")[0],
    }
    if fields["event"] == "tangga":
        fields["event"] = record.msg
    else:
        fields["message"] = record.getMessage()
    fields |= {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
    fields["pid"] = record.process
    if record.exc_info and record.exc_info[1]:
        fields["traceback"] = traceback_of(record.exc_info[1])
    return fields


def traceback_of(error: BaseException) -> str:
    """Format an error and its causes, without what a client sent: PostgreSQL's DETAIL and pydantic's words hold it.

    Longer than 8,000 characters, it loses its beginning.
    """
    parts: list[str] = []
    link: BaseException | None = error
    while link:
        parts.insert(0, "".join(traceback.format_tb(link.__traceback__)) + _own_line(link))
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "\n".join(parts)[-_TRACEBACK_CHARACTERS:]


def _own_line(error: BaseException) -> str:
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    if isinstance(error, psycopg2.Error):
        return f"{name}: {error.pgcode} {error.diag.message_primary or error}"
    if isinstance(error, ValidationError):
        return f"{name}: {[(problem['loc'], problem['type']) for problem in error.errors(include_input=False)]}"
    return f"{name}: {error}"


def _write(line: bytes) -> None:
    flush()
    _write_now(line)


def _write_now(line: bytes) -> None:
    # In one system call. A log that nobody reads any more is no reason to fail.
    try:  # noqa: SIM105 - suppress() would cost a microsecond
        os.write(_STDOUT, line)
    except OSError:
        pass


def _as_json(fields: dict[str, Any]) -> bytes:
    """Escape whatever is not ASCII, so that no terminal and no collector of lines sees a control character."""
    plain = {name: _characters(value) if isinstance(value, str) else value for name, value in fields.items()}
    return json.dumps(plain, default=_as_string, separators=(",", ":")).encode() + b"\n"


def _as_string(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return _characters(str(value))


def _characters(text: str) -> str:
    """Return text that UTF-8 can carry: a lone surrogate, which strict readers of JSON refuse, becomes an escape."""
    return text.encode(errors="backslashreplace").decode()


def _as_text(fields: dict[str, Any]) -> bytes:
    rest = dict(fields)
    time, level, event = rest.pop("time").astimezone(), rest.pop("level"), rest.pop("event")
    stack = rest.pop("traceback", "")
    if event == "request":
        words = "{method} {route} {status} {duration_ms:.1f} ms".format_map(rest)
        for shown in ("method", "route", "status", "duration_ms", "trace_id", "span_id", "parent_id", "pid"):
            rest.pop(shown)
    else:
        words = f"{event} {rest.pop('message', '')}".rstrip()
    pairs = "".join(
        f" {name}={value if isinstance(value, str) else json.dumps(value, default=str)}"
        for name, value in rest.items()
        if value is not None
    )
    line = f"{time:%H:%M:%S}.{time.microsecond // 1000:03} {level:<7} {words}{pairs}".translate(_CONTROL)
    lines = [line, *(f"    {part}".translate(_CONTROL) for part in stack.splitlines())]
    return ("\n".join(lines) + "\n").encode(errors="backslashreplace")
