"""Dependencies with names, for the signatures of routes."""

from typing import Annotated

from fastapi import Depends, Path, Request, Security
from fastapi.security import OAuth2PasswordBearer
from sqlalchemy import Engine

from services.api.auth.token import bearer_user_id

# Only for the documentation page's "Authorize" button: the check itself is bearer_user_id.
_documented_scheme = OAuth2PasswordBearer(tokenUrl="login", auto_error=False)


async def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


async def _current_user_id(request: Request, _token: Annotated[str | None, Security(_documented_scheme)]) -> int:
    return bearer_user_id(request)


# Both are `async def`: no thread hop, and no connection held while the route waits for a thread.
Database = Annotated[Engine, Depends(_engine)]
CurrentUserId = Annotated[int, Depends(_current_user_id)]
# The columns are 32-bit integers.
Id = Annotated[int, Path(ge=1, le=2**31 - 1)]
