"""Logging in."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.security import OAuth2PasswordRequestForm
from pydantic import TypeAdapter
from sqlalchemy import bindparam, literal_column, select

from services.api.auth import attempts
from services.api.auth.attempts import Attempt, client_address
from services.api.auth.password import password_matches
from services.api.auth.schemas import TokenOut
from services.api.auth.token import make_token
from services.api.db.models import User
from services.api.db.statement import Statement
from services.api.deps import Hashing, database
from services.api.fields import Email, spelled_out
from services.api.problem import Problem
from services.api.settings import Settings

router = APIRouter(tags=["log-in"])

# Whoever registered before addresses had a normal form is found by the spelling of then.
_by_email = Statement(
    select(User.id, User.password)
    .where(User.email.in_([bindparam("email"), bindparam("as_before")]))
    .order_by((User.email == bindparam("as_before")).desc())
    .limit(literal_column("1"))
)

_email: TypeAdapter[str] = TypeAdapter(Email)


def _as_registered(username: str) -> tuple[str, str] | tuple[None, None]:
    """Spell the address as registration does, and as it did before; None, which no row equals, for what it refuses."""
    try:
        email = _email.validate_python(username)
    except ValueError:
        return None, None
    try:
        return email, spelled_out(username)
    except ValueError:  # then, it was no address
        return email, email


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
    return await hashing.attend(request, _log_in(form, hashing, request))


async def _log_in(form: OAuth2PasswordRequestForm, hashing: Hashing, request: Request) -> TokenOut:
    settings: Settings = request.app.state.settings
    db = database(request)
    email, as_before = _as_registered(form.username)
    # What is no address counts as one account, which nobody has.
    attempt = Attempt.of(email or "", client_address(request), settings)
    known = await attempts.require_allowed(db, attempt, settings)
    user = await db.row(_by_email, email=email, as_before=as_before)
    # No connection is held while the password waits for its turn. All strangers of an address have one line together.
    line = attempt.pair if known else attempt.address
    stored = user["password"] if user else None
    if not await hashing.log_ins.run(line, password_matches, form.password, stored) or user is None:
        await attempts.count_failure(db, attempt, settings)
        raise Problem(401, "Unknown e-mail or wrong password.", {"WWW-Authenticate": "Bearer"})
    await attempts.allow_success(db, attempt, settings)
    return TokenOut(access_token=make_token(user["id"], settings))
