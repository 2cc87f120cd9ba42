"""The app: settings and engine at start, routers, error handlers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from services.api.auth.hashing import Hashing
from services.api.auth.routes import router as log_in
from services.api.db.database import Database
from services.api.docs.routes import router as docs
from services.api.errors import add_handlers
from services.api.health.routes import router as health
from services.api.health.schema import ExpectedSchema
from services.api.middleware.forwarded import Forwarded
from services.api.middleware.limits import AdmissionLimit
from services.api.middleware.observe import Observe, Observer
from services.api.middleware.security import Security
from services.api.middleware.target import Target
from services.api.posts.routes import router as posts
from services.api.settings import Settings
from services.api.users.routes import router as users
from services.api.votes.routes import router as votes

VERSION = "0.1.0"


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings = Settings.load()
    app.state.settings = settings
    app.state.database = Database(settings)
    # Refusals that are held back take places of MAX_IN_FLIGHT: a quarter of them at most.
    app.state.hashing = Hashing(settings.hash_threads, settings.hash_queue, settings.max_in_flight // 4)
    app.state.expected_schema = ExpectedSchema()
    async with Observer(settings, app.state.database) as app.state.observer:
        yield
    app.state.hashing.close()
    app.state.database.close()


app = FastAPI(
    title="Tangga",
    version=VERSION,
    lifespan=_lifespan,
    # Pages and document are ours (docs/routes.py): FastAPI's load their scripts from elsewhere.
    openapi_url=None,
    # /posts/ is not /posts, and is no redirect to a host that the client named.
    redirect_slashes=False,
)
app.add_middleware(AdmissionLimit)
add_handlers(app)
app.add_middleware(Security)
app.add_middleware(Observe)
app.add_middleware(Forwarded)
app.add_middleware(Target)  # the last to be added is the outermost
# As routes of the app itself, the busiest first: an included router is searched anew for each request (decision 23).
for router in (posts, votes, users, log_in, docs, health):
    app.router.routes.extend(router.routes)


@app.get("/", tags=["health"])
async def root() -> dict[str, str]:
    """Say what this is and where its documentation stands."""
    return {"name": app.title, "version": VERSION, "docs": "/docs"}
