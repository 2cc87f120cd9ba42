"""Headers on every answer, a bound on every body, other origins, and input that means harm."""

import json
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from services.api.settings import Settings
from tests.api.support import POST, Person, another, assert_problem, serving

ALWAYS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
ORIGIN = "https://app.example.org"
JSON = {"Content-Type": "application/json"}


def _assert_headers(client: TestClient, method: str, path: str, status: int, **more: object) -> None:
    answer = client.request(method, path, **more)  # type: ignore[arg-type]
    assert answer.status_code == status, answer.text
    assert {name: answer.headers.get(name) for name in ALWAYS} == ALWAYS
    assert len(answer.headers.get_list("cache-control")) == 1
    assert "strict-transport-security" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/posts", 200),
        ("GET", "/healthz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/openapi.json", 200),
        ("POST", "/posts", 401),
        ("GET", "/nothing", 404),
        ("PATCH", "/posts", 405),
        ("POST", "/login", 422),
    ],
)
def test_every_answer_has_the_security_headers(client: TestClient, method: str, path: str, status: int) -> None:
    _assert_headers(client, method, path, status)


def test_so_has_the_answer_to_a_bug(database: str) -> None:
    def fail() -> None:
        raise RuntimeError

    with serving(database) as client:
        assert isinstance(client.app, FastAPI)
        client.app.add_api_route("/fail", fail)
        _assert_headers(client, "GET", "/fail", 500)


def test_what_a_body_led_to_is_not_kept_and_neither_is_an_error(client: TestClient, ani: Person, post_id: int) -> None:
    assert client.get(f"/posts/{post_id}").headers["cache-control"] == "no-cache"
    assert client.get(f"/users/{ani.id}").headers["cache-control"] == "no-cache"
    assert client.post("/login", data={"username": "a", "password": "b"}).headers["cache-control"] == "no-store"
    assert client.post("/posts", json=POST, headers=ani.headers).headers["cache-control"] == "no-store"
    assert client.get("/posts/999").headers["cache-control"] == "no-store"


def test_only_over_https_is_https_demanded(client: TestClient) -> None:
    assert "strict-transport-security" not in client.get("/").headers
    secure = another(client, base_url="https://testserver")
    assert secure.get("/").headers["strict-transport-security"] == "max-age=31536000"


# --- Other origins


def test_an_origin_that_is_named_is_let_in_and_no_other(database: str) -> None:
    with serving(database, CORS_ORIGINS=f"{ORIGIN}, http://localhost:5173") as client:
        answer = client.get("/posts", headers={"Origin": ORIGIN})
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "Origin" in answer.headers["vary"]
        assert "access-control-allow-credentials" not in answer.headers
        asked = {
            "Origin": ORIGIN,
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "authorization, content-type, idempotency-key",
        }
        assert client.options("/posts/1", headers=asked).status_code == 200
        other = {"Origin": "https://app.example.org.evil.example"}
        assert "access-control-allow-origin" not in client.get("/posts", headers=other).headers
        assert client.options("/posts/1", headers=asked | other).status_code == 400


@pytest.mark.parametrize(
    "origins",
    [
        "*",
        f"{ORIGIN},*",
        "app.example.org",
        f"{ORIGIN}/",
        f"{ORIGIN}/path",
        "https://*.example.org",
        "null",
        ",",
        "ftp://a",
    ],
)
def test_an_origin_that_is_not_exact_ends_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], origins: str
) -> None:
    monkeypatch.setenv("CORS_ORIGINS", origins)
    with pytest.raises(SystemExit) as ended:
        Settings.load()
    assert ended.value.code == 2
    assert "CORS_ORIGINS: must be exact origins" in capsys.readouterr().err


# --- Size


def test_a_body_past_the_limit_is_413_whether_its_length_is_told_or_not(client: TestClient, ani: Person) -> None:
    def chunks() -> Iterator[bytes]:
        yield b" " * 40_000
        yield b" " * 40_000

    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for path, kind in (("/posts", JSON), ("/login", form), ("/users", JSON), ("/vote", JSON)):
        answer = client.post(path, content=b" " * 65_537, headers=ani.headers | kind)
        assert_problem(answer, 413, "65536")
        assert answer.headers["connection"] == "close"
        assert_problem(client.post(path, content=chunks(), headers=ani.headers | kind), 413, "65536")


def test_a_body_at_the_limit_is_read(client: TestClient, ani: Person) -> None:
    text = json.dumps(POST)
    padded = text + " " * (65_536 - len(text))
    assert client.post("/posts", content=padded, headers=ani.headers | JSON).status_code == 201


def test_the_limit_is_a_setting(database: str) -> None:
    with serving(database, BODY_LIMIT="40000") as client:
        assert_problem(client.post("/users", content=b" " * 40_001, headers=JSON), 413, "40000")


def test_the_largest_post_that_is_valid_is_below_the_limit(client: TestClient, ani: Person) -> None:
    long = "\N{ROLLING ON THE FLOOR LAUGHING}" * 1000
    largest = json.dumps(POST | {"nama": long, "alamat": long, "no_hp": long[:32]})
    assert "\\ud83e" in largest
    assert client.post("/posts", content=largest, headers=ani.headers | JSON).status_code == 201


# --- Type and form of the body


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""])
def test_a_body_of_another_type_is_415(client: TestClient, ani: Person, kind: str) -> None:
    headers = ani.headers | ({"Content-Type": kind} if kind else {})
    assert_problem(client.post("/posts", content=json.dumps(POST), headers=headers), 415)
    assert_problem(client.post("/posts", content=json.dumps(POST), headers=headers | {"Authorization": ""}), 401)


