"""What to do next: in plain words, and in those of this stack, whose commands must be there."""

import re
import string
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tangga import remedies
from tests.support.plain_words import plain_words

PROJECT = Path(__file__).parents[2]
OURS: dict[str, str] = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["tangga"]["remedies"]
MAKEFILE = (PROJECT / "Makefile").read_text()
# Not the verb: a command begins the text, or follows a colon or a bracket.
COMMAND = re.compile(r"(?:^|: |\()make ([a-z-]+)(?: ([a-z]+)=)?")
PLAIN = dict(remedies._texts)


@pytest.fixture(autouse=True)
def _plain_words() -> Iterator[None]:
    with plain_words():
        yield


def _fields(text: str) -> set[str]:
    return {field for _, field, _, _ in string.Formatter().parse(text) if field}


def test_a_text_is_filled_in() -> None:
    assert remedies.say("migrate") == "alembic upgrade head"
    assert remedies.say("downgrade-to", to="abc") == "alembic downgrade abc"


def test_a_project_puts_its_own_words_in_the_place_of_some() -> None:
    remedies.use({"migrate": "make migrate"})
    assert remedies.say("migrate") == "make migrate"
    assert remedies.say("stamp", revision="abc") == "alembic stamp abc"


def test_a_name_that_nothing_asks_for_is_refused() -> None:
    with pytest.raises(ValueError, match=r"nothing asks for: migrat$"):
        remedies.use({"migrat": "make migrate"})


@pytest.mark.parametrize("name", OURS)
def test_this_stack_fills_in_no_more_than_it_is_given(name: str) -> None:
    # The tag is this stack's own idea: failures.py gives it to whoever wants it.
    assert _fields(OURS[name]) - {"tag"} <= _fields(PLAIN[name])


@pytest.mark.parametrize("name", [name for name, text in OURS.items() if COMMAND.search(text)])
def test_the_targets_that_this_stack_names_are_there(name: str) -> None:
    for target, argument in COMMAND.findall(OURS[name]):
        line = re.search(rf"^{target}:.*## (.*)", MAKEFILE, re.MULTILINE)
        assert line, target
        if argument:
            assert re.search(rf"\b{argument}=", line[1]), (target, argument)


def test_the_way_down_from_another_image_is_a_command() -> None:
    remedies.use(OURS)
    said = remedies.say("downgrade-there", to="3b7d90c5e2a6", tag="TAG=1.4 ")
    assert said == "TAG=1.4 docker compose run --rm migrate alembic downgrade 3b7d90c5e2a6"
    assert remedies.say("history-page", page=2) == "make history page=2"
    assert remedies.say("reparent-of", revision="abc") == "make reparent r=abc"
