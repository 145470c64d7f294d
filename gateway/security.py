"""What browsers are told and asked: whose pages may come, and what they may do. An ASGI application around another.

A request of a program that is no browser costs one look through its headers.
"""

from typing import Any

from litestar.types import ASGIApp, Message, Receive, Send

from entry.origins import Origins
from entry.problems import Declined
from gateway.http import Headers, HttpAnswer, problem_answer
from runtime.keys import Keys
from runtime.settings import Settings

HEADERS = (("x-content-type-options", "nosniff"),)
"""Of every answer. Pages have more (gateway/site.py): JSON that nobody may take for something else is neither shown nor
handed to a page of another site, and each header costs every order 1 % of its way through here."""
_ALWAYS_TLS = (("strict-transport-security", "max-age=31536000"),)

_HEALTH = "/health/"
_READ_ONLY = ("GET", "HEAD", "OPTIONS")
_PREFLIGHT: Headers = (
    (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE"),
    (
        b"access-control-allow-headers",
        b"Authorization, Content-Type, Idempotency-Key, If-None-Match, Journal-Sequence, Prefer, "
        b"Pricetime-Key, Pricetime-Timestamp, Pricetime-Signature",
    ),
    (b"access-control-max-age", b"600"),
    (b"cache-control", b"no-store"),
)
_EXPOSED = (
    b"access-control-expose-headers",
    b"Allow, ETag, Idempotent-Replayed, Journal-Sequence, Location, Preference-Applied, RateLimit-Limit, "
    b"RateLimit-Policy, RateLimit-Remaining, RateLimit-Reset, Retry-After",
)


def headers(settings: Settings) -> list[tuple[str, str]]:
    """Of every answer. Browsers are told to insist on TLS where the exchange has a name of its own: told so by
    `localhost`, they would ask it of everything else on the machine."""
    return [*HEADERS, *(_ALWAYS_TLS if settings.tls_cert and settings.allowed_hosts else ())]


class Security:
    def __init__(self, app: ASGIApp, keys: Keys, origins: Origins) -> None:
        self._app = app
        self._keys = keys
        self._origins = origins

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        host, origin, asks = b"", None, False
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
            elif name == b"origin":
                origin = value
            elif name == b"access-control-request-method":
                asks = True
        app: ASGIApp = self._app
        if origin is not None and self._origins.allows(origin):
            send = _with_headers(self._grant(origin), send)
            if asks and scope["method"] == "OPTIONS":
                app = HttpAnswer(204, b"", _PREFLIGHT)
        try:
            self._check(scope, host, origin)
        except Declined as error:
            app = problem_answer(error.problem)
        await app(scope, receive, send)

    def _check(self, scope: Any, host: bytes, origin: bytes | None) -> None:
        """Raises Declined."""
        is_open = not self._keys.required
        if host and not scope["path"].startswith(_HEALTH):
            self._origins.check_host(host, is_open)
        if origin is not None and is_open and scope["method"] not in _READ_ONLY:
            self._origins.check_page(origin, host)

    def _grant(self, origin: bytes) -> Headers:
        if self._origins.any_origin:
            return ((b"access-control-allow-origin", b"*"), _EXPOSED)
        return ((b"access-control-allow-origin", origin), (b"vary", b"Origin"), _EXPOSED)


def _with_headers(more: Headers, send: Send) -> Send:
    async def send_with_more(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers: Any = message["headers"]
            message["headers"] = [*headers, *more]
        await send(message)

    return send_with_more
