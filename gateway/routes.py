"""The addresses of the REST interface. Each handler: read the request, ask the exchange or the reads, answer."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from contracts.keys import Scope
from contracts.views import instrument_view
from entry import commands
from entry.exchange import Exchange
from entry.permissions import require
from entry.problems import Declined
from gateway import pages
from gateway.health import Health
from gateway.http import (
    HttpAnswer,
    HttpRequest,
    access_of,
    command_answer,
    json_answer,
    json_body,
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

    async def answer(request: HttpRequest) -> ASGIApp:
        route = by_method.get(request.method)
        if route is None:
            return HttpAnswer(204, b"", ((b"allow", allowed),))
        try:
            if route.scope is not None:
                require(access_of(request), route.scope)
            return await route.handle(request)
        except Declined as error:
            return problem_answer(error.problem)

    return HTTPRouteHandler(path, http_method=methods, status_code=200, name=path)(answer)


def command_routes(exchange: Exchange, max_body_bytes: int) -> list[Route]:
    async def place(request: HttpRequest) -> HttpAnswer:
        query(request)
        done = await exchange.place(await json_body(request, max_body_bytes))
        return command_answer(done.view, done.sequence, 201, f"/orders/{done.view.order_id}")

    async def amend(request: HttpRequest) -> HttpAnswer:
        query(request)
        order_id = commands.order_id(request.path_params["order_id"])
        done = await exchange.amend(order_id, await json_body(request, max_body_bytes))
        return command_answer(done.view, done.sequence)

    async def cancel(request: HttpRequest) -> HttpAnswer:
        query(request)
        done = await exchange.cancel(commands.order_id(request.path_params["order_id"]))
        return command_answer(done.view, done.sequence)

    async def define_instrument(request: HttpRequest) -> HttpAnswer:
        query(request)
        symbol = commands.valid_symbol(request.path_params["symbol"])
        listed = await exchange.define_instrument(symbol, await json_body(request, max_body_bytes))
        if listed.is_new:
            return command_answer(listed.view, listed.sequence, 201, f"/instruments/{symbol}")
        return command_answer(listed.view, listed.sequence)

    return [
        Route("POST", "/orders", place, Scope.TRADE),
        Route("PUT", "/orders/{order_id:str}", amend, Scope.TRADE),
        Route("DELETE", "/orders/{order_id:str}", cancel, Scope.TRADE),
        Route("PUT", "/instruments/{symbol:str}", define_instrument, Scope.ADMIN),
    ]


def read_routes(reads: Reads) -> list[Route]:
    async def order(request: HttpRequest) -> HttpAnswer:
        query(request)
        order_id = commands.order_id(request.path_params["order_id"])
        return json_answer(await reads.order(order_id, seen_sequence(request)))

    async def orders(request: HttpRequest) -> HttpAnswer:
        page = pages.orders_page(query(request, ORDER_FILTERS))
        return _list_answer(*await reads.orders(page, seen_sequence(request)))

    async def account_orders(request: HttpRequest) -> HttpAnswer:
        filters = query(request, ACCOUNT_ORDER_FILTERS) | {"account": request.path_params["account"]}
        return _list_answer(*await reads.orders(pages.orders_page(filters), seen_sequence(request)))

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
