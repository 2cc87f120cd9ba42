"""Registering and reading users."""

from fastapi import APIRouter
from sqlalchemy import bindparam, insert, select

from services.api.auth.password import hash_password
from services.api.db.models import User
from services.api.deps import Database, Id
from services.api.problem import Problem
from services.api.users.schemas import UserIn, UserOut

router = APIRouter(prefix="/users", tags=["users"])

_public = (User.id, User.email, User.created_at)
_insert = insert(User).returning(*_public)
_by_id = select(*_public).where(User.id == bindparam("user_id"))


@router.post("", status_code=201, responses={409: {"description": "E-mail taken"}})
def create_user(body: UserIn, db: Database) -> UserOut:
    """Register. The unique constraint decides about a taken address (errors.py)."""
    # Hashed before a connection is taken: it is slow on purpose.
    values = {"email": body.email, "password": hash_password(body.password)}
    with db.connect() as connection:
        return UserOut(**connection.execute(_insert, values).mappings().one())


@router.get("/{user_id}", responses={404: {"description": "No such user"}})
def read_user(user_id: Id, db: Database) -> UserOut:
    """Return one user."""
    with db.connect() as connection:
        row = connection.execute(_by_id, {"user_id": user_id}).mappings().one_or_none()
    if row is None:
        raise Problem(404, "There is no such user.")
    return UserOut(**row)
