"""Logging in."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.security import OAuth2PasswordRequestForm
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import bindparam, select

from services.api.auth.password import password_matches
from services.api.auth.schemas import TokenOut
from services.api.auth.token import make_token
from services.api.db.models import User
from services.api.deps import Database
from services.api.fields import Email
from services.api.problem import Problem

router = APIRouter(tags=["log-in"])

_by_email = select(User.id, User.password).where(User.email == bindparam("email"))

_email: TypeAdapter[str] = TypeAdapter(Email)


def _as_registered(username: str) -> str | None:
    """Spell the address as registration did; None, which no row equals, for what it would have refused."""
    try:
        return _email.validate_python(username)
    except ValidationError:
        return None


@router.post("/login", responses={401: {"description": "Unknown e-mail or wrong password"}})
def log_in(form: Annotated[OAuth2PasswordRequestForm, Depends()], db: Database, request: Request) -> TokenOut:
    """Exchange e-mail (as `username`) and password for a bearer token."""
    email = _as_registered(form.username)
    with db.connect() as connection:
        user = connection.execute(_by_email, {"email": email}).one_or_none()
    if not password_matches(form.password, user.password if user else None) or user is None:
        raise Problem(401, "Unknown e-mail or wrong password.", {"WWW-Authenticate": "Bearer"})
    return TokenOut(access_token=make_token(user.id, request.app.state.settings))
