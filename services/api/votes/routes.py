"""Voting."""

from fastapi import APIRouter
from sqlalchemy import bindparam, delete, insert

from services.api.db.models import Vote
from services.api.deps import CurrentUserId, Database
from services.api.posts import queries as posts
from services.api.problem import Problem
from services.api.votes.schemas import VoteIn, VoteOut

router = APIRouter(tags=["votes"])

_insert = insert(Vote)
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
        if body.dir == 1:
            connection.execute(_insert, key)
            return VoteOut(detail="Your vote was counted.")
        if connection.execute(_delete, key).one_or_none():
            return VoteOut(detail="Your vote was taken back.")
        user_exists, post_exists = posts.facts(connection, body.post_id, user_id)
    if not user_exists:
        raise Problem.unauthorized()
    raise Problem(404, "You have no vote on this post." if post_exists else "There is no such post.")
