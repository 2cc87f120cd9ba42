"""Reading and writing posts."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from services.api import idempotency
from services.api.answers import conditional, json_answer
from services.api.db.connection import Runner
from services.api.db.statement import Row
from services.api.deps import CurrentUserId, Id, database
from services.api.fields import Integer, OptionalText, WholeNumber
from services.api.idempotency import IdempotencyKey
from services.api.posts import cursor, queries
from services.api.posts.cursor import Cursor
from services.api.posts.schemas import PostIn, PostOut
from services.api.problem import Problem

router = APIRouter(prefix="/posts", tags=["posts"])

_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"description": "There is no such post."}}
_UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "It is still as `If-None-Match` says"}}
_NOT_YOURS: dict[int | str, dict[str, Any]] = {403: {"description": "This post belongs to somebody else."}}


def _post_out(row: Row) -> Row:
    """Return what PostOut describes."""
    owner = {"id": row["owner_id"], "email": row.pop("owner_email"), "created_at": row.pop("owner_created_at")}
    return row | {"owner": owner}


async def _refusal(db: Runner, post_id: int, user_id: int) -> Problem:
    """Say why a write found nothing: the user is gone, the post is not there, or it is not theirs."""
    user_exists, post_exists = await queries.facts(db, post_id, user_id)
    if not user_exists:
        return Problem.unauthorized()
    if not post_exists:
        return Problem(404, "There is no such post.")
    return Problem(403, "This post belongs to somebody else.")


@router.get("", response_model=list[PostOut], responses=_UNCHANGED)
async def list_posts(
    request: Request,
    # The bounds before the conversion: after it, the document would not know them.
    limit: Annotated[int, Field(ge=1, le=100), WholeNumber, Query(description="posts on a page")] = queries.USUAL_LIMIT,
    skip: Annotated[
        Integer, Query(description="posts to leave out; the cost grows with it, `after` has no such cost")
    ] = 0,
    after: Annotated[Cursor | None, Query(description="cursor from the `Link` header of the page before")] = None,
    # Every character may take 12 in the request line, of which the server reads 4094.
    search: Annotated[OptionalText, Query(max_length=200, description="part of `nama`, in any case")] = "",
) -> Response:
    """Return posts, newest first. The `Link` header names the next page, whose cost does not grow with depth."""
    rows = await queries.page(database(request), limit, skip, after, search)
    headers = {}
    if len(rows) == limit:
        query = {"limit": limit, "after": cursor.encode(rows[-1]["id"])} | ({"search": search} if search else {})
        headers["Link"] = f'<{request.url.path}?{urlencode(query)}>; rel="next"'
    return conditional(request, [_post_out(row) for row in rows], headers)


@router.post("", status_code=201, response_model=PostOut, responses={409: {"description": idempotency.UNDER_WAY}})
async def create_post(
    body: PostIn, user_id: CurrentUserId, request: Request, idempotency_key: IdempotencyKey = None
) -> Response:
    """Create a post that belongs to the caller."""
    db = database(request)

    async def write(runner: Runner) -> Response:
        return json_answer(_post_out(await queries.create(runner, user_id, body.model_dump())), 201)

    if idempotency_key is None:
        return await write(db)
    hours = request.app.state.settings.idempotency_hours
    return await idempotency.once(db, user_id, idempotency_key, hours, "POST /posts", body, write)


@router.get("/{post_id}", response_model=PostOut, responses=_UNCHANGED | _NOT_FOUND)
async def read_post(post_id: Id, request: Request) -> Response:
    """Return one post."""
    row = await queries.find(database(request), post_id)
    if row is None:
        raise Problem(404, "There is no such post.")
    return conditional(request, _post_out(row))


@router.put("/{post_id}", response_model=PostOut, responses=_NOT_YOURS | _NOT_FOUND)
async def replace_post(post_id: Id, body: PostIn, user_id: CurrentUserId, request: Request) -> Response:
    """Overwrite the caller's own post."""
    db = database(request)
    row = await queries.replace(db, post_id, user_id, body.model_dump())
    if row is None:
        raise await _refusal(db, post_id, user_id)
    return json_answer(_post_out(row))


@router.delete("/{post_id}", status_code=204, responses=_NOT_YOURS | _NOT_FOUND)
async def delete_post(post_id: Id, user_id: CurrentUserId, request: Request) -> None:
    """Delete the caller's own post, with its votes."""
    db = database(request)
    if not await queries.remove(db, post_id, user_id):
        raise await _refusal(db, post_id, user_id)
