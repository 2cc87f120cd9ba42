"""Who asks, behind a proxy: gunicorn takes over the scheme from a proxy that is believed, but not the client."""

from functools import lru_cache
from ipaddress import ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from services.api.settings import Settings, networks


class Forwarded:
    """Set the client's address from X-Forwarded-For, as far as FORWARDED_ALLOW_IPS wrote it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of any type; only HTTP that comes from a proxy is changed."""
        if scope["type"] == "http" and (peer := scope.get("client")):
            settings: Settings = scope["app"].state.settings
            if _believed(peer[0], settings.forwarded_allow_ips):
                scope["client"] = (_client(scope, peer[0], settings.forwarded_allow_ips), peer[1])
        await self._app(scope, receive, send)


def _client(scope: Scope, peer: str, believed: str) -> str:
    """Return the last address that no believed proxy has: what stands further left, anybody may have written."""
    lines = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    for address in reversed(",".join(lines).split(",")):
        address = address.strip()
        if not _is_address(address):
            return peer
        peer = address
        if not _believed(address, believed):
            return address
    return peer


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=1024)
def _believed(address: str, believed: str) -> bool:
    return _is_address(address) and any(ip_address(address) in network for network in networks(believed))
