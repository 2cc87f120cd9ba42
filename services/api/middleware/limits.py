"""Admission: a worker answers at once that it has enough to do, instead of letting everybody wait longer and longer."""

from starlette.types import ASGIApp, Receive, Scope, Send

from services.api.problem import answer

# Whoever watches must get an answer, above all then.
_ALWAYS = ("/healthz", "/readyz", "/metrics")


class AdmissionLimit:
    """Answer 503 with Retry-After while MAX_IN_FLIGHT requests are under way in this worker."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count HTTP requests; pass everything else on."""
        if scope["type"] != "http" or scope["path"] in _ALWAYS:
            return await self._app(scope, receive, send)
        if self._under_way >= scope["app"].state.settings.max_in_flight:
            refusal = answer(503, "Too many requests are under way. Try again shortly.", {"Retry-After": "1"})
            return await refusal(scope, receive, send)
        self._under_way += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way -= 1
