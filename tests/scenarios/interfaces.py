"""REST, WebSocket and NATS as a story sees them: commands go in, and what came of each comes out the same way."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import httpx
from msgspec import Struct
from websockets.sync.client import ClientConnection, connect

from contracts.messages import (
    AllOrNothing,
    AmendOrder,
    CancelOrder,
    CancelOrders,
    Command,
    OrderCommand,
    PlaceOrder,
    Terms,
    TimeInForce,
)
from tests.support.plain_nats import PlainNats
from tests.support.stack import Stack

Body = dict[str, Any]


class Interface(Protocol):
    """Each method returns the answer's JSON, a problem or not."""

    def send(self, request: str, body: Body) -> Body: ...


class Rest:
    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def send(self, request: str, body: Body) -> Body:
        order_id = body.get("order_id")
        rest = {name: value for name, value in body.items() if name != "order_id"}
        match request:
            case "place":
                answer = self._client.post("/orders", json=body)
            case "amend":
                answer = self._client.put(f"/orders/{order_id}", json=rest)
            case "cancel":
                answer = self._client.delete(f"/orders/{order_id}")
            case "cancel_all":
                answer = self._client.delete("/orders", params=body)
            case "batch":
                answer = self._client.post("/orders/batch", json=body)
            case _:
                raise ValueError(request)
        content: Body = answer.json()
        return content


class Nats:
    def __init__(self, client: PlainNats) -> None:
        self._client = client

    def send(self, request: str, body: Body) -> Body:
        content: Body = json.loads(self._client.request(f"orders.{request}", json.dumps(body).encode()).payload)
        return content


class WebSocket:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._count = 0

    def send(self, request: str, body: Body) -> Body:
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "op": request, **body}))
        while True:
            message: Body = json.loads(self._socket.recv(timeout=10))
            if message.get("id") == self._count:
                break
        if message["type"] == "error":
            problem: Body = message["problem"]
            return problem
        order: Body = message.get("order", message)
        return order


@contextmanager
def interface(name: str, stack: Stack) -> Iterator[Interface]:
    """REST, WebSocket or NATS of a running exchange."""
    match name:
        case "REST":
            with httpx.Client(base_url=stack.http, trust_env=False) as client:
                yield Rest(client)
        case "WebSocket":
            with connect(f"{stack.ws}/ws", proxy=None) as socket:
                yield WebSocket(socket)
        case "NATS":
            with PlainNats(stack.nats) as nats:
                yield Nats(nats)


# Commands as the JSON that the interfaces take


class Names(Struct):
    """What the names of a story are on the exchange: it has accounts, a symbol and ids of its own."""

    accounts: dict[str, str]
    symbol: str
    order_ids: dict[int, int]

    def account(self, name: str) -> str:
        return self.accounts.setdefault(name, f"{name}-{self.symbol}")

    def order_id(self, number: int) -> int:
        """One that the story has not given out yet is none of anybody's."""
        return self.order_ids.get(number, 10**15 + number)


def request_of(command: Command, names: Names) -> tuple[str, Body]:
    match command:
        case AllOrNothing(items=items):
            return "batch", {"all_or_nothing": True, "items": [_item(item, names) for item in items]}
        case CancelOrders(accounts=accounts, side=side):
            assert accounts is not None
            (account,) = accounts
            wanted = {"account": names.account(account), "symbol": names.symbol, "side": side and side.value}
            return "cancel_all", _without_none(wanted)
        case PlaceOrder() | AmendOrder() | CancelOrder():
            return _order_request(command, names)
    raise ValueError(command)


def _item(item: OrderCommand, names: Names) -> Body:
    request, body = _order_request(item, names)
    return {request: body}


def _order_request(command: OrderCommand, names: Names) -> tuple[str, Body]:
    match command:
        case PlaceOrder():
            return "place", _place(command, names)
        case AmendOrder():
            prices = {"price": command.price, "quantity": command.quantity, "stop_price": command.stop_price}
            return "amend", {"order_id": names.order_id(command.order_id), **_decimals(prices)}
        case CancelOrder():
            return "cancel", {"order_id": names.order_id(command.order_id)}


def _place(command: PlaceOrder, names: Names) -> Body:
    terms = command.terms or Terms()
    numbers = {
        "quantity": None if terms.notional is not None else command.quantity,
        "price": command.price,
        "stop_price": terms.stop_price,
        "display_quantity": terms.display_quantity,
        "protection_price": terms.protection_price,
        "notional": terms.notional,
    }
    words = {
        "symbol": names.symbol,
        "side": command.side.value,
        "type": command.type.value,
        "time_in_force": None if command.time_in_force is TimeInForce.GTC else command.time_in_force.value,
        "account": names.account(command.account),
        "client_order_id": command.client_order_id,
        "self_trade_prevention": terms.self_trade_prevention.value,
        "post_only": command.post_only or None,
    }
    return _without_none(words) | _decimals(numbers)


def _decimals(numbers: Mapping[str, int | None]) -> Body:
    return {name: str(value) for name, value in numbers.items() if value is not None}


def _without_none(fields: Body) -> Body:
    return {name: value for name, value in fields.items() if value is not None}
