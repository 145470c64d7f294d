"""The load of a soak: orders on schedule over REST, NATS and WebSocket at once, for any length of time.

It leaves the exchange as large as it was: orders that rest near the price and takers who want a little more than there
is, so the book does not grow; and orders far from it, each of which is canceled some hundreds of orders later.
Every order has its client's id, so that afterwards each can be looked for in the journal.
"""

import re
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import msgspec

from bench.client import post_request
from bench.crowd import Crowd, HttpCrowd, NatsCrowd
from bench.ws_crowd import WebSocketCrowd
from cli.runfile import RunFile
from contracts.subjects import ORDERS_PLACE

SEED = 1
_TEMPLATES = 1_000
_FAR = 0.1
"""How many of the orders are placed far from the price, or cancel one that was."""
_FAR_AT_MOST = 200
_MIDDLE = 30_000
_FAR_BELOW = 1_000
_CONNECTIONS = 256
_SOCKETS = 8
_ORDER_ID = re.compile(rb'"order_id":([0-9]+)').search
_GOOD = (200, 201)


@dataclass(frozen=True, slots=True)
class Way:
    """How a request is written: to place an order, to cancel one (where this is a way for that, too)."""

    place: Callable[[bytes], bytes]
    cancel: Callable[[int], bytes] | None


REST = Way(
    lambda fields: post_request("/orders", "127.0.0.1", fields),
    lambda order_id: b"DELETE /orders/%d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % order_id,
)
NATS = Way(lambda fields: fields, None)
WEBSOCKET = Way(
    lambda fields: b'"op":"place",' + fields[1:],
    lambda order_id: b'"op":"cancel","order_id":%d}' % order_id,
)


@dataclass(frozen=True, slots=True)
class Template:
    """An order's JSON without its end, and whether it is to be canceled later."""

    fields: bytes
    is_far: bool


def templates(seed: int, far: float) -> list[Template]:
    random = Random(seed)
    return [_template(random, far) for _ in range(_TEMPLATES)]


def _template(random: Random, far: float) -> Template:
    side, away = random.choice((("buy", -1), ("sell", 1)))
    if random.random() < far:
        return _written("buy", _MIDDLE - _FAR_BELOW, random.randint(1, 100), "GTC", is_far=True)
    if random.random() < 0.5:
        return _written(side, _MIDDLE + away * random.randint(1, 20), random.randint(1, 100), "GTC")
    return _written(side, _MIDDLE - away * 50, random.randint(1, 120), "IOC")


def _written(side: str, price: int, lots: int, time_in_force: str, *, is_far: bool = False) -> Template:
    order = {"symbol": "BTC-USD", "side": side, "price": f"{price}.00", "quantity": f"0.{lots:04}"}
    return Template(msgspec.json.encode(order | {"time_in_force": time_in_force})[:-1], is_far)


@dataclass(slots=True)
class Source:
    """All that is sent one way. `order_ids`: by the number of the request, 0 where it placed nothing."""

    name: str
    crowd: Crowd
    way: Way
    rate: float = 0.0
    order_ids: "array[int]" = field(default_factory=lambda: array("q"))
    refused: "Counter[int]" = field(default_factory=Counter)
    refusals: list[bytes] = field(default_factory=list)
    """The first few."""
    is_pressing: bool = False
    _templates: Sequence[Template] = ()
    _sent: int = 0
    _far: "deque[int]" = field(default_factory=deque)
    _canceling: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.crowd.on_answer = self.on_answer
        self._templates = templates(SEED, _FAR if self.way.cancel else 0.0)

    def send_due(self, started: float, now: float) -> None:
        """What the schedule wants by now; call it often."""
        due = int((now - started) * self.rate)
        while self._sent < due:
            self._send(started + self._sent / self.rate)
            self._sent += 1

    def press(self, in_flight: int) -> None:
        """Keep so many in flight, as long as `is_pressing`."""
        self.is_pressing = True
        for _ in range(in_flight):
            self._send(time.perf_counter())

    def _send(self, due: float) -> None:
        number = self.crowd.tally.begin(due)
        self.order_ids.append(0)
        self.crowd.send(number, self._request(number))

    def _request(self, number: int) -> bytes:
        template = self._templates[number % len(self._templates)]
        if template.is_far and self.way.cancel is not None and len(self._far) >= _FAR_AT_MOST:
            self._canceling.add(number)
            return self.way.cancel(self._far.popleft())
        return self.way.place(b'%b,"client_order_id":"%b"}' % (template.fields, self.name_of(number).encode()))

    def name_of(self, number: int) -> str:
        """The client_order_id."""
        return f"{self.name}-{number}"

    def on_answer(self, number: int, answer: bytes) -> None:
        status = self.crowd.tally.status[number]
        was_canceling = number in self._canceling
        self._canceling.discard(number)
        if status not in _GOOD:
            self.refused[status] += 1
            if len(self.refusals) < 3:
                self.refusals.append(b"%d %b" % (status, answer[-500:]))
        elif not was_canceling:
            self._placed(number, answer)
        if self.is_pressing:
            self._send(time.perf_counter())

    def _placed(self, number: int, answer: bytes) -> None:
        found = _ORDER_ID(answer)
        assert found is not None, answer
        self.order_ids[number] = int(found[1])
        if self._templates[number % len(self._templates)].is_far:
            self._far.append(int(found[1]))


async def open_sources(stack: RunFile) -> list[Source]:
    http, nats, ws = HttpCrowd(_CONNECTIONS), NatsCrowd(ORDERS_PLACE), WebSocketCrowd()
    await http.open(stack.http)
    await nats.open(stack.nats)
    await ws.open(stack.ws, _SOCKETS)
    return [Source("REST", http, REST), Source("NATS", nats, NATS), Source("WebSocket", ws, WEBSOCKET)]
