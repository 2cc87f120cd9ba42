"""Is the process alive, is the service ready, and the figures for Prometheus."""

from collections.abc import Iterator

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric

from services.api.deps import database
from services.api.health.schema import ExpectedSchema
from services.api.middleware.observe import Observer
from services.api.observe.metrics import fact

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers. The database is not asked: restarting this container would not mend the database."""
    return {"status": "alive"}


@router.get("/readyz", responses={503: {"description": "The reason: behind, ahead, hidden, unreachable or unreadable"}})
async def readyz(request: Request) -> JSONResponse:
    """The database answers, and its revision is the one that this image expects, or one that it can work with."""
    expected: ExpectedSchema = request.app.state.expected_schema
    found = await expected.look(database(request))
    if found.state == "ready":
        return JSONResponse({"status": found.state, "detail": found.detail})
    return JSONResponse(
        {"status": "not ready", "reason": found.state, "detail": found.detail}, 503, {"Retry-After": "1"}
    )


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """The figures of all workers, and facts about the schema, for Prometheus: the same whichever worker answers."""
    expected: ExpectedSchema = request.app.state.expected_schema
    observer: Observer = request.app.state.observer
    db = database(request)
    found = await expected.look(db)
    facts = [
        fact("tangga_database_up", "1 if the database answers", found.state != "unreachable"),
        fact("tangga_schema_ready", "1 if the schema is the expected one", found.state == "ready"),
        *_revisions("tangga_expected_revision", "Revision that this image expects", expected.heads),
        *_revisions("tangga_schema_revision", "Revision that the database is at", found.revisions),
    ]
    if (age := await expected.age(db)) is not None:
        facts.append(fact("tangga_schema_age_seconds", "Since the newest step, up or down, was done", age))
    observer.sample()
    return Response(observer.metrics.page(facts), media_type=CONTENT_TYPE_LATEST)


def _revisions(name: str, description: str, revisions: frozenset[str]) -> Iterator[Metric]:
    for revision in sorted(revisions):
        yield fact(name, description, 1, revision=revision)
