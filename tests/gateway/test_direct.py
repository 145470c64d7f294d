"""Routes answered without Litestar: what they take, and that nobody can tell the difference."""

from typing import Any

import pytest

from contracts.keys import PUBLIC, Scope
from entry.problems import declined
from gateway.app import create_app
from gateway.direct import DirectRoutes
from gateway.http import ACCESS, HttpAnswer, HttpRequest, json_answer
from gateway.routes import Route

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
PATHS = (
    "/",
    "/orders",
    "/orders/",
    "//orders",
    "/Orders",
    "/orders/7",
    "/orders/7/",
    "/orders//7",
    "/orders/ 7",
    "/orders/7%2F8",
    "/orders/{order_id:str}",
    "/orders/batch",
    "/orders/batch/",
    "/orders/by-client-id",
    "/orders/by-client-id/",
    "/orders/by-client-id/a",
    "/orders/by-client-id/a/b",
    "/orders/7/replace",
    "/orders/closed",
    "/orders/closed/today",
    "/accounts",
    "/accounts/alice",
    "/accounts/alice/orders",
    "/refused",
    "/broken",
    "/admin",
    "/nothing",
    "",
)


def routes() -> list[Route]:
    def telling(method: str, path: str) -> Route:
        async def handle(request: HttpRequest) -> HttpAnswer:
            return json_answer([method, path, request.path_params])

        return Route(method, path, handle)

    async def refused(request: HttpRequest) -> HttpAnswer:
        raise declined("bad_request", "No.")

    async def broken(request: HttpRequest) -> HttpAnswer:
        raise RuntimeError("a mistake of ours")

    return [
        telling("POST", "/orders"),
        telling("GET", "/orders"),
        telling("POST", "/orders/batch"),
        telling("PUT", "/orders/{order_id:str}"),
        telling("GET", "/orders/{order_id:str}"),
        telling("GET", "/orders/by-client-id/{client_order_id:str}"),
        telling("POST", "/orders/{order_id:str}/replace"),
        telling("GET", "/accounts/{account:str}/orders"),
        telling("GET", "/orders/closed/today"),
        Route("GET", "/refused", refused),
        Route("GET", "/broken", broken),
        Route("GET", "/admin", refused, Scope.ADMIN),
    ]


async def answer_of(app: Any, method: str, path: str) -> tuple[int, dict[bytes, bytes], bytes]:
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
        "root_path": "",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "scheme": "http",
        "state": {},
        ACCESS: PUBLIC,
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, *rest = sent
    return start["status"], dict(start["headers"]), b"".join(each.get("body", b"") for each in rest)


@pytest.mark.parametrize("path", PATHS)
async def test_whoever_asks_cannot_tell_who_answers(path: str) -> None:
    litestar: Any = create_app(routes())
    direct = DirectRoutes(litestar, routes())
    for method in METHODS:
        assert await answer_of(direct, method, path) == await answer_of(litestar, method, path), method


@pytest.mark.parametrize(
    ("method", "path", "is_direct"),
    [
        ("POST", "/orders", True),
        ("PUT", "/orders/7", True),
        ("GET", "/orders/by-client-id/a", True),
        ("POST", "/orders/batch", True),
        ("PUT", "/orders/batch", False),
        ("HEAD", "/orders", False),
        ("GET", "/orders/by-client-id", False),
        ("POST", "/orders/7/replace", False),
    ],
)
async def test_what_is_answered_without_litestar(method: str, path: str, is_direct: bool) -> None:
    asked = []

    async def litestar(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        await HttpAnswer(200, b"", ())(scope, receive, send)

    await answer_of(DirectRoutes(litestar, routes()), method, path)
    assert asked == ([] if is_direct else [path])
