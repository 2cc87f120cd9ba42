"""Is the process alive, is the service ready, and the figures for Prometheus."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from services.api.deps import Database
from services.api.health.schema import ExpectedSchema

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers. The database is not asked: restarting this container would not mend the database."""
    return {"status": "alive"}


@router.get("/readyz", responses={503: {"description": "The reason: behind, ahead or unreachable"}})
def readyz(request: Request, db: Database) -> JSONResponse:
    """The database answers, and its revision is the one that this image expects."""
    expected: ExpectedSchema = request.app.state.expected_schema
    state, detail = expected.compare(db)
    if state == "ready":
        return JSONResponse({"status": state, "detail": detail})
    return JSONResponse({"status": "not ready", "reason": state, "detail": detail}, 503, {"Retry-After": "1"})


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(request: Request, db: Database) -> Response:
    """Facts about the service as a whole, true whichever worker answers."""
    expected: ExpectedSchema = request.app.state.expected_schema
    state, _ = expected.compare(db)
    registry = CollectorRegistry()
    Gauge("tangga_database_up", "1 if the database answers", registry=registry).set(state != "unreachable")
    Gauge("tangga_schema_ready", "1 if the schema is the expected one", registry=registry).set(state == "ready")
    info = Gauge("tangga_expected_revision", "Revision that this image expects", ["revision"], registry=registry)
    for revision in expected.heads:
        info.labels(revision).set(1)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
