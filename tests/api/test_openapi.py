"""The OpenAPI document is complete, and what it shows is true."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from services.api.openapi import document
from services.api.problem import MEDIA_TYPE
from tests.api.support import Person, serving

Json = dict[str, Any]


@pytest.fixture(scope="module")
def shown(client: TestClient) -> Json:
    answer: Json = client.get("/openapi.json").json()
    return answer


def _operations(shown: Json) -> Iterator[tuple[str, str, Json]]:
    for path, item in shown["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(reference := node.get("$ref"), str):
            yield reference
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def test_every_operation_is_explained(shown: Json) -> None:
    tags = {tag["name"] for tag in shown["tags"] if tag["description"]}
    names = []
    for method, path, operation in _operations(shown):
        assert operation["summary"], (method, path)
        assert operation["description"], (method, path)
        assert ".py" not in operation["description"], (method, path)
        assert set(operation["tags"]) <= tags
        names.append(operation["operationId"])
        for parameter in operation.get("parameters", []):
            assert parameter.get("description") or parameter["in"] == "path", (path, parameter["name"])
    assert len(names) == len(set(names))
    # Generated clients are named after these.
    assert {"list_posts", "create_post", "read_post", "replace_post", "delete_post"} <= set(names)
    assert {"create_user", "read_user", "log_in", "vote", "healthz", "readyz", "metrics", "root"} <= set(names)


def test_every_error_is_a_problem_and_every_body_has_an_example(shown: Json) -> None:
    for method, path, operation in _operations(shown):
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        for status, response in operation["responses"].items():
            assert status == "414" or "X-Request-ID" in response["headers"], (method, path, status)
            assert ("content" in response) == (status not in ("204", "304")), (method, path, status)
            if status == "414" or (path, status) == ("/readyz", "503"):
                continue  # the server's own text; the reason why the service is not ready
            bodies.append(response)
            if status >= "400":
                assert response["content"][MEDIA_TYPE]["schema"] == {"$ref": "#/components/schemas/Problem"}
                assert set(response["content"]) == {MEDIA_TYPE}
        for body in bodies:
            for media in body.get("content", {}).values():
                assert "example" in media, (method, path, media)


def test_what_may_have_been_done_is_told_apart_from_what_was_not(shown: Json) -> None:
    for method, path, operation in _operations(shown):
        if "504" in operation["responses"]:
            assert ("may have been done" in operation["responses"]["504"]["description"]) == (method != "get"), path
        assert "may have been done" not in operation["responses"]["503"]["description"]


def test_errors_that_follow_from_the_form_of_a_route_are_there(shown: Json) -> None:
    for method, path, operation in _operations(shown):
        expected = {"500", "503"}
        expected |= {"401"} if "security" in operation else set()
        expected |= {"413", "415", "422"} if "requestBody" in operation else set()
        expected |= {"414", "422"} if "parameters" in operation else set()
        expected |= {"504"} if "health" not in operation["tags"] else set()
        assert expected <= set(operation["responses"]), (method, path)
        for status, header in (("401", "WWW-Authenticate"), ("429", "Retry-After"), ("503", "Retry-After")):
            if status in operation["responses"]:
                assert header in operation["responses"][status]["headers"], (method, path, status)


def test_references_and_links_lead_somewhere(shown: Json) -> None:
    for reference in _references(shown):
        node: Any = shown
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
    names = {operation["operationId"] for _, _, operation in _operations(shown)}
    links = [
        link
        for _, _, operation in _operations(shown)
        for response in operation["responses"].values()
        for link in response.get("links", {}).values()
    ]
    assert len(links) > 8
    assert {link["operationId"] for link in links} <= names
    assert "HTTPValidationError" not in shown["components"]["schemas"]


def test_only_routes_that_ask_for_a_token_say_so(shown: Json) -> None:
    secured = {operation["operationId"] for _, _, operation in _operations(shown) if "security" in operation}
    assert secured == {"create_post", "replace_post", "delete_post", "vote"}
    [(name, scheme)] = shown["components"]["securitySchemes"].items()
    assert scheme["flows"]["password"]["tokenUrl"].lstrip("/") == "login"
    assert name == "OAuth2PasswordBearer"


def test_request_examples_are_accepted(client: TestClient, shown: Json, ani: Person, post_id: int) -> None:
    values = {"/users": 201, "/posts": 201, "/vote": 201}
    for path, status in values.items():
        [media] = shown["paths"][path]["post"]["requestBody"]["content"].values()
        example = media["example"] | ({"email": "new@example.com"} if path == "/users" else {})
        answer = client.post(path, json=example, headers=ani.headers)
        assert answer.status_code == status, answer.text
    [media] = shown["paths"]["/posts/{post_id}"]["put"]["requestBody"]["content"].values()
    assert client.put(f"/posts/{post_id}", json=media["example"], headers=ani.headers).status_code == 200


def test_answers_have_the_fields_of_their_examples(client: TestClient, shown: Json, ani: Person, post_id: int) -> None:
    paths = {"/posts": "/posts", "/posts/{post_id}": f"/posts/{post_id}", "/users/{user_id}": f"/users/{ani.id}"}
    for template, path in paths.items():
        example = shown["paths"][template]["get"]["responses"]["200"]["content"]["application/json"]["example"]
        answer = client.get(path).json()
        if isinstance(answer, list):
            [answer], [example] = answer, example
        assert set(answer) == set(example), path


def test_the_document_is_built_when_it_is_asked_for_and_only_then(database: str) -> None:
    with serving(database) as client:
        assert isinstance(client.app, FastAPI)
        assert client.get("/posts").status_code == 200
        assert not hasattr(client.app.state, "openapi")
        first = client.get("/openapi.json")
        assert first.content == client.get("/openapi.json").content == client.app.state.openapi
        assert first.json() == document(client.app)
