"""HTTP as the routes need it: bodies read up to a limit, queries without surprises, answers ready to send."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from litestar.types import Receive, Scope, Send

from contracts.keys import OPEN, Access
from entry.problems import RETRY_AFTER_SECONDS, Declined, Problem, declined, quoted
from gateway.pages import whole_number

Headers = Sequence[tuple[bytes, bytes]]

JOURNAL_SEQUENCE = "Journal-Sequence"
MAX_SEQUENCE = 2**63 - 1
ACCESS = "pricetime.access"
"""Where the middleware that knows the keys puts the Access of a request, in its ASGI scope."""

_JSON: Headers = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))
_PROBLEM: Headers = ((b"content-type", b"application/problem+json"), (b"cache-control", b"no-store"))
_DISCARDED_BYTES = 16 * 1024 * 1024
"""How much of a body that is too large is read on, so that its sender gets to see the answer."""

_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class HttpRequest:
    """A request as routes need it. `path_params`: the variable parts of its address."""

    scope: Any
    receive: Receive
    path_params: dict[str, str]


class HttpAnswer:
    """An answer as an ASGI application, which Litestar passes on as it is."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, body: bytes, headers: Headers) -> None:
        self.status = status
        self.body = body
        self.headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = list(self.headers)
        if self.status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(self.body)))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


def json_answer(value: object, status: int = 200, headers: Headers = ()) -> HttpAnswer:
    return HttpAnswer(status, _encode(value), (*_JSON, *headers))


def ready_answer(body: bytes) -> HttpAnswer:
    """JSON that another service has written."""
    return HttpAnswer(200, body, _JSON)


def command_answer(
    view: object, sequence: int, status: int = 200, location: str | None = None, *, replayed: bool = False
) -> HttpAnswer:
    """`replayed`: the command was carried out before, and this is what was answered then."""
    headers = [*_JSON, (b"journal-sequence", b"%d" % sequence)]
    if location is not None:
        headers.append((b"location", location.encode()))
    if replayed:
        headers.append((b"idempotent-replayed", b"true"))
    return HttpAnswer(status, _encode(view), headers)


def problem_answer(problem: Problem, headers: Headers = ()) -> HttpAnswer:
    return HttpAnswer(problem.http_status, problem.content, (*_PROBLEM, *problem_headers(problem), *headers))


def problem_headers(problem: Problem) -> Headers:
    headers = []
    if problem.sequence is not None:
        headers.append((b"journal-sequence", b"%d" % problem.sequence))
    if problem.code == "duplicate_client_order_id":
        headers.append((b"location", b"/orders/%d" % (problem.order_id or 0)))
    if problem.http_status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if problem.http_status == 503:
        headers.append((b"retry-after", b"%d" % (problem.retry_after or RETRY_AFTER_SECONDS)))
    if problem.code == "body_too_large":
        headers.append((b"connection", b"close"))
    return headers


def access_of(request: HttpRequest) -> Access:
    """What the one who asks may do; everything while the exchange needs no keys."""
    access: Access = request.scope.get(ACCESS, OPEN)
    return access


def header(scope: Scope, name: bytes) -> str | None:
    for each, value in scope["headers"]:
        if each == name:
            return value.decode("latin-1")
    return None


def address_of(scope: Any) -> str:
    """The client's: behind a trusted proxy that which the proxy tells (runtime/proxies.py)."""
    client = scope.get("client")
    return client[0] if client else ""


async def json_body(request: HttpRequest, limit: int) -> bytes:
    """The body of a request that must be JSON. Raises Declined: unsupported_media_type or body_too_large."""
    scope = request.scope
    content_type = header(scope, b"content-type")
    if content_type != "application/json":
        _check_content_type(content_type)
    length = header(scope, b"content-length")
    if length is not None and int(length) > limit and header(scope, b"expect") is not None:
        raise _too_large(limit)  # it asked before sending
    return await whole_body(request.receive, limit)


async def whole_body(receive: Receive, limit: int) -> bytes:
    """Raises Declined: body_too_large."""
    message: Any = await receive()
    body: bytes = message.get("body", b"")
    size = len(body)
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":  # nobody will read this; what matters is not to act on half a body
            raise declined("bad_request", "The connection ended before the body did.")
        more = message.get("body", b"")
        size += len(more)
        if size <= limit:
            body += more
        elif size > _DISCARDED_BYTES:
            break
    if size > limit:
        raise _too_large(limit)
    return body


def _too_large(limit: int) -> Declined:
    return declined("body_too_large", f"The body has more than the {limit} bytes that this server reads.")


def _check_content_type(content_type: str | None) -> None:
    media_type = (content_type or "").split(";")[0].strip().lower()
    if media_type != "application/json":
        found = f"not {quoted(content_type)}" if content_type else "and there is none"
        raise declined(
            "unsupported_media_type",
            f"Send the body with the header Content-Type: application/json, {found}.",
            "Content-Type",
        )


def query(request: HttpRequest, known: Collection[str] = ()) -> dict[str, str]:
    """The query's parameters. Raises Declined: a misspelled filter must not return everything."""
    raw = request.scope["query_string"]
    if not raw:
        return {}
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=50)
    except ValueError:
        raise declined("invalid_parameter", "The query cannot be read: it must be percent-encoded UTF-8.") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            raise declined(
                "unknown_parameter",
                f"There is no query parameter {quoted(name)} here. Known: {', '.join(known) or 'none'}.",
                quoted(name)[1:-1],
            )
        if name in found:
            raise declined("invalid_parameter", f"The query has {name} twice; send it once.", name)
        found[name] = value
    return found


def seen_sequence(request: HttpRequest) -> int:
    """The Journal-Sequence that a client has been told elsewhere, 0 without one. Raises Declined."""
    value = header(request.scope, b"journal-sequence")
    return 0 if value is None else whole_number(value.strip(), JOURNAL_SEQUENCE, 0, MAX_SEQUENCE)
