from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from psycopg2.extensions import connection as Connection

from services.api.posts.cursor import decode, encode
from tests.api.support import MISSING, POST, Person, assert_problem, send
from tests.databases import run

NOT_TEXT = ["\0", "Ani\0", "\ud800", "x" * 1001, None, 7, ["Ani"]]
WRONG_BODIES: list[object] = [
    {},
    None,
    [POST],
    POST | {"id": 7},
    POST | {"owner_id": 7},
    POST | {"created_at": "2026-01-01T00:00:00Z"},
    POST | {"nama": ""},
    *(POST | {"nama": value} for value in NOT_TEXT),
    *(POST | {"alamat": value} for value in NOT_TEXT),
    *(POST | {"no_hp": value} for value in NOT_TEXT if value is not None),
    POST | {"no_hp": "0" * 33},
    *(POST | {"umur": value} for value in (-1, 2**31, 2**63, 10**30, 1.5, "tiga", None)),
    *(POST | {"published": value} for value in ("perhaps", None, 2)),
    *({name: value for name, value in POST.items() if name != missing} for missing in POST),
]


def _insert(owner: Connection, person: Person, *names: str) -> list[int]:
    """Insert posts past the API, to have many quickly."""
    values = [
        run(owner, "INSERT INTO posts (nama, umur, alamat, owner_id) VALUES (%s, 1, '', %s) RETURNING id", n, person.id)
        for n in names
    ]
    return [row[0] for [row] in values]


def _names(client: TestClient, **parameters: Any) -> list[str]:
    response = client.get("/posts", params=parameters)
    assert response.status_code == 200, response.text
    return [post["nama"] for post in response.json()]


def test_creating_answers_with_the_whole_post(client: TestClient, ani: Person) -> None:
    response = client.post("/posts", json=POST, headers=ani.headers)
    assert response.status_code == 201
    post = response.json()
    assert post.pop("created_at") is not None
    owner = post.pop("owner")
    assert set(owner) == {"id", "email", "created_at"}
    assert (owner["id"], owner["email"]) == (ani.id, ani.email)
    assert post == POST | {"id": 1, "published": True, "no_hp": None, "owner_id": ani.id, "votes": 0}


@pytest.mark.parametrize(
    "given",
    [
        {"published": False, "no_hp": "0812-3456"},
        {"no_hp": ""},
        {"alamat": ""},
        {"umur": 0},
        {"umur": 2**31 - 1},
        {"nama": "x" * 1000, "alamat": "y" * 1000, "no_hp": "0" * 32},
        {"nama": "'; DROP TABLE posts; -- \\ %s %(x)s 🏠 \n"},
    ],
)
def test_what_was_written_is_what_is_read(client: TestClient, ani: Person, given: dict[str, object]) -> None:
    created = client.post("/posts", json=POST | given, headers=ani.headers).json()
    assert {name: created[name] for name in POST | given} == POST | given
    assert client.get(f"/posts/{created['id']}").json() == created
    assert client.get("/posts").json() == [created]


@pytest.mark.parametrize("body", WRONG_BODIES)
def test_a_body_of_another_form_is_422(client: TestClient, ani: Person, post_id: int, body: object) -> None:
    before = client.get("/posts").json()
    assert_problem(send(client, "POST", "/posts", body, ani), 422)
    assert_problem(send(client, "PUT", f"/posts/{post_id}", body, ani), 422)
    assert client.get("/posts").json() == before


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("post_id", [1, MISSING])
def test_an_unknown_post_is_404(client: TestClient, ani: Person, method: str, post_id: int) -> None:
    response = send(client, method, f"/posts/{post_id}", POST, ani)
    assert_problem(response, 404, "no such post")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("post_id", ["0", "-1", 2**31, 2**63, "x", "1%00"])
def test_an_id_that_no_post_can_have_is_422(client: TestClient, ani: Person, method: str, post_id: object) -> None:
    assert_problem(send(client, method, f"/posts/{post_id}", POST, ani), 422)


def test_the_owner_overwrites_the_whole_post(client: TestClient, ani: Person, post_id: int) -> None:
    before = client.get(f"/posts/{post_id}").json()
    new = {"nama": "Citra", "umur": 31, "alamat": "Jl. Mawar 2", "published": False, "no_hp": "0812"}
    after = client.put(f"/posts/{post_id}", json=new, headers=ani.headers)
    assert after.status_code == 200
    assert after.json() == before | new
    assert client.get(f"/posts/{post_id}").json() == before | new
    # What PUT leaves out goes back to its default.
    assert client.put(f"/posts/{post_id}", json=POST, headers=ani.headers).json() == before


