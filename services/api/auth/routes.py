"""Logging in."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.security import OAuth2PasswordRequestForm
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import bindparam, select

from services.api.auth import attempts
from services.api.auth.attempts import Attempt
from services.api.auth.password import password_matches
from services.api.auth.schemas import TokenOut
from services.api.auth.token import make_token
from services.api.db.models import User
from services.api.db.statement import Statement
from services.api.deps import Hashing, database
from services.api.fields import Email
from services.api.problem import Problem
from services.api.settings import Settings

router = APIRouter(tags=["log-in"])

_by_email = Statement(select(User.id, User.password).where(User.email == bindparam("email")))

_email: TypeAdapter[str] = TypeAdapter(Email)


def _as_registered(username: str) -> str | None:
    """Spell the address as registration did; None, which no row equals, for what it would have refused."""
    try:
        return _email.validate_python(username)
    except ValidationError:
        return None


@router.post(
    "/login",
    responses={
        401: {"description": "Unknown e-mail or wrong password."},
        429: {"description": "Too many failed log-ins. Try again later."},
    },
)
async def log_in(form: Annotated[OAuth2PasswordRequestForm, Depends()], hashing: Hashing, request: Request) -> TokenOut:
    """Exchange e-mail (as `username`) and password for a bearer token.

    Failed attempts are limited per account and client address; past the limit, the right password is refused too.
    """
    settings: Settings = request.app.state.settings
    db = database(request)
    email = _as_registered(form.username)
    # What is no address counts as one account, which nobody has.
    attempt = Attempt.of(email or "", request.client.host if request.client else "", settings)
    await attempts.require_allowed(db, attempt, settings)
    user = await db.row(_by_email, email=email)
    # No connection is held while the password waits for its turn.
    if not await hashing.run(password_matches, form.password, user["password"] if user else None) or user is None:
        await attempts.count_failure(db, attempt, settings)
        raise Problem(401, "Unknown e-mail or wrong password.", {"WWW-Authenticate": "Bearer"})
    await attempts.allow_success(db, attempt, settings)
    return TokenOut(access_token=make_token(user["id"], settings))
