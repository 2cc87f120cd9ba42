"""Voting."""

from fastapi import APIRouter
from sqlalchemy import Integer, bindparam, delete, insert, select

from services.api.db.models import User, Vote
from services.api.deps import CurrentUserId, Database
from services.api.posts import queries as posts
from services.api.problem import Problem
from services.api.votes.schemas import VoteIn, VoteOut

router = APIRouter(tags=["votes"])

# From the user's own row: a vote of a user who is gone inserts nothing, whether the post is there or not.
_insert = (
    insert(Vote)
    .from_select(
        ["user_id", "post_id"],
        select(User.id, bindparam("post_id", type_=Integer)).where(User.id == bindparam("user_id")),
    )
    .returning(Vote.post_id)
)
_delete = (
    delete(Vote)
    .where(Vote.post_id == bindparam("post_id"), Vote.user_id == bindparam("user_id"))
    .returning(Vote.post_id)
)


@router.post(
    "/vote",
    status_code=201,
    responses={
        401: {"description": "No valid token"},
        404: {"description": "No such post, or no vote to take back"},
        409: {"description": "Already voted"},
    },
)
def vote(body: VoteIn, user_id: CurrentUserId, db: Database) -> VoteOut:
    """Vote for a post, or take the vote back. The table's keys decide (errors.py), so a race cannot count twice."""
    key = {"post_id": body.post_id, "user_id": user_id}
    with db.connect() as connection:
        if body.dir == 1 and connection.execute(_insert, key).one_or_none():
            return VoteOut(detail="Your vote was counted.")
        if body.dir == 0 and connection.execute(_delete, key).one_or_none():
            return VoteOut(detail="Your vote was taken back.")
        user_exists, post_exists = posts.facts(connection, body.post_id, user_id)
    if not user_exists:
        raise Problem.unauthorized()
    raise Problem(404, "You have no vote on this post." if post_exists else "There is no such post.")
