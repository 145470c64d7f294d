"""The addresses that change something. Each handler: read the request, ask the exchange, answer."""

from contracts.keys import Scope
from entry import commands
from entry.bodies import Fields
from entry.exchange import Exchange
from gateway.access import charge
from gateway.http import HttpAnswer, HttpRequest, access_of, command_answer, header, json_body, query
from gateway.routes import Route


def command_routes(exchange: Exchange, max_body_bytes: int) -> list[Route]:
    return [
        *_order_routes(exchange, max_body_bytes),
        *_named_order_routes(exchange, max_body_bytes),
        *_account_routes(exchange, max_body_bytes),
        *_instrument_routes(exchange, max_body_bytes),
    ]


def _order_routes(exchange: Exchange, max_body_bytes: int) -> list[Route]:
    async def place(request: HttpRequest) -> HttpAnswer:
        query(request)
        key = header(request.scope, b"idempotency-key")
        body = await json_body(request, max_body_bytes)
        done = await exchange.place(body, access_of(request), idempotency_key=key)
        location = f"/orders/{done.view.order_id}"
        return command_answer(done.view, done.sequence, 201, location, replayed=done.replayed)

    async def amend(request: HttpRequest) -> HttpAnswer:
        query(request)
        order_id = commands.order_id(request.path_params["order_id"])
        done = await exchange.amend(order_id, await json_body(request, max_body_bytes), access_of(request))
        return command_answer(done.view, done.sequence)

    async def cancel(request: HttpRequest) -> HttpAnswer:
        query(request)
        done = await exchange.cancel(commands.order_id(request.path_params["order_id"]), access_of(request))
        return command_answer(done.view, done.sequence)

    async def replace(request: HttpRequest) -> HttpAnswer:
        query(request)
        order_id = commands.order_id(request.path_params["order_id"])
        done = await exchange.replace(order_id, await json_body(request, max_body_bytes), access_of(request))
        location = f"/orders/{done.view.placed.order_id}"
        return command_answer(done.view, done.sequence, 201, location, replayed=done.replayed)

    async def batch(request: HttpRequest) -> HttpAnswer:
        query(request)
        body = await json_body(request, max_body_bytes)
        done = await exchange.batch(body, access_of(request), charge=lambda items: charge(request, items))
        return command_answer(done.view, done.sequence, replayed=done.replayed)

    async def cancel_all(request: HttpRequest) -> HttpAnswer:
        filters: Fields = dict(query(request, commands.CANCEL_ALL_FIELDS))
        done = await exchange.cancel_all(filters, access_of(request))
        return command_answer(done.view, done.sequence)

    return [
        Route("POST", "/orders", place, Scope.TRADE),
        Route("DELETE", "/orders", cancel_all, Scope.TRADE),
        Route("POST", "/orders/batch", batch, Scope.TRADE),
        Route("PUT", "/orders/{order_id:str}", amend, Scope.TRADE),
        Route("DELETE", "/orders/{order_id:str}", cancel, Scope.TRADE),
        Route("POST", "/orders/{order_id:str}/replace", replace, Scope.TRADE),
    ]


def _named_order_routes(exchange: Exchange, max_body_bytes: int) -> list[Route]:
    async def amend(request: HttpRequest) -> HttpAnswer:
        account, name = query(request, ("account",)).get("account"), request.path_params["client_order_id"]
        body = await json_body(request, max_body_bytes)
        done = await exchange.amend_by_client_order_id(name, account, body, access_of(request))
        return command_answer(done.view, done.sequence)

    async def cancel(request: HttpRequest) -> HttpAnswer:
        account, name = query(request, ("account",)).get("account"), request.path_params["client_order_id"]
        done = await exchange.cancel_by_client_order_id(name, account, access_of(request))
        return command_answer(done.view, done.sequence)

    return [
        Route("PUT", "/orders/by-client-id/{client_order_id:str}", amend, Scope.TRADE),
        Route("DELETE", "/orders/by-client-id/{client_order_id:str}", cancel, Scope.TRADE),
    ]


def _account_routes(exchange: Exchange, max_body_bytes: int) -> list[Route]:
    async def cancel_all_after(request: HttpRequest) -> HttpAnswer:
        query(request)
        body = await json_body(request, max_body_bytes)
        done = await exchange.cancel_all_after(request.path_params["account"], body, access_of(request))
        return command_answer(done.view, done.sequence)

    async def set_limits(request: HttpRequest) -> HttpAnswer:
        query(request)
        body = await json_body(request, max_body_bytes)
        done = await exchange.set_limits(request.path_params["account"], body, access_of(request))
        return command_answer(done.view, done.sequence)

    async def set_kill_switch(request: HttpRequest) -> HttpAnswer:
        query(request)
        body = await json_body(request, max_body_bytes)
        done = await exchange.set_kill_switch(request.path_params["account"], body, access_of(request))
        return command_answer(done.view, done.sequence)

    return [
        Route("PUT", "/accounts/{account:str}/cancel-all-after", cancel_all_after, Scope.TRADE),
        Route("PUT", "/accounts/{account:str}/limits", set_limits, Scope.ADMIN),
        Route("PUT", "/accounts/{account:str}/kill-switch", set_kill_switch, Scope.ADMIN),
    ]


def _instrument_routes(exchange: Exchange, max_body_bytes: int) -> list[Route]:
    async def define(request: HttpRequest) -> HttpAnswer:
        query(request)
        symbol = commands.valid_symbol(request.path_params["symbol"])
        listed = await exchange.define_instrument(symbol, await json_body(request, max_body_bytes), access_of(request))
        if listed.is_new:
            return command_answer(listed.view, listed.sequence, 201, f"/instruments/{symbol}")
        return command_answer(listed.view, listed.sequence)

    async def set_status(request: HttpRequest) -> HttpAnswer:
        query(request)
        symbol = commands.valid_symbol(request.path_params["symbol"])
        body = await json_body(request, max_body_bytes)
        done = await exchange.set_instrument_status(symbol, body, access_of(request))
        return command_answer(done.view, done.sequence)

    return [
        Route("PUT", "/instruments/{symbol:str}", define, Scope.ADMIN),
        Route("PUT", "/instruments/{symbol:str}/status", set_status, Scope.ADMIN),
    ]
