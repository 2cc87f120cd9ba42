"""The documentation page and the document that it shows. Nothing is loaded from elsewhere."""

import gzip
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from services.api.openapi import document
from services.api.problem import Problem

router = APIRouter(include_in_schema=False)

_folder = Path(__file__).parent
_swagger_ui = _folder / "swagger-ui"
VERSION = (_swagger_ui / "VERSION").read_text().split()[0]
# The version is in the path, so a browser asks for a file once.
_FILES = {
    "swagger-ui-bundle.js": (_swagger_ui / "swagger-ui-bundle.js.gz", "text/javascript"),
    "swagger-ui.css": (_swagger_ui / "swagger-ui.css.gz", "text/css"),
    "start.js": (_folder / "start.js", "text/javascript"),
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@cache
def _page() -> str:
    return (_folder / "index.html").read_text().replace("VERSION", VERSION)


@router.get("/docs")
def docs() -> HTMLResponse:
    """Show the API and let people try it."""
    return HTMLResponse(_page(), headers={"Content-Security-Policy": _POLICY})


@router.get("/docs/{version}/{name}")
def docs_file(version: str, name: str, request: Request) -> Response:
    """Serve a file of the page. The large ones are kept compressed, as every browser takes them."""
    if version != VERSION or name not in _FILES:
        raise Problem(404, "There is nothing at this path.")
    file, media_type = _FILES[name]
    content = file.read_bytes()
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    if file.suffix == ".gz":
        headers["Vary"] = "Accept-Encoding"
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
        else:
            content = gzip.decompress(content)
    return Response(content, media_type=media_type, headers=headers)


@router.get("/openapi.json")
def openapi(request: Request) -> Response:
    """Return the OpenAPI document. It is built when it is first asked for, and kept as text."""
    state = request.app.state
    if not hasattr(state, "openapi"):
        state.openapi = JSONResponse(document(request.app)).body
    return Response(state.openapi, media_type="application/json")
