"""Dependencies with names, for the signatures of routes."""

from typing import Annotated

from fastapi import Depends, Path, Request, Security
from fastapi.security import OAuth2PasswordBearer

from services.api.auth import hashing
from services.api.auth.token import bearer_user_id
from services.api.db.database import Database
from services.api.fields import RowId

# Only for the documentation page's "Authorize" button: the check itself is bearer_user_id.
_documented_scheme = OAuth2PasswordBearer(tokenUrl="login", auto_error=False)


def database(request: Request) -> Database:
    """Return the worker's connections. A call and no dependency: FastAPI's way to it takes a tenth of a read's time."""
    found: Database = request.app.state.database
    return found


async def _hashing(request: Request) -> hashing.Hashing:
    found: hashing.Hashing = request.app.state.hashing
    return found


async def _current_user_id(request: Request, _token: Annotated[str | None, Security(_documented_scheme)]) -> int:
    return bearer_user_id(request)


# All are `async def`: no thread hop.
Hashing = Annotated[hashing.Hashing, Depends(_hashing)]
CurrentUserId = Annotated[int, Depends(_current_user_id)]
Id = Annotated[RowId, Path()]
