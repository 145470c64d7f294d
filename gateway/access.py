"""Who asks, and how often: the ASGI application around all others, which knows the keys and counts requests.

It says who a request is from, and turns away a key or signature that is not good. What the one who asks may do is
judged further in, by the scope of the route and by the accounts of the access. Health checks pass untouched.
"""

from dataclasses import dataclass
from typing import Any

from litestar.types import ASGIApp, HTTPScope, Message, Receive, Send

from contracts.keys import Access, KeyRefusal, SignedRequest, TokenBucket, parse_key_id
from entry.keys import RateLimits, microseconds, no_access, take
from entry.problems import Declined, declined
from gateway.http import ACCESS, Headers, HttpRequest, address_of, problem_answer, whole_body
from runtime.keys import Keys

KEY, TIMESTAMP, SIGNATURE = b"pricetime-key", b"pricetime-timestamp", b"pricetime-signature"
_LIMIT = "pricetime.limit"
_HEALTH = "/health/"
_SIGNED_NAMES = "Pricetime-Key, Pricetime-Timestamp and Pricetime-Signature"


@dataclass(slots=True)
class _Limit:
    """Of the one who sent a request; `wanted` is how many were asked for last."""

    bucket: TokenBucket
    wanted: int = 1


class AccessControl:
    def __init__(self, app: ASGIApp, keys: Keys, limits: RateLimits, max_body_bytes: int) -> None:
        self._app = app
        self._keys = keys
        self._limits = limits
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["path"].startswith(_HEALTH):
            await self._app(scope, receive, send)
            return
        try:
            access = self._keys.anonymous
            if presented := _credentials(scope):
                access, receive = await self._identified(presented, scope, receive)
            scope[ACCESS] = access
            bucket = self._limits.bucket(access, address_of(scope))
            if bucket is not None:
                scope[_LIMIT] = limit = _Limit(bucket)
                send = _telling(limit, send)
                take(bucket)
        except Declined as error:
            await problem_answer(error.problem)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _identified(
        self, presented: dict[bytes, str], scope: HTTPScope, receive: Receive
    ) -> tuple[Access, Receive]:
        """The access of the one who asks, and where the body can be read from then on. Raises Declined."""
        if b"authorization" in presented:
            if len(presented) > 1:
                raise declined("unauthorized", f"Send either Authorization or {_SIGNED_NAMES}, not both.")
            return _granted(self._keys.find(_bearer(presented[b"authorization"]))), receive
        return await self._signer(presented, scope, receive)

    async def _signer(self, found: dict[bytes, str], scope: HTTPScope, receive: Receive) -> tuple[Access, Receive]:
        if len(found) < 3:
            raise declined("unauthorized", f"A signed request has the three headers {_SIGNED_NAMES}.")
        body = await whole_body(receive, self._max_body_bytes)
        request = SignedRequest(found[TIMESTAMP], scope["method"], _target(scope), body)
        key_id = parse_key_id(found[KEY])
        if key_id is None:
            raise no_access(KeyRefusal.UNKNOWN)
        return _granted(self._keys.find_signed(key_id, request, found[SIGNATURE])), _again(body, receive)


def charge(request: HttpRequest, items: int) -> None:
    """Count a request of several items as that many. Raises Declined: rate_limited."""
    limit: _Limit | None = request.scope.get(_LIMIT)
    if limit is not None and items > 1:
        limit.wanted = items - 1  # one was counted when it came in
        take(limit.bucket, limit.wanted)


def _credentials(scope: HTTPScope) -> dict[bytes, str]:
    """The headers that say who asks. Raises Declined if one is there twice: which one counts must be clear."""
    found: dict[bytes, str] = {}
    for name, value in scope["headers"]:
        if name in _NAMES:
            if name in found:
                raise declined("unauthorized", f"The header {name.decode().title()} is there twice; send it once.")
            found[name] = value.decode("latin-1").strip()
    return found


_NAMES = frozenset((b"authorization", KEY, TIMESTAMP, SIGNATURE))


def _bearer(authorization: str) -> str:
    kind, _, key = authorization.partition(" ")
    if kind.lower() != "bearer":
        raise declined("unauthorized", "Send the key as Authorization: Bearer pt_...")
    return key.strip()


def _granted(found: Access | KeyRefusal) -> Access:
    if isinstance(found, KeyRefusal):
        raise no_access(found)
    return found


def _target(scope: HTTPScope) -> bytes:
    """Path and query as they were sent."""
    path: bytes = scope["raw_path"]
    return path + b"?" + scope["query_string"] if scope["query_string"] else path


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body, which has been read, once more."""
    given = False

    async def receive_again() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


def _telling(limit: _Limit, send: Send) -> Send:
    """A `send` that says in the headers how much of the limit is left."""

    async def send_with_limit(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers: Any = message["headers"]
            message["headers"] = [*headers, *_limit_headers(limit, message["status"])]
        await send(message)

    return send_with_limit


def _limit_headers(limit: _Limit, status: int) -> Headers:
    bucket, now = limit.bucket, microseconds()
    headers = [
        (b"ratelimit-limit", b"%d" % bucket.rate),
        (b"ratelimit-remaining", b"%d" % bucket.remaining(now)),
        (b"ratelimit-reset", b"%d" % bucket.seconds_until_full(now)),
        (b"ratelimit-policy", b"%d;w=1" % bucket.rate),
    ]
    if status == 429:
        headers.append((b"retry-after", b"%d" % max(1, bucket.seconds_until(limit.wanted, now))))
    return headers