def test_overwriting_keeps_votes(client: TestClient, ani: Person, post_id: int) -> None:
    client.post("/vote", json={"post_id": post_id, "dir": 1}, headers=ani.headers)
    assert client.put(f"/posts/{post_id}", json=POST, headers=ani.headers).json()["votes"] == 1


def test_another_user_may_neither_overwrite_nor_delete(client: TestClient, budi: Person, post_id: int) -> None:
    before = client.get("/posts").json()
    assert_problem(client.put(f"/posts/{post_id}", json=POST | {"umur": 99}, headers=budi.headers), 403)
    assert_problem(client.delete(f"/posts/{post_id}", headers=budi.headers), 403)
    assert client.get("/posts").json() == before


def test_deleting_a_post_deletes_its_votes_and_no_others(
    client: TestClient, owner: Connection, ani: Person, budi: Person, post_id: int
) -> None:
    [other] = _insert(owner, budi, "other")
    for post, person in ((post_id, ani), (post_id, budi), (other, ani)):
        assert client.post("/vote", json={"post_id": post, "dir": 1}, headers=person.headers).status_code == 201
    response = client.delete(f"/posts/{post_id}", headers=ani.headers)
    assert (response.status_code, response.content) == (204, b"")
    assert_problem(client.get(f"/posts/{post_id}"), 404)
    assert_problem(client.delete(f"/posts/{post_id}", headers=ani.headers), 404)
    assert run(owner, "SELECT user_id, post_id FROM votes") == [(ani.id, other)]


def test_deleting_a_user_deletes_their_posts_and_votes(
    client: TestClient, owner: Connection, ani: Person, budi: Person, post_id: int
) -> None:
    _insert(owner, budi, "stays")
    client.post("/vote", json={"post_id": post_id, "dir": 1}, headers=budi.headers)
    run(owner, "DELETE FROM users WHERE id = %s", ani.id)
    assert _names(client) == ["stays"]
    assert run(owner, "SELECT * FROM votes") == []


def test_the_list_is_newest_first_even_when_rows_move(client: TestClient, owner: Connection, ani: Person) -> None:
    ids = _insert(owner, ani, *(str(number) for number in range(5)))
    # PostgreSQL puts a changed row elsewhere, so a list without ORDER BY would now be in another order.
    run(owner, "UPDATE posts SET umur = 2 WHERE id IN (%s, %s)", ids[0], ids[3])
    assert [row[0] for row in run(owner, "SELECT nama FROM posts")] == ["1", "2", "4", "0", "3"]
    assert _names(client) == ["4", "3", "2", "1", "0"]


def test_limit_and_skip_cut_a_page_out(client: TestClient, owner: Connection, ani: Person) -> None:
    _insert(owner, ani, *(str(number) for number in range(120)))
    newest_first = [str(number) for number in reversed(range(120))]
    assert _names(client) == newest_first[:10]
    assert _names(client, limit=1) == newest_first[:1]
    assert _names(client, limit=100) == newest_first[:100]
    assert _names(client, limit=7, skip=3) == newest_first[3:10]
    assert _names(client, skip=115) == newest_first[115:]
    assert _names(client, skip=120) == []
    assert _names(client, skip=MISSING) == []


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=",
        "limit=x",
        f"limit={2**63}",
        "skip=-1",
        f"skip={2**31}",
        f"skip={2**63}",
        "after=",
        "after=7",
        f"after={encode(0)}",
        f"after={encode(2**31)}",
        f"after={encode(7)}=",
        f"after={encode(7)[:-1]}",
        f"after=b{encode(7)[1:]}",
        "after=%C3%A4AAAAAAH",
        "search=%00",
        "search=a%00b",
        f"search={'x' * 1001}",
    ],
)
def test_a_page_that_cannot_be_is_422(client: TestClient, query: str) -> None:
    assert_problem(client.get(f"/posts?{query}"), 422)


