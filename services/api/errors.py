"""One base error, one JSON shape (RFC 9457 problem details), and what each constraint means to a client."""

import logging

import psycopg2
import psycopg2.errors
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.routing import Route

from services.api.auth.token import bearer_user_id, needs_bearer
from services.api.db.connection import OutcomeUnknown
from services.api.problem import INVALID, TOO_LONG, UNKNOWN, Problem, answer

logger = logging.getLogger("tangga.api")

_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")

# Constraint name -> answer. The database decides, in one statement: no check-then-insert, so no race.
CONSTRAINT_PROBLEMS = {
    "uq_users_email": Problem(409, "This e-mail address is already registered."),
    "pk_votes": Problem(409, "You have already voted for this post."),
    "fk_votes_post_id_posts": Problem(404, "There is no such post."),
    # A signed token outlives its user; the foreign key notices.
    "post_users_fk": Problem.unauthorized(),
    "fk_votes_user_id_users": Problem.unauthorized(),
    "fk_idempotency_keys_user_id_users": Problem.unauthorized(),
}


def _unavailable() -> JSONResponse:
    return answer(503, "The database cannot be reached right now. Try again shortly.", {"Retry-After": "1"})


# Handlers are `async def`: any other would wait for a thread, and when errors are many there may be none.


async def _on_problem(_request: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, Problem)
    return answer(problem.status, problem.detail, problem.headers)


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    # FastAPI's answer to a body that cannot even be parsed (nested too deep, a number too long): invalid like others.
    if error.status_code == 400:
        return _refused(request, 422, INVALID, [{"loc": ["body"], "msg": str(error.detail), "type": "unparsable"}])
    if error.status_code == 404:
        return answer(404, "There is nothing at this path.")
    if error.status_code == 405:
        allowed = ", ".join(_methods(request))
        return answer(405, f"This path answers to: {allowed}.", {"Allow": allowed})
    return answer(error.status_code, str(error.detail), error.headers)


def _methods(request: Request) -> list[str]:
    """Return the methods of all routes with this path; Starlette would name only those of the first."""
    contexts = [c for c in iter_route_contexts(request.app.routes) if isinstance(c.original_route, Route)]
    matching = [c for c in contexts if c.path_regex.match(request.scope["path"])]
    return sorted({method for context in matching for method in context.methods or ()})


async def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    if _has_another_content_type(request, error.body):
        return _refused(request, 415, "The body's Content-Type is not one that this route reads.")
    # The input is left out: it may hold a password, or something that JSON cannot carry back (a lone surrogate).
    errors = [{"loc": list(e["loc"]), "msg": e["msg"], "type": e["type"]} for e in error.errors()]
    return _refused(request, 422, INVALID, errors)


def _has_another_content_type(request: Request, body: object) -> bool:
    """Tell whether FastAPI left the body unread because of its type: as bytes, or as a form without fields."""
    if isinstance(body, FormData):
        return not request.headers.get("content-type", _FORMS[0]).lower().startswith(_FORMS)
    return isinstance(body, bytes)


def _refused(request: Request, status: int, detail: str, errors: list[dict[str, object]] | None = None) -> JSONResponse:
    # FastAPI parses the body before it looks at dependencies; but whoever is not logged in must hear that first.
    if needs_bearer(request):
        try:
            bearer_user_id(request)
        except Problem as problem:
            return answer(problem.status, problem.detail, problem.headers)
    return answer(status, detail, errors=errors)


async def _on_integrity(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, psycopg2.IntegrityError)
    problem = CONSTRAINT_PROBLEMS.get(error.diag.constraint_name or "")
    if problem is None:
        return await on_bug(request, error)
    return answer(problem.status, problem.detail, problem.headers)


async def _on_database(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, psycopg2.Error)
    # QueryCanceled is our own statement_timeout; the database is there, but it did not finish in time.
    if isinstance(error, psycopg2.errors.QueryCanceled | psycopg2.errors.LockNotAvailable):
        return answer(504, TOO_LONG)
    # FeatureNotSupported: in mid-transaction, a step of the schema changed the type of a column (connection.py).
    if isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError | psycopg2.errors.FeatureNotSupported):
        about = {"reason": str(error).strip(), "request_id": request.state.request_id}
        logger.warning("database_unreachable", extra=about)
        return _unavailable()
    return await on_bug(request, error)


async def _on_unknown(request: Request, error: Exception) -> JSONResponse:
    logger.warning("write_outcome_unknown", extra={"reason": str(error), "request_id": request.state.request_id})
    request.app.state.observer.metrics.count_unknown()
    return answer(504, UNKNOWN)


async def _on_timeout(_request: Request, _error: Exception) -> JSONResponse:
    return _unavailable()


async def on_bug(request: Request, error: Exception) -> JSONResponse:
    """Log an error that nobody foresaw, and answer 500 without its cause."""
    logger.error("unhandled_error", exc_info=error, extra={"request_id": request.state.request_id})
    return answer(500, "Something went wrong on our side. It has been logged.")


def add_handlers(app: FastAPI) -> None:
    """Register every handler of this module on the app."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(psycopg2.IntegrityError, _on_integrity)
    app.add_exception_handler(psycopg2.Error, _on_database)
    app.add_exception_handler(OutcomeUnknown, _on_unknown)
    app.add_exception_handler(TimeoutError, _on_timeout)  # of Database
    app.add_exception_handler(Exception, on_bug)
