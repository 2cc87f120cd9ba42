"""Registering and reading users."""

from fastapi import APIRouter, Request
from sqlalchemy import bindparam, insert, select

from services.api.auth.attempts import client_address, count_registration
from services.api.auth.password import hash_password
from services.api.db.models import User
from services.api.db.statement import Statement
from services.api.deps import Hashing, Id, database
from services.api.problem import Problem
from services.api.users.schemas import UserIn, UserOut

router = APIRouter(prefix="/users", tags=["users"])

_public = (User.id, User.email, User.created_at)
_insert = Statement(
    insert(User).values(email=bindparam("new_email"), password=bindparam("new_password")).returning(*_public)
)
_by_id = Statement(select(*_public).where(User.id == bindparam("user_id")))


@router.post(
    "",
    status_code=201,
    responses={
        409: {"description": "This e-mail address is already registered."},
        429: {"description": "Too many registrations from this address. Try again later."},
    },
)
async def create_user(body: UserIn, hashing: Hashing, request: Request) -> UserOut:
    """Register. An address belongs to one account, however many try to register it at once.

    Registrations are limited per client address. Of a client who leaves before it is their turn, nothing is kept.
    """
    return await hashing.attend(request, _register(body, hashing, request))


async def _register(body: UserIn, hashing: Hashing, request: Request) -> UserOut:
    db = database(request)
    client = await count_registration(db, client_address(request), request.app.state.settings)
    # The unique constraint decides about a taken address (errors.py).
    # Hashed before a connection is taken: it is slow on purpose.
    password = await hashing.registrations.run(client, hash_password, body.password)
    [row] = await db.rows(_insert, new_email=body.email, new_password=password)
    return UserOut(**row)


@router.get("/{user_id}", responses={404: {"description": "There is no such user."}})
async def read_user(user_id: Id, request: Request) -> UserOut:
    """Return one user."""
    row = await database(request).row(_by_id, user_id=user_id)
    if row is None:
        raise Problem(404, "There is no such user.")
    return UserOut(**row)
