"""The OpenAPI document: what FastAPI derives from the routes, and what it cannot know of them.

A route documents an error that is its own with `responses={404: {"description": "There is no such post."}}`: the
sentence becomes the example of a problem answer. Errors that follow from a route's form are added here.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from services.api.problem import INVALID, MEDIA_TYPE, TOO_LONG, UNAUTHORIZED, UNKNOWN

Json = dict[str, Any]

_DESCRIPTION = """\
Posts, their authors and votes for them. Reading is public; writing needs a token (`POST /login`, then
`Authorization: Bearer ...`).

Every error is a problem document (RFC 9457, `application/problem+json`). Bodies with unknown fields, or with values of
another JSON type than the documented one, are refused; unknown query parameters are ignored.

After 503 nothing was done: send it again when `Retry-After` seconds have passed. After 504 a write may have been done:
look first, or send a post again with the same `Idempotency-Key`.
"""
_TAGS = [
    {"name": "posts", "description": "Entries with a name, an age and an address. Only their owner changes them."},
    {"name": "votes", "description": "At most one vote of a user for a post."},
    {"name": "users", "description": "Registration. An account belongs to one e-mail address."},
    {"name": "log-in", "description": "Tokens, by OAuth2's password flow."},
    {"name": "health", "description": "For the operator: alive, ready, and figures for Prometheus."},
]
_PROBLEM = {
    "title": "Problem",
    "description": "What went wrong (RFC 9457).",
    "type": "object",
    "additionalProperties": False,
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "const": "about:blank", "description": "the status says all"},
        "title": {"type": "string", "description": "the status in words"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "a sentence for the reader"},
        "errors": {
            "type": "array",
            "description": "of 422: what is wrong, and where; the values themselves are not repeated",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["loc", "msg", "type"],
                "properties": {
                    "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                    "msg": {"type": "string"},
                    "type": {"type": "string"},
                },
            },
        },
    },
}
_HEADERS: dict[str, Json] = {
    "X-Request-ID": {
        "description": "Names the request in the log; the client's own, if it sent a usable one.",
        "schema": {"type": "string"},
    },
    "Link": {
        "description": 'The next page, `rel="next"` (RFC 8288); absent on the last one.',
        "schema": {"type": "string"},
    },
    "ETag": {
        "description": "Changes when the answer does; send it back as `If-None-Match`.",
        "schema": {"type": "string"},
    },
    "Idempotency-Replayed": {
        "description": "`true` if this is the first request's answer once more; absent otherwise.",
        "schema": {"type": "string", "const": "true"},
    },
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "string", "pattern": "^[0-9]+$"}},
    "WWW-Authenticate": {"description": "The scheme to use.", "schema": {"type": "string", "const": "Bearer"}},
}
_HEADERS_OF_STATUS = {"401": ["WWW-Authenticate"], "429": ["Retry-After"], "503": ["Retry-After"]}
_HEADERS_OF_ANSWER = {
    ("create_post", "201"): ["Idempotency-Replayed"],
    ("list_posts", "200"): ["Link", "ETag"],
    ("list_posts", "304"): ["Link", "ETag"],
    ("read_post", "200"): ["ETag"],
    ("read_post", "304"): ["ETag"],
}
# Read by the routes without being declared in their signatures.
_IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The `ETag` of the answer that one has; 304 without a body if it is still the same.",
    "schema": {"type": "string"},
}
_DETAILS = {
    401: UNAUTHORIZED,
    413: "The body is larger than 65536 bytes.",
    414: "The request line is longer than 4094 bytes. The server says so, before the API sees it.",
    415: "The body's Content-Type is not one that this route reads.",
    422: INVALID,
    500: "Something went wrong on our side. It has been logged.",
    503: "The database cannot be reached right now. Try again shortly.",
    504: TOO_LONG,
}


_READINESS = {
    "type": "object",
    "required": ["status", "detail"],
    "properties": {
        "status": {"enum": ["ready", "not ready"]},
        "reason": {"enum": ["behind", "ahead", "unreachable"]},
        "detail": {"type": "string", "description": "a sentence for the operator"},
    },
}
_NOT_READY = {"status": "not ready", "reason": "unreachable", "detail": "The database does not answer."}
_READY = {"status": "ready", "detail": "The database is at the revision that this image expects."}
# Bodies that have no schema of their own in the code.
_CONTENT: dict[tuple[str, str], Json] = {
    ("root", "200"): {"application/json": {"example": {"name": "Tangga", "version": "0.1.0", "docs": "/docs"}}},
    ("healthz", "200"): {"application/json": {"example": {"status": "alive"}}},
    ("readyz", "200"): {"application/json": {"schema": _READINESS, "example": _READY}},
    ("readyz", "503"): {"application/json": {"schema": _READINESS, "example": _NOT_READY}},
    ("metrics", "200"): {"text/plain": {"example": "# TYPE tangga_database_up gauge\ntangga_database_up 1.0\n"}},
    ("log_in", "body"): {
        "application/x-www-form-urlencoded": {
            "example": {"grant_type": "password", "username": "ani@example.com", "password": "correct horse"}
        }
    },
}


def _link(operation: str, body: object = None, **parameters: str) -> Json:
    return {"operationId": operation, "parameters": parameters} | ({} if body is None else {"requestBody": body})


_ID = "$response.body#/id"
# What can be done with an answer. Contract tests walk along these.
_LINKS: dict[tuple[str, str], dict[str, Json]] = {
    ("create_user", "201"): {
        "read": _link("read_user", user_id=_ID),
        "log_in": _link(
            "log_in", {"username": "$request.body#/email", "password": "$request.body#/password"}
        ),
    },
    ("create_post", "201"): {
        "read": _link("read_post", post_id=_ID),
        "replace": _link("replace_post", post_id=_ID),
        "delete": _link("delete_post", post_id=_ID),
        "vote": _link("vote", {"post_id": _ID, "dir": 1}),
        "owner": _link("read_user", user_id="$response.body#/owner_id"),
    },
    ("replace_post", "200"): {
        "read": _link("read_post", post_id=_ID),
        "delete": _link("delete_post", post_id=_ID),
        "vote": _link("vote", {"post_id": _ID, "dir": 1}),
    },
    ("vote", "201"): {
        "read": _link("read_post", post_id="$request.body#/post_id"),
    },
}  # fmt: skip


def document(app: FastAPI) -> Json:
    """Build the whole document. Takes some 50 ms, so the result is kept by whoever asks."""
    for route in app.routes:
        if isinstance(route, APIRoute):
            route.operation_id = route.name
    whole = get_openapi(title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes, tags=_TAGS)
    schemas = whole["components"]["schemas"]
    for path in whole["paths"].values():
        for method, operation in path.items():
            _complete(method, operation, schemas)
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schemas["Problem"] = _PROBLEM
    whole["components"]["headers"] = _HEADERS
    return whole


def _complete(method: str, operation: Json, schemas: Mapping[str, Json]) -> None:
    name = operation["operationId"]
    operation["summary"] = name.replace("_", " ").capitalize()
    responses: dict[str, Json] = operation["responses"]
    if "304" in responses:
        operation.setdefault("parameters", []).append(_IF_NONE_MATCH)
    if responses.get("422", {}).get("description") == "Validation Error":
        del responses["422"]
    for error in _errors_of(operation):
        description = UNKNOWN if error == 504 and method != "get" else _DETAILS[error]
        responses.setdefault(str(error), {"description": description})
    body = operation.get("requestBody", {}).get("content", {})
    for kind, media in body.items():
        media.update(_CONTENT.get((name, "body"), {}).get(kind, {}))
        _show_example(media, schemas)
    for status, response in responses.items():
        _complete_answer(name, status, response, schemas)
    operation["responses"] = dict(sorted(responses.items()))


def _complete_answer(name: str, status: str, response: Json, schemas: Mapping[str, Json]) -> None:
    for kind, media in _CONTENT.get((name, status), {}).items():
        response.setdefault("content", {}).setdefault(kind, {}).update(media)
    if status == "414":
        response["content"] = {"text/plain": {"schema": {"type": "string"}}}
        return  # without a request id: it never was a request
    if status >= "400" and "content" not in response:
        response["content"] = {MEDIA_TYPE: _problem(int(status), response["description"])}
    for media in response.get("content", {}).values():
        _show_example(media, schemas)
    names = [*_HEADERS_OF_STATUS.get(status, []), *_HEADERS_OF_ANSWER.get((name, status), []), "X-Request-ID"]
    response.setdefault("headers", {}).update({n: {"$ref": f"#/components/headers/{n}"} for n in names})
    if (name, status) in _LINKS:
        response["links"] = _LINKS[name, status]


def _errors_of(operation: Json) -> list[int]:
    """Return the statuses that follow from the form of the operation."""
    statuses = [500, 503]
    if "security" in operation:
        statuses.append(401)
    if "parameters" in operation or "requestBody" in operation:
        statuses.append(422)
    if "parameters" in operation:
        statuses.append(414)
    if "requestBody" in operation:
        statuses += [413, 415]
    if "health" not in operation["tags"]:
        statuses.append(504)
    return statuses


def _problem(status: int, detail: str) -> Json:
    example = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    if status == 422:
        wrong = {"loc": ["body", "umur"], "msg": "Input should be a valid integer", "type": "int_type"}
        return {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example | {"errors": [wrong]}}
    return {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}


def _show_example(media: Json, schemas: Mapping[str, Json]) -> None:
    """Put the example of the schema (of a list: of its items) where readers and tools look for it."""
    schema = media.get("schema", {})
    one = schema.get("items", schema).get("$ref", "").rpartition("/")[2]
    examples = schemas.get(one, {}).get("examples")
    if examples and "example" not in media:
        media["example"] = examples if "items" in schema else examples[0]
