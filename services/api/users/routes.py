"""Registering and reading users."""

from fastapi import APIRouter
from sqlalchemy import Connection, RowMapping, bindparam, insert, select

from services.api.auth.password import hash_password
from services.api.db.models import User
from services.api.deps import Database, Hashing, Id
from services.api.problem import Problem
from services.api.users.schemas import UserIn, UserOut

router = APIRouter(prefix="/users", tags=["users"])

_public = (User.id, User.email, User.created_at)
_insert = insert(User).returning(*_public)
_by_id = select(*_public).where(User.id == bindparam("user_id"))


def _create(connection: Connection, values: dict[str, str]) -> RowMapping:
    return connection.execute(_insert, values).mappings().one()


def _find(connection: Connection, user_id: int) -> RowMapping | None:
    return connection.execute(_by_id, {"user_id": user_id}).mappings().one_or_none()


@router.post("", status_code=201, responses={409: {"description": "This e-mail address is already registered."}})
async def create_user(body: UserIn, db: Database, hashing: Hashing) -> UserOut:
    """Register. An address belongs to one account, however many try to register it at once."""
    # The unique constraint decides about a taken address (errors.py).
    # Hashed before a connection is taken: it is slow on purpose.
    values = {"email": body.email, "password": await hashing.run(hash_password, body.password)}
    return UserOut(**await db.run(_create, values))


@router.get("/{user_id}", responses={404: {"description": "There is no such user."}})
async def read_user(user_id: Id, db: Database) -> UserOut:
    """Return one user."""
    row = await db.run(_find, user_id)
    if row is None:
        raise Problem(404, "There is no such user.")
    return UserOut(**row)