def test_the_link_header_leads_through_all_posts_once(client: TestClient, owner: Connection, ani: Person) -> None:
    _insert(owner, ani, *(f"nama {number}" for number in range(7)), "other")
    response = client.get("/posts", params={"limit": 3, "search": "NAMA %", "skip": 0})
    assert "link" not in response.headers
    response = client.get("/posts", params={"limit": 3, "search": "NAMA", "skip": 1})
    seen = [post["nama"] for post in response.json()]
    while "next" in response.links:
        # Somebody writes while somebody else turns pages: nothing is seen twice.
        _insert(owner, ani, "nama new")
        response = client.get(response.links["next"]["url"])
        seen += [post["nama"] for post in response.json()]
    assert seen == [f"nama {number}" for number in reversed(range(6))]


def test_the_last_page_has_no_link(client: TestClient, owner: Connection, ani: Person) -> None:
    _insert(owner, ani, "1", "2")
    assert "next" in client.get("/posts?limit=2").links
    assert "next" not in client.get("/posts?limit=3").links


def test_after_a_cursor_come_the_older_posts(client: TestClient, owner: Connection, ani: Person) -> None:
    cursors = [encode(number) for number in _insert(owner, ani, "1", "2", "3", "4")]
    assert _names(client, after=cursors[2]) == ["2", "1"]
    assert _names(client, after=cursors[2], skip=1, limit=1) == ["1"]
    assert _names(client, after=cursors[0]) == []
    assert _names(client, after=encode(MISSING)) == ["4", "3", "2", "1"]


@pytest.mark.parametrize("number", [1, 63, 64, 255, 256, 65535, 900_000, MISSING])
def test_a_cursor_leads_back_to_its_post(number: int) -> None:
    assert decode(encode(number)) == number


@pytest.mark.parametrize("path", ["/posts", "/posts/1"])
def test_a_client_that_has_the_answer_already_gets_304(
    client: TestClient, ani: Person, post_id: int, path: str
) -> None:
    first = client.get(path)
    tag = first.headers["etag"]
    assert client.get(path).headers["etag"] == tag
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = client.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag), known
    for known in ('"other"', tag.strip('"'), ""):
        assert client.get(path, headers={"If-None-Match": known}).json() == first.json(), known
    assert client.post("/vote", json={"post_id": post_id, "dir": 1}, headers=ani.headers).status_code == 201
    changed = client.get(path, headers={"If-None-Match": tag})
    assert (changed.status_code, changed.headers["etag"] != tag) == (200, True)


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("", ["100%", "a_b", "a\\b", "axb", "Ärger", "ANI"]),
        ("ani", ["ANI"]),
        ("Ni", ["ANI"]),
        ("ÄRG", ["Ärger"]),
        ("%", ["100%"]),
        ("0%", ["100%"]),
        ("_", ["a_b"]),
        ("a_b", ["a_b"]),
        ("\\", ["a\\b"]),
        ("a\\b", ["a\\b"]),
        ("\\%", []),
        ("'", []),
        ("budi", []),
    ],
)
def test_search_finds_its_letters_and_nothing_else(
    client: TestClient, owner: Connection, ani: Person, search: str, found: list[str]
) -> None:
    _insert(owner, ani, *reversed(["100%", "a_b", "a\\b", "axb", "Ärger", "ANI"]))
    assert _names(client, search=search) == found


def test_a_search_for_any_character_is_a_search(client: TestClient) -> None:
    response = client.get("/posts?search=%F0%9F%8F%A0")
    assert (response.status_code, response.json()) == (200, [])


def test_posts_show_their_owners_and_votes(
    client: TestClient, person: Callable[[str], Person], ani: Person, budi: Person, post_id: int
) -> None:
    other = client.post("/posts", json=POST | {"nama": "Budi"}, headers=budi.headers).json()["id"]
    for voter in (ani, budi, person("citra@example.com")):
        client.post("/vote", json={"post_id": post_id, "dir": 1}, headers=voter.headers)
    client.post("/vote", json={"post_id": other, "dir": 1}, headers=ani.headers)
    shown = [(post["id"], post["owner"]["email"], post["votes"]) for post in client.get("/posts").json()]
    assert shown == [(other, "budi@example.com", 1), (post_id, "ani@example.com", 3)]


def test_a_vote_count_does_not_change_whose_posts_are_listed(client: TestClient, ani: Person, post_id: int) -> None:
    assert client.get(f"/posts/{post_id}").json()["votes"] == 0
    client.post("/vote", json={"post_id": post_id, "dir": 1}, headers=ani.headers)
    assert client.get(f"/posts/{post_id}").json()["votes"] == 1
    assert client.put(f"/posts/{post_id}", json=POST, headers=ani.headers).json()["votes"] == 1
