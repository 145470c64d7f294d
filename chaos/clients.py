"""Clients that trade over REST, NATS and WebSocket, and write down what they asked and what they were told.

Each has an account of its own and waits for an answer before it goes on. What stays unknown is sometimes asked again,
as a careful client does. Nothing here judges: chaos/checker.py does, afterwards.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import websockets
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from chaos.exchange import Exchange
from chaos.records import DepthRead, Done, Operation, OrderRead, Refused, Result
from chaos.workload import SYMBOLS, Wish, Wishes, listing, result_of
from contracts.messages import AllOrNothing, CancelOrders, PlaceOrder
from runtime.clock import now

_PAUSE_SECONDS = (0.005, 0.08)
_ANSWER_SECONDS = 9.0
_DEPTH_LEVELS = 50
_REST_SECONDS = 0.1


@dataclass
class Log:
    """Everything that all clients saw."""

    operations: list[Operation] = field(default_factory=list)
    order_reads: list[OrderRead] = field(default_factory=list)
    depth_reads: list[DepthRead] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)
    """Answers that no client should ever get."""
    on_damaged_data: bool = False
    """Whether the exchange was ever started on a journal that ends too early: streams then know less than clients."""

    @property
    def acknowledged(self) -> int:
        return sum(isinstance(each.result, Done) for each in self.operations)


@dataclass(frozen=True, slots=True)
class Answered:
    """None as status: none came."""

    status: int | None
    body: dict[str, Any] = field(default_factory=dict)
    replayed: bool = False


Ask = Callable[[Wish], Awaitable[Answered]]


@dataclass
class Trader:
    """Wishes go out by `ask`; everything about them is written down."""

    wishes: Wishes
    log: Log
    ask: Ask
    reads: "Reads | None" = None
    told: int = 0

    @property
    def name(self) -> str:
        return self.wishes.account

    async def trade(self, stopping: asyncio.Event, resting: asyncio.Event) -> None:
        chance = self.wishes.chance
        while not stopping.is_set():
            if resting.is_set():
                await asyncio.sleep(_REST_SECONDS)
                continue
            if self.reads is not None and chance.random() < 0.15:
                await self.reads.look(self)
            else:
                await self.carry_out(self.wishes.next(now()))
            await asyncio.sleep(chance.uniform(*_PAUSE_SECONDS))

    async def carry_out(self, wish: Wish) -> Result:
        result = await self.attempt(wish)
        for _ in range(2):
            if result is not None or not wish.is_safe_to_repeat or wish.items or self.wishes.chance.random() < 0.5:
                break
            await asyncio.sleep(self.wishes.chance.uniform(0.05, 0.5))
            result = await self.attempt(wish)
        return result

    async def attempt(self, wish: Wish) -> Result:
        begun = Operation(self.name, wish.command, time.monotonic())
        answered = await self.ask(wish)
        returned = time.monotonic()
        code = answered.body.get("code", "")
        self.log.answers[f"{wish.action} {answered.status or 'unanswered'} {code}".strip()] += 1
        if answered.status is not None and answered.status >= 500 and answered.status not in (503, 504):
            self.log.surprises.append(f"{self.name}: {wish.body} was answered {answered.status} {answered.body}")
        if wish.items:
            return self._note_items(wish, begun, answered, returned)
        result = (
            None if answered.status is None else result_of(answered.status, answered.body, replayed=answered.replayed)
        )
        self.log.operations.append(replace(begun, returned=None if result is None else returned, result=result))
        self._learn(result)
        return result

    def _note_items(self, wish: Wish, begun: Operation, answered: Answered, returned: float) -> Result:
        """A batch item by item: each is a command of its own, with its own result."""
        told = answered.body.get("items") if answered.status is not None and answered.status < 400 else None
        for number, command in enumerate(wish.items):
            if told is None:
                result = None if answered.status is None else result_of(answered.status, answered.body)
            else:
                item = told[number]
                result = result_of(item["status"], item.get("order") or item["problem"])
            end = None if result is None else returned
            self.log.operations.append(replace(begun, command=command, returned=end, result=result))
            self._learn(result)
        return None

    def _learn(self, result: Result) -> None:
        if isinstance(result, Done | Refused) and result.sequence is not None:
            self.told = max(self.told, result.sequence)
        if isinstance(result, Done) and isinstance(result.shown, dict):
            for order in [result.shown, *(item.get("order") or {} for item in result.shown.get("items", ()))]:
                if order.get("status") in ("open", "partially_filled") and order["order_id"] not in self.wishes.open:
                    self.wishes.open.append(order["order_id"])


# Over REST


@dataclass
class Rest:
    exchange: Exchange
    http: httpx.AsyncClient

    async def ask(self, wish: Wish) -> Answered:
        method, path, body = _rest_request(wish)
        try:
            answer = await self.http.request(method, self.exchange.http + path, json=body)
            return Answered(answer.status_code, answer.json(), "Idempotent-Replayed" in answer.headers)
        except (httpx.TransportError, ValueError):
            return Answered(None)  # a body cut short is no answer


def _rest_request(wish: Wish) -> tuple[str, str, dict[str, Any] | None]:
    body = wish.body
    match wish.action:
        case "place":
            return "POST", "/orders", body
        case "batch":
            return "POST", "/orders/batch", body
        case "cancel":
            return "DELETE", f"/orders/{body['order_id']}", None
        case "amend":
            return "PUT", f"/orders/{body['order_id']}", {key: body[key] for key in body if key != "order_id"}
        case "cancel_all":
            return "DELETE", f"/orders?account={body['account']}", None
        case "cancel_all_after":
            assert not isinstance(wish.command, PlaceOrder | AllOrNothing | CancelOrders)
            return "PUT", f"/accounts/{getattr(wish.command, 'account', '')}/cancel-all-after", body
        case "list":
            return "PUT", f"/instruments/{getattr(wish.command, 'symbol', '')}", body
    raise AssertionError(wish.action)


def rest_client() -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=50)
    return httpx.AsyncClient(timeout=httpx.Timeout(_ANSWER_SECONDS), trust_env=False, limits=limits)


async def list_instruments(exchange: Exchange, http: httpx.AsyncClient, log: Log) -> None:
    """Before trading begins: the default one is there by itself. Their answers are instruments, without a sequence."""
    rest = Rest(exchange, http)
    for symbol in SYMBOLS[1:]:
        wish = listing(symbol)
        begun = Operation("lister", wish.command, time.monotonic())
        answered = await rest.ask(wish)
        assert answered.status in (200, 201), answered
        log.operations.append(begun)


@dataclass
class Reads:
    """Reads over REST of what this client has been told of."""

    exchange: Exchange
    http: httpx.AsyncClient

    async def look(self, trader: Trader) -> None:
        if trader.wishes.open and trader.wishes.chance.random() < 0.6:
            await self.order(trader, trader.wishes.chance.choice(trader.wishes.open[-30:]))
        else:
            await self.depth(trader, trader.wishes.chance.choice(SYMBOLS))

    async def order(self, trader: Trader, order_id: int) -> bool:
        seen = trader.told
        answer = await self._get(f"/orders/{order_id}", seen)
        if answer is None:
            return False
        if answer.status_code == 200:
            trader.log.order_reads.append(OrderRead(trader.name, order_id, seen, answer.json()))
        elif answer.status_code != 503:
            trader.log.surprises.append(f"{trader.name}: GET /orders/{order_id}: {answer.status_code} {answer.text}")
        return answer.status_code == 200

    async def depth(self, trader: Trader, symbol: str) -> None:
        seen = trader.told
        answer = await self._get(f"/market/{symbol}/depth?levels={_DEPTH_LEVELS}", seen)
        if answer is None:
            return
        if answer.status_code == 200:
            shown = answer.json()
            book = DepthRead(trader.name, symbol, seen, shown["sequence"], shown["bids"], shown["asks"], _DEPTH_LEVELS)
            trader.log.depth_reads.append(book)
        elif answer.status_code != 503:
            trader.log.surprises.append(f"{trader.name}: depth of {symbol}: {answer.status_code} {answer.text}")

    async def _get(self, path: str, seen: int) -> httpx.Response | None:
        try:
            return await self.http.get(self.exchange.http + path, headers={"Journal-Sequence": str(seen)})
        except httpx.TransportError:
            return None


@dataclass
class Deferred:
    """Requests answered with 202 and carried out later; their results are looked up until they are there."""

    rest: Rest
    log: Log
    waiting: dict[str, Operation] = field(default_factory=dict)

    async def trade(self, wishes: Wishes, stopping: asyncio.Event, resting: Sequence[asyncio.Event]) -> None:
        while not stopping.is_set():
            if any(event.is_set() for event in resting):
                await self.collect()
                await asyncio.sleep(_REST_SECONDS)
                continue
            await self._defer(wishes.place(now()))
            await self.collect()
            await asyncio.sleep(wishes.chance.uniform(0.1, 0.4))

    async def _defer(self, wish: Wish) -> None:
        assert isinstance(wish.command, PlaceOrder)
        begun = Operation(wish.command.account, wish.command, time.monotonic())
        headers = {"Prefer": "respond-async", "Idempotency-Key": str(wish.command.client_order_id)}
        try:
            answer = await self.rest.http.post(self.rest.exchange.http + "/orders", json=wish.body, headers=headers)
            body = answer.json()
        except (httpx.TransportError, ValueError):
            self.log.operations.append(begun)
            return
        self.log.answers[f"deferred {answer.status_code} {body.get('code', '')}".strip()] += 1
        if answer.status_code == 202:
            self.waiting[body["command_id"]] = begun
        else:
            result = result_of(answer.status_code, body)
            end = None if result is None else time.monotonic()
            self.log.operations.append(replace(begun, returned=end, result=result))

    async def collect(self) -> None:
        for command_id, begun in list(self.waiting.items())[:20]:
            try:
                answer = await self.rest.http.get(f"{self.rest.exchange.http}/commands/{command_id}")
                found = answer.json()
            except (httpx.TransportError, ValueError):
                return
            if answer.status_code == 404:
                self.log.surprises.append(f"the deferred command {command_id}, answered with 202, is gone")
                self.log.operations.append(begun)
            elif answer.status_code != 200 or found["status"] == "pending":
                continue
            else:
                result = result_of(found["http_status"], found["result"] or found["problem"])
                self.log.operations.append(replace(begun, returned=time.monotonic(), result=result))
            del self.waiting[command_id]

    async def finish(self, seconds: float) -> None:
        """A 202 is a promise: all of it must be carried out."""
        deadline = time.monotonic() + seconds
        while self.waiting and time.monotonic() < deadline:
            await self.collect()
            await asyncio.sleep(0.1)
        for command_id, begun in self.waiting.items():
            self.log.surprises.append(f"the deferred command {command_id}, answered with 202, is not carried out")
            self.log.operations.append(begun)


# Over NATS


@dataclass
class OverNats:
    connection: Client

    async def ask(self, wish: Wish) -> Answered:
        if wish.action == "cancel_all_after":
            return Answered(503, {"code": "no_responders"})  # not to be had here: nothing is sent
        try:
            payload = json.dumps(wish.body).encode()
            message = await self.connection.request(f"orders.{wish.action}", payload, timeout=_ANSWER_SECONDS)
            body = json.loads(message.data)
        except NoRespondersError:
            return Answered(503, {"code": "no_responders"})
        except (NatsError, TimeoutError, ValueError):
            return Answered(None)
        failed = (message.headers or {}).get("Nats-Service-Error-Code")
        return Answered(200 if failed is None else int(failed), body)


# Over WebSocket


@dataclass
class OverWebSocket:
    """One connection, made again whenever it breaks."""

    exchange: Exchange
    _socket: websockets.ClientConnection | None = None
    _count: int = 0

    async def ask(self, wish: Wish) -> Answered:
        fields = dict(wish.body)
        if wish.action == "cancel_all_after":
            fields["account"] = getattr(wish.command, "account", "")
        self._count += 1
        request = {"id": self._count, "op": wish.action, **fields}
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                socket = await self._connected()
                await socket.send(json.dumps(request))
                return await self._answer(socket, self._count)
        except (OSError, TimeoutError, websockets.WebSocketException):
            await self.close()
            return Answered(None)

    async def _connected(self) -> websockets.ClientConnection:
        if self._socket is None:
            self._socket = await websockets.connect(
                f"{self.exchange.ws}/ws", proxy=None, open_timeout=5, close_timeout=1
            )
        return self._socket

    async def _answer(self, socket: websockets.ClientConnection, number: int) -> Answered:
        while True:
            message = json.loads(await socket.recv())
            if message.get("id") != number:
                continue
            if message["type"] == "error":
                problem = message["problem"]
                return Answered(problem["status"], problem)
            shown = message.get("order") or message
            return Answered(200, shown, bool(message.get("replayed")))

    async def close(self) -> None:
        if self._socket is not None:
            self._socket.transport.abort()
            self._socket = None
