"""What the documentation page is made of. tests/stack/test_docs_page.py opens it in a browser."""

import re

import pytest
from fastapi.testclient import TestClient

from services.api.docs.routes import VERSION
from tests.api.support import assert_problem
from tests.databases import PROJECT

FOLDER = PROJECT / "services/api/docs"


def test_the_page_names_no_other_host_and_holds_no_script(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert not re.search(r"https?:|//|<script>|<style>| on[a-z]+=", page.text)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


def test_everything_that_the_page_loads_is_there(client: TestClient) -> None:
    files = re.findall(r'(?:src|href)="(docs/[^"]+)"', client.get("/docs").text)
    assert len(files) == 3
    for file in files:
        answer = client.get(f"/{file}")
        assert answer.status_code == 200, file
        assert answer.headers["content-type"].split(";")[0] in ("text/javascript", "text/css")
        assert "immutable" in answer.headers["cache-control"]


@pytest.mark.parametrize("name", ["swagger-ui-bundle.js", "swagger-ui.css"])
def test_a_client_without_gzip_gets_the_same_file(client: TestClient, name: str) -> None:
    path = f"/docs/{VERSION}/{name}"
    compressed = client.get(path, headers={"Accept-Encoding": "gzip"})
    plain = client.get(path, headers={"Accept-Encoding": "identity"})
    assert compressed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert compressed.content == plain.content
    assert len(plain.content) > 2 * int(compressed.headers["content-length"])


@pytest.mark.parametrize(
    "path", ["/docs/", "/redoc", "/docs/0/start.js", f"/docs/{VERSION}/VERSION", f"/docs/{VERSION}/..%2froutes.py"]
)
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    assert_problem(client.get(path), 404)


def test_the_files_come_with_their_licence_and_origin() -> None:
    assert "Apache License" in (FOLDER / "swagger-ui/LICENSE").read_text()
    assert "Swagger" in (FOLDER / "swagger-ui/NOTICE").read_text() or (FOLDER / "swagger-ui/NOTICE").stat().st_size
    assert re.fullmatch(r"[0-9.]+ sha512-[A-Za-z0-9+/]{86}==\n", (FOLDER / "swagger-ui/VERSION").read_text())
