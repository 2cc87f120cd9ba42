"""docs/api.md has every route and every setting, with its default and bounds."""

import re

import pytest
import yaml
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.testclient import TestClient

from services.api.main import app
from services.api.settings import Settings
from tests.api.support import POST, Person, another
from tests.databases import PROJECT

PAGE = (PROJECT / "docs/api.md").read_text()
SETTINGS = {
    row[0]: row[1:]
    for row in re.findall(r"^\| `([A-Z_]+)` \| (.*?) \| (.*?) \| .*\|$", PAGE.partition("## Settings")[2], re.M)
}
PASSED_ON = set(yaml.safe_load((PROJECT / "compose.yaml").read_text())["services"]["api"]["environment"])
MANUAL = set(re.findall(r"^#?([A-Z][A-Z_]+)=", (PROJECT / ".env.example").read_text(), re.M))


def _routes() -> set[str]:
    return {
        f"{method} {context.path}"
        for context in iter_route_contexts(app.routes)
        if isinstance(context.original_route, APIRoute)
        for method in context.methods or ()
    }


def test_every_route_is_on_the_page_and_no_other() -> None:
    table = PAGE.partition("## Routes")[2].partition("\n\nA path")[0]
    assert set(re.findall(r"`((?:GET|POST|PUT|DELETE) /[^`]*)`", table)) == _routes()


def test_every_setting_is_on_the_page_and_in_the_manual_and_no_other() -> None:
    names = {name.upper() for name in Settings.model_fields} | PASSED_ON
    assert set(SETTINGS) == names
    assert names <= MANUAL


@pytest.mark.parametrize("name", sorted(set(SETTINGS) & {name.upper() for name in Settings.model_fields}))
def test_the_page_names_the_default_and_the_bounds(name: str) -> None:
    default, bounds = SETTINGS[name]
    field = Settings.model_fields[name.lower()]
    if not field.is_required():
        assert default.strip("`") == (str(field.default or "none") if field.default is not False else "false")
    for limit in field.metadata:
        for bound in ("ge", "le", "gt"):
            if (value := getattr(limit, bound, None)) is not None:
                assert re.search(rf"\b{value}\b", bounds), (name, bound, value)


def test_what_everybody_can_read_is_what_the_page_says(client: TestClient, ani: Person, budi: Person) -> None:
    hidden = client.post("/posts", json=POST | {"published": False, "no_hp": "0812"}, headers=ani.headers).json()
    stranger = another(client)
    for shown in (stranger.get(f"/posts/{hidden['id']}").json(), *stranger.get("/posts").json()):
        assert set(shown) == {
            "id", "nama", "umur", "alamat", "published", "no_hp", "created_at", "owner_id", "owner", "votes"
        }  # fmt: skip
        assert (shown["published"], shown["no_hp"]) == (False, "0812")
        assert set(shown["owner"]) == {"id", "email", "created_at"}
    # Budi has written nothing.
    assert set(stranger.get(f"/users/{budi.id}").json()) == {"id", "email", "created_at"}
    taken = stranger.post("/users", json={"email": budi.email, "password": "12345678"})
    assert taken.status_code == 409
    section = " ".join(PAGE.partition("## What everybody can read")[2].partition("\n## ")[0].split())
    for name in (*shown.keys() - {"id", "created_at", "owner", "owner_id", "votes"}, "GET /users/1", "answers 409"):
        assert name in section, name
    for words in ("e-mail address", "phone number", "`published: false`", "have written anything or not"):
        assert words in section, words
