"""The app: settings and engine at start, routers, error handlers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import FastAPI

from services.api.auth.routes import router as log_in
from services.api.db.engine import make_engine
from services.api.errors import add_handlers
from services.api.health.routes import router as health
from services.api.health.schema import ExpectedSchema
from services.api.posts.routes import router as posts
from services.api.settings import Settings
from services.api.users.routes import router as users
from services.api.votes.routes import router as votes

VERSION = "0.1.0"


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings = Settings.load()
    app.state.settings = settings
    app.state.engine = make_engine(settings)
    app.state.expected_schema = ExpectedSchema()
    # As many threads as connections: one more would only wait for a connection, and time out under load.
    anyio.to_thread.current_default_thread_limiter().total_tokens = settings.db_pool_size
    yield
    app.state.engine.dispose()


app = FastAPI(title="Tangga", version=VERSION, lifespan=_lifespan)
add_handlers(app)
for router in (health, log_in, users, posts, votes):
    app.include_router(router)


@app.get("/", tags=["health"])
async def root() -> dict[str, str]:
    """Say what this is and where its documentation stands."""
    return {"name": app.title, "version": VERSION, "docs": "/docs"}
