"""The pages for people: start page, API documentation, list of errors. Everything comes from this package."""

import html
from hashlib import sha256
from importlib import metadata, resources

import msgspec

from entry.problems import CODES
from entry.stream_codes import STREAM_CODES
from gateway.http import Headers, HttpAnswer, HttpRequest, header
from gateway.openapi import document
from gateway.routes import Handle, Route

_FILES = resources.files("gateway") / "static"

# Swagger UI sets style attributes; nothing else may come from anywhere but here
_SECURITY: Headers = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        b"font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_TYPES = {
    "html": b"text/html; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "svg": b"image/svg+xml",
    "json": b"application/json",
}
_SERVED = (
    "site.css",
    "home.js",
    "docs.js",
    "icon.svg",
    "vendor/swagger-ui/swagger-ui-bundle.js",
    "vendor/swagger-ui/swagger-ui.css",
)


def site_routes(default_symbol: str) -> list[Route]:
    home = _read("home.html").replace(b"{{symbol}}", html.escape(default_symbol).encode())
    described = msgspec.json.encode(document(metadata.version("pricetime")))
    errors = _read("errors.html").replace(b"{{codes}}", error_rows().encode())
    return [
        _page("/", home, "html"),
        _page("/docs", _read("docs.html"), "html"),
        _page("/docs/errors", errors, "html"),
        _page("/docs/openapi.json", described, "json"),
        _page("/favicon.ico", _read("icon.svg"), "svg"),
        *(_page(f"/static/{name}", _read(name), name.rsplit(".", 1)[-1]) for name in _SERVED),
    ]


def error_rows() -> str:
    """The table of codes as HTML."""
    row = '<tr id="{0}"><td><a href="#{0}"><code>{0}</code></a></td><td>{1}</td><td>{2}</td></tr>'
    return "\n".join(
        row.format(name, code.status, html.escape(code.meaning))
        for name, code in sorted({**CODES, **STREAM_CODES}.items(), key=lambda item: (item[1].status, item[0]))
    )


def _read(name: str) -> bytes:
    return (_FILES / name).read_bytes()


def _page(path: str, content: bytes, kind: str) -> Route:
    return Route("GET", path, _file(content, kind))


def _file(content: bytes, kind: str) -> Handle:
    tag = b'"%s"' % sha256(content).hexdigest()[:16].encode()
    headers = ((b"content-type", _TYPES[kind]), (b"etag", tag), (b"cache-control", b"no-cache"), *_SECURITY)

    async def answer(request: HttpRequest) -> HttpAnswer:
        known = (header(request.scope, b"if-none-match") or "").encode("latin-1")
        return HttpAnswer(304, b"", headers) if tag in known else HttpAnswer(200, content, headers)

    return answer
