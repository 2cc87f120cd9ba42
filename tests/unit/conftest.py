import pytest

# What the stack gives to its containers. The one of this tier has no setting, as it has no network.
_SETTINGS = {
    "DB_USERNAME": "someone",
    "DB_PASS": "a-password-of-its-own",
    "DB_HOSTNAME": "db.example",
    "DB_NAME": "some-name",
    "TOKEN_KEY": "0123456789abcdef0123456789abcdef",
}


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in _SETTINGS.items():
        monkeypatch.setenv(name, value)
