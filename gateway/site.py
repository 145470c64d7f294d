"""The pages for people: trading page, start page, API documentation, errors. Everything comes from this package."""

import asyncio
import html
from collections.abc import Callable, Iterator
from functools import cache
from gzip import compress
from hashlib import sha256
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from typing import Any

import msgspec

from entry.problems import CODES
from entry.stream_codes import STREAM_CODES
from gateway.http import Headers, HttpAnswer, HttpRequest, header
from gateway.openapi import document
from gateway.places import SocketUrl, origin_of
from gateway.routes import Handle, Route

_FILES = resources.files("gateway") / "static"

_COMMON: Headers = (
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
# nothing may come from anywhere but here
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'{styles}; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'{sockets}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Swagger UI sets style attributes
_SECURITY: Headers = (
    (b"content-security-policy", _POLICY.format(styles=" 'unsafe-inline'", sockets="").encode()),
    *_COMMON,
)
_TYPES = {
    "html": b"text/html; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "mjs": b"text/javascript; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "svg": b"image/svg+xml",
    "json": b"application/json",
}
_SERVED = (
    "site.css",
    "home.js",
    "docs.js",
    "docs.css",
    "icon.svg",
    "vendor/swagger-ui/swagger-ui-bundle.js",
    "vendor/swagger-ui/swagger-ui.css",
    "vendor/lightweight-charts/lightweight-charts.mjs",
)


def site_routes(default_symbol: str, socket_url: SocketUrl) -> list[Route]:
    home = _read("home.html").replace(b"{{symbol}}", html.escape(default_symbol).encode())
    described = msgspec.json.encode(document(metadata.version("pricetime")))
    errors = _read("errors.html").replace(b"{{codes}}", error_rows().encode())
    return [
        Route("GET", "/", _file(trading_page(), "html", lambda scope: _trading_security(socket_url(scope)))),
        _page("/about", home, "html"),
        _page("/docs", _read("docs.html"), "html"),
        _page("/docs/errors", errors, "html"),
        _page("/docs/openapi.json", described, "json"),
        _page("/favicon.ico", _read("icon.svg"), "svg"),
        *(_page(f"/static/{name}", _read(name), name.rsplit(".", 1)[-1]) for name in served_files()),
    ]


def served_files() -> list[str]:
    """What is at /static, by its path there."""
    return [*_SERVED, *(f"trade/{each.name}" for each in _trade_files())]


def trading_page() -> bytes:
    """With the names of its modules, so that a browser need not find out one after the other what it has to fetch."""
    modules = [each.name for each in _trade_files() if each.name.endswith(".js") and each.name != "theme.js"]
    preloads = "\n".join(f'<link rel="modulepreload" href="/static/trade/{name}">' for name in modules)
    return _read("trade/index.html").replace(b"{{preloads}}", preloads.encode())


def error_rows() -> str:
    """The table of codes as HTML."""
    row = '<tr id="{0}"><td><a href="#{0}"><code>{0}</code></a></td><td>{1}</td><td>{2}</td></tr>'
    return "\n".join(
        row.format(name, code.status, html.escape(code.meaning))
        for name, code in sorted({**CODES, **STREAM_CODES}.items(), key=lambda item: (item[1].status, item[0]))
    )


def _trade_files() -> Iterator[Traversable]:
    """Of the trading page, but for the page itself."""
    files = (_FILES / "trade").iterdir()
    return iter(sorted((each for each in files if each.name.endswith((".js", ".css"))), key=lambda each: each.name))


def _trading_security(socket_url: str) -> Headers:
    """The page talks to the WebSocket, too, which has a port of its own or is somewhere else."""
    policy = _POLICY.format(styles="", sockets=f" {origin_of(socket_url)}")
    return ((b"content-security-policy", policy.encode("latin-1")), *_COMMON)


def _read(name: str) -> bytes:
    return (_FILES / name).read_bytes()


def _page(path: str, content: bytes, kind: str) -> Route:
    return Route("GET", path, _file(content, kind, lambda scope: _SECURITY))


def _file(content: bytes, kind: str, security: Callable[[Any], Headers]) -> Handle:
    """Packed for who can unpack it, a third of the size: when it is asked for first, beside the orders of others."""
    digest = sha256(content).hexdigest()[:16].encode()
    about: Headers = (
        (b"content-type", _TYPES[kind]),
        (b"cache-control", b"no-cache"),
        (b"vary", b"Accept-Encoding"),
    )
    pack = cache(lambda: compress(content, mtime=0))

    async def answer(request: HttpRequest) -> HttpAnswer:
        is_packed = "gzip" in (header(request.scope, b"accept-encoding") or "")
        tag = b'"%s%s"' % (digest, b"-gzip" if is_packed else b"")
        headers = (*about, (b"etag", tag), *security(request.scope))
        known = (header(request.scope, b"if-none-match") or "").encode("latin-1")
        if tag in known:
            return HttpAnswer(304, b"", headers)
        if not is_packed:
            return HttpAnswer(200, content, headers)
        packed = await asyncio.to_thread(pack)
        return HttpAnswer(200, packed, (*headers, (b"content-encoding", b"gzip")))

    return answer
