"""How addresses are served, and the addresses that are read. Each handler: read the request, ask the reads, answer."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from litestar import Request
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from contracts.keys import Scope
from contracts.views import instrument_view
from entry import commands
from entry.permissions import reading_account, require
from entry.problems import Declined
from entry.refusals import name_not_found, not_found
from gateway import pages
from gateway.health import Health
from gateway.http import (
    HttpAnswer,
    HttpRequest,
    access_of,
    json_answer,
    problem_answer,
    query,
    ready_answer,
    seen_sequence,
)
from gateway.pages import whole_number
from gateway.reads import Reads

Handle = Callable[[HttpRequest], Awaitable[HttpAnswer]]

ORDER_FILTERS = ("symbol", "account", "status", "side", "client_order_id", "limit", "cursor")
ACCOUNT_ORDER_FILTERS = ("symbol", "status", "side", "client_order_id", "limit", "cursor")
TRADE_FILTERS = ("symbol", "order_id", "limit", "cursor")
DEFAULT_LEVELS = 10
MAX_LEVELS = 1000


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    handle: Handle
    scope: Scope | None = None
    """What a key must allow; None: anybody may, without a key."""


def route_handlers(routes: Iterable[Route]) -> list[HTTPRouteHandler]:
    """One Litestar handler per address, which knows all of its methods and so can name them to OPTIONS."""
    by_path: dict[str, dict[str, Route]] = {}
    for route in routes:
        by_path.setdefault(route.path, {})[route.method] = route
    return [_route_handler(path, methods) for path, methods in by_path.items()]


def _route_handler(path: str, by_method: dict[str, Route]) -> HTTPRouteHandler:
    if "GET" in by_method:
        by_method["HEAD"] = by_method["GET"]
    methods = [HttpMethod.OPTIONS, *(HttpMethod(method) for method in by_method)]
    allowed = ", ".join(sorted(methods)).encode()

    async def answer(request: Request[Any, Any, Any]) -> ASGIApp:
        route = by_method.get(request.method)
        if route is None:
            return HttpAnswer(204, b"", ((b"allow", allowed),))
        return await answered(route, HttpRequest(request.scope, request.receive, request.path_params))

    return HTTPRouteHandler(path, http_method=methods, status_code=200, name=path)(answer)


async def answered(route: Route, request: HttpRequest) -> HttpAnswer:
    """What the route answers, or why it does not."""
    try:
        if route.scope is not None:
            require(access_of(request), route.scope)
        return await route.handle(request)
    except Declined as error:
        return problem_answer(error.problem)


def read_routes(reads: Reads) -> list[Route]:
    async def order(request: HttpRequest) -> HttpAnswer:
        query(request)
        order_id = commands.order_id(request.path_params["order_id"])
        order = await reads.order(order_id, seen_sequence(request))
        if not access_of(request).may_read(order.account):
            raise not_found(order_id)
        return json_answer(order)

    async def order_by_client_order_id(request: HttpRequest) -> HttpAnswer:
        written, access = query(request, ("account",)).get("account"), access_of(request)
        account = reading_account(access, commands.account_name(written))
        name = commands.client_order_id(request.path_params["client_order_id"])
        order = await reads.order_named(account, name, seen_sequence(request))
        if order is None or not access.may_read(order.account):
            raise name_not_found(account, name)
        return json_answer(order)

    async def orders(request: HttpRequest) -> HttpAnswer:
        return await orders_of(request, query(request, ORDER_FILTERS))

    async def account_orders(request: HttpRequest) -> HttpAnswer:
        filters = query(request, ACCOUNT_ORDER_FILTERS)
        return await orders_of(request, filters | {"account": request.path_params["account"]})

    async def orders_of(request: HttpRequest, filters: dict[str, str]) -> HttpAnswer:
        access = access_of(request)
        if "client_order_id" in filters:  # a name within an account
            filters["account"] = reading_account(access, filters.get("account"))
        page = pages.orders_page(filters)
        if access.visible_accounts is not None:
            page = page.narrowed("o.account = ANY(?)", list(access.visible_accounts))
        return _list_answer(*await reads.orders(page, seen_sequence(request)))

    async def trades(request: HttpRequest) -> HttpAnswer:
        page = pages.trades_page(query(request, TRADE_FILTERS))
        return _list_answer(*await reads.trades(page, seen_sequence(request)))

    async def instruments(request: HttpRequest) -> HttpAnswer:
        query(request)
        listed = await reads.instruments(seen_sequence(request))
        return _list_answer([instrument_view(each) for each in listed], None)

    async def instrument(request: HttpRequest) -> HttpAnswer:
        query(request)
        return json_answer(await reads.instrument(request.path_params["symbol"], seen_sequence(request)))

    async def market(request: HttpRequest) -> HttpAnswer:
        query(request)
        return ready_answer(await reads.market(request.path_params["symbol"], seen_sequence(request)))

    async def depth(request: HttpRequest) -> HttpAnswer:
        written = query(request, ("levels",)).get("levels", str(DEFAULT_LEVELS))
        levels = whole_number(written, "levels", 1, MAX_LEVELS)
        return ready_answer(await reads.depth(request.path_params["symbol"], levels, seen_sequence(request)))

    return [
        Route("GET", "/orders", orders, Scope.READ),
        Route("GET", "/orders/{order_id:str}", order, Scope.READ),
        Route("GET", "/orders/by-client-id/{client_order_id:str}", order_by_client_order_id, Scope.READ),
        Route("GET", "/accounts/{account:str}/orders", account_orders, Scope.READ),
        Route("GET", "/trades", trades),
        Route("GET", "/instruments", instruments),
        Route("GET", "/instruments/{symbol:str}", instrument),
        Route("GET", "/market/{symbol:str}", market),
        Route("GET", "/market/{symbol:str}/depth", depth),
    ]


def health_routes(health: Health) -> list[Route]:
    async def live(request: HttpRequest) -> HttpAnswer:
        return json_answer({"status": "live"})

    async def ready(request: HttpRequest) -> HttpAnswer:
        found = await health.check()
        return json_answer(found, 200 if found.status == "ready" else 503)

    return [Route("GET", "/health/live", live), Route("GET", "/health/ready", ready)]


def _list_answer(items: object, next_cursor: str | None) -> HttpAnswer:
    return json_answer({"items": items, "next_cursor": next_cursor})
