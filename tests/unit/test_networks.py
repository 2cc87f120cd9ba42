"""What the compose files say of networks and secrets, service by service."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
FILES = sorted([*PROJECT.glob("compose*.yaml"), *PROJECT.glob("deploy/*.yaml")])
SECRET = re.compile(r"\$\{(?:\w+_PASS|POSTGRES_PASSWORD|TOKEN_KEY\w*)\b")


class _Loader(yaml.SafeLoader):
    """Compose's own tags (`!reset`) stand for nothing."""


_Loader.add_multi_constructor("!", lambda *_: None)


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.load(path.read_text(), _Loader)
    return content


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_secret_stands_where_an_overlay_cannot_take_it_away(path: Path) -> None:
    # `docker compose config` prints blocks with x- as they are.
    blocks = {name: block for name, block in _read(path).items() if name.startswith("x-")}
    assert not SECRET.search(str(blocks))


def test_every_service_is_on_the_network_without_a_way_out() -> None:
    content = _read(PROJECT / "compose.yaml")
    networks = {name: set(service["networks"]) for name, service in content["services"].items()}
    assert networks.pop("api") == {"inside", "published"}
    assert networks.pop("lock") == {"outside"}
    assert "DB_PASS" not in str(content["services"]["lock"])
    assert networks
    assert all(each == {"inside"} for each in networks.values())
    assert content["networks"]["inside"]["internal"] is True
    # Of two networks that could be the way out, the engine takes the first by name.
    assert min(content["networks"].keys() - {"inside"}) == "outside"
