"""Behind a proxy, the client is who the proxy says; anywhere else, who connects."""

import pytest
from fastapi.testclient import TestClient

from tests.api.support import another, printed, serving

PROXY = "172.20.0.5"


def _failures(client: TestClient, header: str | None, times: int = 2) -> list[int]:
    headers = {"X-Forwarded-For": header} if header else {}
    wrong = {"username": f"{header}@example.com".replace(", ", "-"), "password": "not the password"}
    return [client.post("/login", data=wrong, headers=headers).status_code for _ in range(times)]


@pytest.mark.parametrize(
    ("peer", "header", "client"),
    [
        (PROXY, "203.0.113.7", "203.0.113.7"),
        (PROXY, "198.51.100.1, 203.0.113.7", "203.0.113.7"),  # whatever a client sends stands further left
        (PROXY, f"203.0.113.7, {PROXY}", "203.0.113.7"),  # two proxies of ours
        (PROXY, "2001:db8::7", "2001:db8::7"),
        (PROXY, None, PROXY),
        (PROXY, "unknown", PROXY),
        (PROXY, "203.0.113.7, <script>", PROXY),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),  # nobody's proxy
    ],
)
def test_the_client_is_the_last_address_that_no_proxy_of_ours_has(
    database: str, peer: str, header: str | None, client: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(database, FORWARDED_ALLOW_IPS="127.0.0.1, 172.20.0.0/16", LOG_FORMAT="json") as served:
        browser = another(served, client=(peer, 50000))
        assert browser.get("/", headers={"X-Forwarded-For": header} if header else {}).status_code == 200
    assert f'"client":"{client}"' in printed(capfd)


def test_clients_behind_one_proxy_do_not_use_up_each_others_log_ins(database: str) -> None:
    limits = {"LOGIN_ATTEMPTS_PER_ADDRESS": "1"}
    with serving(database, FORWARDED_ALLOW_IPS=PROXY, **limits) as served:
        proxy = another(served, client=(PROXY, 50000))
        assert _failures(proxy, "203.0.113.7") == [401, 429]
        assert _failures(proxy, "203.0.113.8") == [401, 429]
    with serving(database, **limits) as served:  # not believed: all are the proxy
        proxy = another(served, client=(PROXY, 50000))
        assert _failures(proxy, "203.0.113.9") == [401, 429]
        assert _failures(proxy, "203.0.113.10") == [429, 429]
