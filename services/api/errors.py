"""One base error, one JSON shape (RFC 9457 problem details), and what each constraint means to a client."""

import logging
from collections.abc import Mapping
from http import HTTPStatus

import psycopg2.errors
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from services.api.auth.token import bearer_user_id, needs_bearer
from services.api.problem import Problem

logger = logging.getLogger("tangga.api")

# Constraint name -> answer. The database decides, in one statement: no check-then-insert, so no race.
CONSTRAINT_PROBLEMS = {
    "uq_users_email": Problem(409, "This e-mail address is already registered."),
    "pk_votes": Problem(409, "You have already voted for this post."),
    "fk_votes_post_id_posts": Problem(404, "There is no such post."),
    # A signed token outlives its user; the foreign key notices.
    "post_users_fk": Problem.unauthorized(),
    "fk_votes_user_id_users": Problem.unauthorized(),
}


def _answer(
    status: int, detail: str, headers: Mapping[str, str] | None = None, errors: list[dict[str, object]] | None = None
) -> JSONResponse:
    body: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors is not None:
        body["errors"] = errors
    return JSONResponse(body, status, dict(headers or {}), media_type="application/problem+json")


def _unavailable() -> JSONResponse:
    return _answer(503, "The database cannot be reached right now. Try again shortly.", {"Retry-After": "1"})


def _on_problem(_request: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, Problem)
    return _answer(problem.status, problem.detail, problem.headers)


def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    # FastAPI's answer to a body that cannot even be parsed (nested too deep, a number too long): invalid like others.
    if error.status_code == 400:
        return _invalid(request, [{"loc": ["body"], "msg": str(error.detail), "type": "unparsable"}])
    return _answer(error.status_code, str(error.detail), error.headers)


def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    # The input is left out: it may hold a password, or something that JSON cannot carry back (a lone surrogate).
    return _invalid(request, [{"loc": list(e["loc"]), "msg": e["msg"], "type": e["type"]} for e in error.errors()])


def _invalid(request: Request, errors: list[dict[str, object]]) -> JSONResponse:
    # FastAPI parses the body before it looks at dependencies; who is not logged in must hear that first.
    if needs_bearer(request):
        try:
            bearer_user_id(request)
        except Problem as problem:
            return _on_problem(request, problem)
    return _answer(422, "The request does not have the expected form.", errors=errors)


def _on_integrity(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, IntegrityError)
    diagnostics = getattr(error.orig, "diag", None)
    problem = CONSTRAINT_PROBLEMS.get(getattr(diagnostics, "constraint_name", None) or "")
    if problem is None:
        raise error
    return _answer(problem.status, problem.detail, problem.headers)


def _on_database(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DBAPIError)
    # QueryCanceled is our own statement_timeout; the database is there, but it did not finish in time.
    if isinstance(error.orig, psycopg2.errors.QueryCanceled | psycopg2.errors.LockNotAvailable):
        return _answer(504, "The database did not answer in time.")
    if error.connection_invalidated or isinstance(error.orig, psycopg2.OperationalError | psycopg2.InterfaceError):
        return _unavailable()
    raise error


def _on_pool_timeout(_request: Request, _error: Exception) -> JSONResponse:
    return _unavailable()


def _on_bug(request: Request, error: Exception) -> JSONResponse:
    logger.error("unhandled_error %s %s", request.method, request.url.path, exc_info=error)
    return _answer(500, "Something went wrong on our side. It has been logged.")


def add_handlers(app: FastAPI) -> None:
    """Register every handler of this module on the app."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(IntegrityError, _on_integrity)
    app.add_exception_handler(DBAPIError, _on_database)
    app.add_exception_handler(PoolTimeoutError, _on_pool_timeout)
    app.add_exception_handler(Exception, _on_bug)