def test_json_is_no_form(client: TestClient) -> None:
    assert_problem(client.post("/login", json={"username": "a", "password": "b"}), 415)


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/vnd.api+json", "APPLICATION/JSON"])
def test_json_by_another_name_is_read(client: TestClient, ani: Person, kind: str) -> None:
    answer = client.post("/posts", content=json.dumps(POST), headers=ani.headers | {"Content-Type": kind})
    assert answer.status_code == 201


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"[" * 60_000, id="nested"),
        pytest.param(b'{"a":' * 12_000, id="nested-objects"),
        pytest.param(b'{"nama":"a","alamat":"","umur":' + b"9" * 60_000 + b"}", id="long-number"),
        pytest.param(b'{"nama":"a","alamat":"","umur":1e999}', id="infinite"),
        pytest.param(b'{"nama":"a","alamat":"","umur":NaN}', id="nan"),
        pytest.param(b'{"nama":"a","alamat":"","umur":Infinity}', id="infinity"),
        pytest.param(b'{"nama":"\xff\xfe","alamat":"","umur":1}', id="not-utf-8"),
        pytest.param(b'{"nama":"\\ud800","alamat":"","umur":1}', id="lone-surrogate"),
        pytest.param(b'{"nama":"a\\u0000","alamat":"","umur":1}', id="nul"),
        pytest.param(b'{"nama":"a","alamat":"","umur":1,"a\\u0000":1}', id="nul-in-a-name"),
        pytest.param(b'{"nama":"a","alamat":"","umur":1} x', id="more-behind-it"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\0", id="a-nul-byte"),
    ],
)
def test_json_that_means_harm_is_422(client: TestClient, ani: Person, body: bytes) -> None:
    assert_problem(client.post("/posts", content=body, headers=ani.headers | JSON), 422)


@pytest.mark.parametrize("umur", ["30", "", True, False, None, 30.5, [30], {"umur": 30}, 2**31, -1, 10**400])
def test_a_number_is_a_number(client: TestClient, ani: Person, umur: object) -> None:
    body = json.dumps(POST | {"umur": umur})
    assert_problem(client.post("/posts", content=body, headers=ani.headers | JSON), 422)


@pytest.mark.parametrize("published", [1, 0, "true", "yes", None])
def test_a_truth_value_is_a_truth_value(client: TestClient, ani: Person, published: object) -> None:
    assert_problem(client.post("/posts", json=POST | {"published": published}, headers=ani.headers), 422)


def test_true_is_no_vote(client: TestClient, ani: Person, post_id: int) -> None:
    for body in ({"post_id": post_id, "dir": True}, {"post_id": True, "dir": 1}, {"post_id": str(post_id), "dir": 1}):
        assert_problem(client.post("/vote", json=body, headers=ani.headers), 422)


def test_thirty_point_nought_is_thirty(client: TestClient, ani: Person) -> None:
    answer = client.post("/posts", json=POST | {"umur": 30.0}, headers=ani.headers)
    assert (answer.status_code, answer.json()["umur"]) == (201, 30)


def test_of_two_equal_names_the_last_one_counts(client: TestClient, ani: Person) -> None:
    body = json.dumps(POST)[:-1] + ', "umur": 31}'
    assert client.post("/posts", content=body, headers=ani.headers | JSON).json()["umur"] == 31


@pytest.mark.parametrize(
    "email",
    ["Ani <ani@example.com>", "ani@example.com\0", "ani", "ani@example.com, budi@example.com", "a" * 3000 + "@b.com"],
)
def test_an_address_is_an_address(client: TestClient, email: str) -> None:
    assert_problem(client.post("/users", json={"email": email, "password": "correct horse"}), 422)


# --- Path and query


@pytest.mark.parametrize(
    "number", ["0", "-1", "+1", "%201", "1.0", "1_0", "1e3", "1%00", "2147483648", "9" * 1000, "%D9%A1"]
)
def test_an_id_is_written_in_digits(client: TestClient, number: str) -> None:
    assert_problem(client.get(f"/posts/{number}"), 422)
    assert_problem(client.get(f"/users/{number}"), 422)


@pytest.mark.parametrize(
    "query",
    [
        "search=%00",
        "search=%ff",
        "search=%ed%a0%80",
        "limit=1_0",
        "limit=true",
        "skip=1.0",
        "limit=",
        "after=%00",
        "x=%c3",
    ],
)
def test_a_query_that_means_harm_is_422(client: TestClient, query: str) -> None:
    assert_problem(client.get(f"/posts?{query}"), 422)


def test_an_unknown_query_parameter_is_ignored(client: TestClient) -> None:
    assert client.get("/posts?utm_source=mail").status_code == 200


@pytest.mark.parametrize("path", ["/posts/", "/users/", "/docs/", "//posts", "/healthz/"])
def test_a_slash_too_many_is_404_and_no_redirect(client: TestClient, path: str) -> None:
    assert_problem(client.request("GET", f"http://testserver{path}", follow_redirects=False), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/posts", "GET, POST"),
        ("PATCH", "/posts/1", "DELETE, GET, PUT"),
        ("HEAD", "/posts", "GET, POST"),
        ("OPTIONS", "/users/1", "GET"),
        ("GET", "/login", "POST"),
        ("TRACE", "/", "GET"),
    ],
)
def test_405_names_every_method_of_the_path(client: TestClient, method: str, path: str, allowed: str) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allowed
    assert answer.headers["content-type"] == "application/problem+json"
