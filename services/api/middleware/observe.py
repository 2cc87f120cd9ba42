"""The outermost layer: an id and a trace for each request, a log line and figures about it afterwards."""

import asyncio
import logging
import os
from datetime import UTC, datetime
from itertools import count
from time import perf_counter
from typing import Any, Self

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.api.db.database import Database
from services.api.observe import logs, statements
from services.api.observe.metrics import Metrics
from services.api.observe.trace import Trace, read_trace
from services.api.settings import Settings

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
# Asked every few seconds: only a refusal is news.
_PROBES = frozenset(("/healthz", "/readyz"))
# nginx's word for it: the client has gone before there was an answer.
_CLIENT_GONE = 499
_MEMORY_SECONDS = 10


class Observer:
    """What a worker notes about its requests, and, while it is entered, about itself."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.metrics = Metrics()
        self.in_progress = 0
        self._database = database
        self._text = logs.is_text(settings.log_format)
        self._least = logging.getLevelNamesMapping()[settings.log_level.upper()]
        self._pid = os.getpid()

    async def __aenter__(self) -> Self:
        """Begin to sample."""
        self._sampling = asyncio.create_task(self._sample())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop sampling, and write what waits to be written."""
        self._sampling.cancel()
        logs.flush()

    async def _sample(self) -> None:
        for second in count():
            self.sample()
            # Adding the pages up takes a millisecond in which the worker does nothing else.
            if second % _MEMORY_SECONDS == 0:
                self.metrics.sample_memory()
            await asyncio.sleep(1)

    def sample(self) -> None:
        """Publish what is under way, and the pool's use, as they are now."""
        self.metrics.sample(self.in_progress, self._database)

    def note(self, route: str, status: int, fields: dict[str, Any]) -> None:
        """Write a request's line, if it is wanted."""
        if status >= 500:
            level, name = (logging.ERROR, "error") if status == 500 else (logging.WARNING, "warning")
        else:
            level, name = (logging.DEBUG, "debug") if route in _PROBES else (logging.INFO, "info")
        if level >= self._least:
            head = {"time": datetime.now(UTC), "level": name, "event": "request"}
            logs.write_request({**head, **fields, "pid": self._pid}, self._text)


class Observe:
    """Pure ASGI. Leaves in `scope["state"]`: request_id, and traceparent for calls to other services."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of any type; only HTTP is observed."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        observer: Observer = scope["app"].state.observer
        trace = read_trace(scope["headers"])
        state: dict[str, Any] = scope.setdefault("state", {})
        state["request_id"] = trace.request_id
        state["traceparent"] = trace.traceparent
        used = statements.Used()
        statements.current.set(used)
        status = sent = 0
        gone = False

        async def noted_send(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", trace.request_id.encode())]
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
            await send(message)

        async def noted_receive() -> Message:
            nonlocal gone
            message = await receive()
            gone = gone or message["type"] == "http.disconnect"
            return message

        began = perf_counter()
        observer.in_progress += 1
        try:
            await self._app(scope, noted_receive, noted_send)
        except Exception as error:
            # Past the app's own handlers: a middleware failed. Once an answer has begun, only the server can break it
            # off, and it logs that.
            if status:
                raise
            response = await scope["app"].exception_handlers[Exception](Request(scope), error)
            await response(scope, receive, noted_send)
        finally:
            seconds = perf_counter() - began
            observer.in_progress -= 1
            if gone or not status:
                status = _CLIENT_GONE
            _count_and_note(observer, scope, trace, used, status, seconds, sent)


def _count_and_note(
    observer: Observer, scope: Scope, trace: Trace, used: statements.Used, status: int, seconds: float, sent: int
) -> None:
    """Count a request that is over, and write its line."""
    method = scope["method"] if scope["method"] in _METHODS else "OTHER"
    route = _template(scope)
    observer.metrics.count(method, route, status, seconds, used.statements, used.seconds)
    fields = {
        "request_id": trace.request_id,
        "trace_id": trace.trace_id,
        "span_id": trace.span_id,
        "parent_id": trace.parent_id,
        "method": method,
        "route": route,
        "status": status,
        "duration_ms": round(seconds * 1000, 3),
        "database_ms": round(used.seconds * 1000, 3),
        "statements": used.statements,
        "user_id": scope["state"].get("user_id"),
        "client": scope["client"][0] if scope.get("client") else None,
        "bytes": sent,
    }
    observer.note(route, status, fields)


def _template(scope: Scope) -> str:
    """Return the path as the route declares it, never what the client sent: labels and events must be few."""
    if route := scope.get("route"):
        path: str = route.path
        return path
    if "endpoint" not in scope:
        return "unmatched"
    # A mounted app serves whatever lies beneath it. A plain Starlette route without parameters has one path.
    if scope.get("root_path"):
        return f"{scope['root_path']}/*"
    return "unmatched" if scope.get("path_params") else scope["path"]
