"""psycopg2 behind bare Starlette, blocking the event loop: as little as can stand between a client and a row.

Not something to copy: one slow statement stops every request of the worker.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.load.baseline import statements


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    connection = psycopg2.connect(
        host=os.environ["DB_HOSTNAME"], port=os.environ["DB_PORT"], dbname=os.environ["DB_NAME"],
        user=os.environ["DB_USERNAME"], password=os.environ["DB_PASS"], application_name="raw",
    )  # fmt: skip
    connection.autocommit = True
    app.state.cursor = connection.cursor()
    yield
    connection.close()


def _post(row: tuple[Any, ...]) -> dict[str, Any]:
    id_, nama, umur, alamat, published, no_hp, created_at, owner_id, owner_email, owner_created_at, votes = row
    return {
        "id": id_,
        "nama": nama,
        "umur": umur,
        "alamat": alamat,
        "published": published,
        "no_hp": no_hp,
        "created_at": created_at.isoformat(),
        "owner_id": owner_id,
        "owner": {"id": owner_id, "email": owner_email, "created_at": owner_created_at.isoformat()},
        "votes": votes,
    }


async def _read_post(request: Request) -> JSONResponse:
    cursor = request.app.state.cursor
    cursor.execute(statements.GET, {"id": int(request.path_params["id"])})
    return JSONResponse(_post(cursor.fetchone()))


async def _list_posts(request: Request) -> JSONResponse:
    cursor = request.app.state.cursor
    cursor.execute(statements.LIST)
    return JSONResponse([_post(row) for row in cursor.fetchall()])


async def _ready(_request: Request) -> JSONResponse:
    return JSONResponse({})


app = Starlette(
    routes=[Route("/posts/{id}", _read_post), Route("/posts", _list_posts), Route("/readyz", _ready)],
    lifespan=_lifespan,
)
