"""Voting."""

from fastapi import APIRouter, Request
from sqlalchemy import Integer, bindparam, delete, insert, select

from services.api.db.connection import Runner
from services.api.db.models import User, Vote
from services.api.db.statement import Statement
from services.api.deps import CurrentUserId, database
from services.api.posts import queries as posts
from services.api.problem import Problem
from services.api.votes.schemas import VoteIn, VoteOut

router = APIRouter(tags=["votes"])

# From the user's own row: a vote of a user who is gone inserts nothing, whether the post is there or not.
_insert = Statement(
    insert(Vote)
    .from_select(
        ["user_id", "post_id"],
        select(User.id, bindparam("post_id", type_=Integer)).where(User.id == bindparam("user_id")),
    )
    .returning(Vote.post_id)
)
_delete = Statement(
    delete(Vote)
    .where(Vote.post_id == bindparam("post_id"), Vote.user_id == bindparam("user_id"))
    .returning(Vote.post_id)
)


async def _count(db: Runner, user_id: int, post_id: int) -> str:
    if await db.row(_insert, post_id=post_id, user_id=user_id) is None:
        # A post that is not there fails the foreign key (errors.py), so it is the user who is gone.
        raise Problem.unauthorized()
    return "Your vote was counted."


async def _take_back(db: Runner, user_id: int, post_id: int) -> str:
    if await db.row(_delete, post_id=post_id, user_id=user_id) is not None:
        return "Your vote was taken back."
    user_exists, post_exists = await posts.facts(db, post_id, user_id)
    if not user_exists:
        raise Problem.unauthorized()
    raise Problem(404, "You have no vote on this post." if post_exists else "There is no such post.")


@router.post(
    "/vote",
    status_code=201,
    response_description="The vote was counted, or taken back",
    responses={
        404: {"description": "There is no such post."},
        409: {"description": "You have already voted for this post."},
    },
)
async def vote(body: VoteIn, user_id: CurrentUserId, request: Request) -> VoteOut:
    """Vote for a post (`dir` 1), or take the vote back (`dir` 0; 404 if there is none).

    However many equal votes arrive at once, one counts and the others get 409.
    """
    done = await (_count if body.dir == 1 else _take_back)(database(request), user_id, body.post_id)
    return VoteOut(detail=done)
