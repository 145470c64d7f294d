"""Where a browser or a client finds the WebSocket of this exchange: `GET /config.json`, and what a page may connect to.

The gateway listens on one port and the broadcaster on another, under whatever name the one who asks has used: so the
address is made of the request's own Host, unless a setting gives it. Behind a proxy that serves both at one origin the
setting is a path.
"""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from gateway.http import HttpAnswer, HttpRequest, header, json_answer, query
from gateway.routes import Route
from runtime.settings import PREFIX, Settings, SettingsError

SOCKET_PATH = "/ws"

_HOST = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
"""A Host is what its sender likes; what is more than a name or address must not get into a header of ours."""

_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")

SocketUrl = Callable[[Any], str]
"""From a request's ASGI scope to the address of /ws."""


class PublicConfig(Struct, frozen=True):
    """What a page or client of this exchange has to know before anything else."""

    ws_url: str
    default_symbol: str
    version: str


def socket_url(settings: Settings) -> SocketUrl:
    """Raises SettingsError for a `public_ws_url` that cannot be."""
    given = settings.public_ws_url
    if _PATH.fullmatch(given):
        return lambda scope: f"{_scheme(scope, settings)}://{_authority(scope, settings)}{given}"
    if given:
        complete = _complete(given)
        return lambda scope: complete
    return lambda scope: f"{_scheme(scope, settings)}://{_name(scope, settings)}:{settings.ws_port}{SOCKET_PATH}"


def origin_of(url: str) -> str:
    """Without the path: what a Content-Security-Policy names."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def config_routes(settings: Settings, version: str) -> list[Route]:
    url_of = socket_url(settings)

    async def config(request: HttpRequest) -> HttpAnswer:
        query(request)
        return json_answer(PublicConfig(url_of(request.scope), settings.default_instrument, version))

    return [Route("GET", "/config.json", config)]


def _complete(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not _HOST.fullmatch(parts.netloc) or parts.query or parts.fragment:
        raise SettingsError(
            f"{PREFIX}PUBLIC_WS_URL is {url!r}: give the address of the WebSocket as browsers reach it, as in "
            "wss://trade.example.com/ws, or a path such as /ws if it is the page's own host and port"
        )
    return url if parts.path not in ("", "/") else f"{parts.scheme}://{parts.netloc}{SOCKET_PATH}"


def _scheme(scope: Any, settings: Settings) -> str:
    """A proxy that takes TLS off says so; who makes it up misleads nobody but himself."""
    secure = settings.tls_cert is not None or header(scope, b"x-forwarded-proto") == "https"
    return "wss" if secure else "ws"


def _authority(scope: Any, settings: Settings) -> str:
    """Host and port as the one who asks wrote them."""
    host = header(scope, b"host") or ""
    return host if _HOST.fullmatch(host) else f"{settings.http_host}:{settings.http_port}"


def _name(scope: Any, settings: Settings) -> str:
    found = _HOST.fullmatch(_authority(scope, settings))
    return found[1] if found else settings.http_host
