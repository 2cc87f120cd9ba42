"""Reading and writing posts."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import Connection, RowMapping

from services.api.deps import CurrentUserId, Database, Id
from services.api.fields import OptionalText
from services.api.posts import queries
from services.api.posts.schemas import PostIn, PostOut
from services.api.problem import Problem
from services.api.users.schemas import UserOut

router = APIRouter(prefix="/posts", tags=["posts"])

_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"description": "No such post"}}
_NO_TOKEN: dict[int | str, dict[str, Any]] = {401: {"description": "No valid token"}}
_NOT_YOURS: dict[int | str, dict[str, Any]] = {403: {"description": "Somebody else's post"}}


def _post_out(row: RowMapping) -> PostOut:
    owner = UserOut(id=row["owner_id"], email=row["owner_email"], created_at=row["owner_created_at"])
    return PostOut(**row, owner=owner)


def _refusal(connection: Connection, post_id: int, user_id: int) -> Problem:
    """Say why a write found nothing: the user is gone, the post is not there, or it is not theirs."""
    user_exists, post_exists = queries.facts(connection, post_id, user_id)
    if not user_exists:
        return Problem.unauthorized()
    if not post_exists:
        return Problem(404, "There is no such post.")
    return Problem(403, "This post belongs to somebody else.")


@router.get("")
def list_posts(
    db: Database,
    request: Request,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=100)] = 10,
    skip: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    after: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="id of the last post already seen")] = None,
    search: Annotated[OptionalText, Query(description="part of `nama`, in any case")] = "",
) -> list[PostOut]:
    """Return posts, newest first. The `Link` header names the next page, whose cost does not grow with depth."""
    with db.connect() as connection:
        rows = queries.page(connection, limit, skip, after, search)
    if len(rows) == limit:
        url = request.url.remove_query_params("skip").include_query_params(after=rows[-1]["id"])
        response.headers["Link"] = f'<{url}>; rel="next"'
    return [_post_out(row) for row in rows]


@router.post("", status_code=201, responses=_NO_TOKEN)
def create_post(body: PostIn, user_id: CurrentUserId, db: Database) -> PostOut:
    """Create a post that belongs to the caller."""
    with db.connect() as connection:
        return _post_out(queries.create(connection, user_id, body.model_dump()))


@router.get("/{post_id}", responses=_NOT_FOUND)
def read_post(post_id: Id, db: Database) -> PostOut:
    """Return one post."""
    with db.connect() as connection:
        row = queries.find(connection, post_id)
    if row is None:
        raise Problem(404, "There is no such post.")
    return _post_out(row)


@router.put("/{post_id}", responses=_NO_TOKEN | _NOT_YOURS | _NOT_FOUND)
def replace_post(post_id: Id, body: PostIn, user_id: CurrentUserId, db: Database) -> PostOut:
    """Overwrite the caller's own post."""
    with db.connect() as connection:
        row = queries.replace(connection, post_id, user_id, body.model_dump())
        if row is None:
            raise _refusal(connection, post_id, user_id)
    return _post_out(row)


@router.delete("/{post_id}", status_code=204, responses=_NO_TOKEN | _NOT_YOURS | _NOT_FOUND)
def delete_post(post_id: Id, user_id: CurrentUserId, db: Database) -> None:
    """Delete the caller's own post, with its votes."""
    with db.connect() as connection:
        if not queries.remove(connection, post_id, user_id):
            raise _refusal(connection, post_id, user_id)
