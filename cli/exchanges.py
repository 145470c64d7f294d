"""The two ways in which `pricetime replay` reaches an exchange: MessagePack over NATS, and REST.

Both go on after interruptions. An answer that does not come leaves the result unknown, so the same commands are sent
again: for an order that was placed the first time the exchange says so, and names its id.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx
import msgspec
from nats.aio.client import Client
from nats.errors import Error as NatsError

from cli.errors import CommandError
from cli.flow import Action, Cancel, Done, Place, Refused, Result
from contracts.decimals import NotDecimal, OffStep
from contracts.messages import (
    Answer,
    CancelOrder,
    Command,
    OrderAccepted,
    OrderType,
    Outcome,
    PlaceOrder,
    Refusal,
    RejectReason,
    Repeated,
    Reply,
    RequestRefusal,
    RequestRefused,
    TradeExecuted,
)
from contracts.messages import Result as CommandResult
from contracts.subjects import MATCHER_INSTRUMENTS, ORDERS_SUBMIT
from contracts.views import Instrument

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 60.0
_ANSWER_SECONDS = 5.0
_PAUSE_SECONDS = 0.2

_THERE_ALREADY = RejectReason.DUPLICATE_CLIENT_ORDER_ID.value

_T = TypeVar("_T")
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Reply)


class TryAgain(Exception):
    """No usable answer this time; the message says why."""


async def persist(attempt: Callable[[], Awaitable[_T]]) -> _T:
    """Repeat the attempt until it does not raise TryAgain. Raises CommandError when that takes too long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    said = ""
    while True:
        try:
            return await attempt()
        except TryAgain as error:
            if said != (said := str(error)):
                log.warning("waiting for the exchange: %s", error)
            if time.monotonic() > deadline:
                raise CommandError(
                    f"the exchange has not taken orders for {PATIENCE_SECONDS:.0f} s ({error});"
                    " the same command, given again, goes on from here"
                ) from error
        await asyncio.sleep(_PAUSE_SECONDS)


class NatsExchange:
    def __init__(self, connection: Client, instrument: Instrument, account: str) -> None:
        self._connection = connection
        self._instrument = instrument
        self._account = account

    async def send(self, actions: list[Action]) -> list[Result]:
        commands = [self._command(action) for action in actions]
        sendable = [each for each in commands if not isinstance(each, Refused)]
        results = iter(await self._submit(tuple(sendable)) if sendable else [])
        return [each if isinstance(each, Refused) else next(results) for each in commands]

    def _command(self, action: Action) -> Command | Refused:
        if isinstance(action, Cancel):
            return CancelOrder(action.order_id)
        try:
            price = self._instrument.tick.parse(action.price)
            quantity = self._instrument.lot.parse(action.quantity)
        except (NotDecimal, OffStep) as error:
            return Refused(f"{'off tick or lot' if isinstance(error, OffStep) else 'not a decimal'}")
        return PlaceOrder(
            symbol=self._instrument.symbol,
            side=action.side,
            type=OrderType.LIMIT,
            quantity=quantity,
            price=price,
            account=self._account,
            client_order_id=action.reference,
        )

    async def _submit(self, commands: tuple[Command, ...]) -> list[Result]:
        payload = _encoder.encode(commands)
        answer = await persist(lambda: self._request(payload))
        return [
            _result(command, result, part.sequence)
            for command, (part, result) in zip(
                commands, ((part, result) for part in answer.parts for result in part.results), strict=True
            )
        ]

    async def _request(self, payload: bytes) -> Answer:
        if not self._connection.is_connected:  # nats-py would keep it and send it long after it was given up
            raise TryAgain("not connected to NATS")
        try:
            message = await self._connection.request(ORDERS_SUBMIT, payload, timeout=_ANSWER_SECONDS)
        except (NatsError, TimeoutError) as error:
            raise TryAgain(str(error) or type(error).__name__) from error
        reply = _decoder.decode(message.data)
        if isinstance(reply, Answer):
            return reply
        return _turned_away(reply)


def _turned_away(reply: RequestRefused) -> Answer:
    if reply.reason is RequestRefusal.OVERLOADED:
        raise TryAgain("it is overloaded")
    raise CommandError(f"the matcher turned the request away: {reply.reason.value} {reply.detail}")


def _result(command: Command, result: CommandResult, sequence: int) -> Result:
    if isinstance(result, Refusal):
        return Refused(result.reason.value, result.order_id)
    if isinstance(result, Repeated):
        return Refused(_THERE_ALREADY, result.order_id)
    trades = sum(isinstance(event, TradeExecuted) for event in result.events)
    return Done(_order_id(command, result), sequence, trades)


def _order_id(command: Command, outcome: Outcome) -> int:
    first = outcome.events[0]
    if isinstance(first, OrderAccepted):
        return first.order_id
    assert isinstance(command, CancelOrder)
    return command.order_id


class RestExchange:
    """One request at a time: the order of the flow is its meaning."""

    def __init__(self, client: httpx.AsyncClient, symbol: str, account: str) -> None:
        self._client = client
        self._symbol = symbol
        self._account = account

    async def send(self, actions: list[Action]) -> list[Result]:
        return [await persist(lambda action=action: self._request(action)) for action in actions]  # type: ignore[misc]

    async def _request(self, action: Action) -> Result:
        try:
            response = await self._ask(action)
        except httpx.TransportError as error:
            raise TryAgain(str(error) or type(error).__name__) from error
        if response.status_code >= 500:
            raise TryAgain(f"{response.status_code} {_code(response)}")
        if response.is_error:
            return Refused(_code(response), _body(response).get("order_id"))
        order = _body(response)
        if "Idempotent-Replayed" in response.headers:
            return Refused(_THERE_ALREADY, order["order_id"])
        return Done(order["order_id"], order["sequence"], len(order.get("trades", ())))

    async def _ask(self, action: Action) -> httpx.Response:
        if isinstance(action, Cancel):
            return await self._client.delete(f"/orders/{action.order_id}")
        return await self._client.post("/orders", json=self._order(action))

    def _order(self, place: Place) -> dict[str, str]:
        return {
            "symbol": self._symbol,
            "side": place.side.value,
            "type": "limit",
            "price": place.price,
            "quantity": place.quantity,
            "account": self._account,
            "client_order_id": place.reference,
        }


def _body(response: httpx.Response) -> dict[str, Any]:
    try:
        body: dict[str, Any] = response.json()
    except ValueError as error:
        raise TryAgain(f"{response.status_code} with a body that is not JSON") from error
    return body


def _code(response: httpx.Response) -> str:
    return str(_body(response).get("code", response.status_code))


async def instruments_over_nats(connection: Client) -> dict[str, Instrument]:
    async def ask() -> bytes:
        try:
            return (await connection.request(MATCHER_INSTRUMENTS, b"{}", timeout=_ANSWER_SECONDS)).data
        except (NatsError, TimeoutError) as error:
            raise TryAgain(str(error) or type(error).__name__) from error

    items = json.loads(await persist(ask))["items"]
    return {each.symbol: each for each in msgspec.convert(items, list[Instrument])}


async def symbols_over_rest(client: httpx.AsyncClient) -> list[str]:
    async def ask() -> httpx.Response:
        try:
            response = await client.get("/instruments")
        except httpx.TransportError as error:
            raise TryAgain(str(error) or type(error).__name__) from error
        if response.is_error:
            raise TryAgain(f"{response.status_code} {_code(response)}")
        return response

    return [each["symbol"] for each in _body(await persist(ask))["items"]]
