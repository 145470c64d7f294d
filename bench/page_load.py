"""What the trading page is to keep up with: a book of so many levels on each side that changes so many times a second.

Of ten changes eight give a level another quantity, one is a trade at the best price, one belongs to a move: the best
level of one side goes, the other side gets one at its price, and the far ends follow, so that the book keeps its size
while the price wanders. Moves and quantities come from a seed; everything is sent over one connection to /ws, on
schedule; what builds on another request is sent when that one is answered.
"""

import asyncio
import json
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import websockets

TICK_SIZE, LOT_SIZE = "0.01", "0.001"
MAKER, TAKER = "page-maker", "page-taker"
_FIRST_PRICE = 10_000
"""In ticks, as all prices here; prices have two decimals."""
_LOTS = (100_000, 999_000)
_IN_FLIGHT = 90
"""Requests without an answer; of more than 100 the exchange reads no further."""
_AT_ONCE = 100
"""Orders of a batch that fills the book."""

Request = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """A request that changes one level. It builds on those of the order `after`: they must have been answered."""

    request: Request
    name: str = ""
    after: str = ""


@dataclass(slots=True)
class Wandering:
    """A book of one order at each level, and how it changes. Pure: chance comes in as `chance`."""

    symbol: str
    levels: int
    chance: random.Random
    bids: deque[tuple[int, str]] = field(default_factory=deque)
    """Price and the order's name, the best first."""
    asks: deque[tuple[int, str]] = field(default_factory=deque)
    _named: int = 0
    _fresh: deque[str] = field(default_factory=lambda: deque(maxlen=2))
    """The orders placed last, which are left alone for a while: nobody has to wait for their answers."""

    def fill(self) -> list[Request]:
        """The orders that make the book."""
        for distance in range(1, self.levels + 1):
            self.bids.append((_FIRST_PRICE - distance, self._name()))
            self.asks.append((_FIRST_PRICE + distance, self._name()))
        sides = (("buy", self.bids), ("sell", self.asks))
        return [self._place(side, price, name) for side, book in sides for price, name in book]

    def changes(self) -> Iterator[Change]:
        """Without end."""
        while True:
            for step in self._move():
                for _ in range(8):
                    yield self._resize()
                yield Change(self._trade())
                yield step

    def _resize(self) -> Change:
        while True:
            _, name = self.chance.choice(self.chance.choice((self.bids, self.asks)))
            if name not in self._fresh:
                request = {"op": "amend", "account": MAKER, "client_order_id": name, "quantity": self._quantity()}
                return Change(request, name, after=name)

    def _trade(self) -> Request:
        side, price = self.chance.choice((("buy", self.asks[0][0]), ("sell", self.bids[0][0])))
        terms = {"price": _decimal(price, 2), "quantity": "0.001", "time_in_force": "IOC"}
        return {"op": "place", "symbol": self.symbol, "account": TAKER, "side": side, **terms}

    def _move(self) -> Iterator[Change]:
        """One tick up or down: four levels change."""
        is_up = self.chance.random() < 0.5
        away, coming = (self.asks, self.bids) if is_up else (self.bids, self.asks)
        away_side, coming_side, step = ("sell", "buy", 1) if is_up else ("buy", "sell", -1)
        price, gone = away.popleft()
        yield self._cancel(gone)
        coming.appendleft((price, self._fresh_name()))
        yield Change(self._place(coming_side, *coming[0]), coming[0][1], after=gone)
        yield self._cancel(coming.pop()[1])
        away.append((away[-1][0] + step, self._fresh_name()))
        yield Change(self._place(away_side, *away[-1]), away[-1][1])

    def _fresh_name(self) -> str:
        self._fresh.append(self._name())
        return self._fresh[-1]

    def _name(self) -> str:
        self._named += 1
        return f"{self.symbol}-{self._named}"

    def _quantity(self) -> str:
        return _decimal(self.chance.randrange(*_LOTS), 3)

    def _place(self, side: str, price: int, name: str) -> Request:
        terms = {"side": side, "price": _decimal(price, 2), "quantity": self._quantity()}
        return {"op": "place", "symbol": self.symbol, "account": MAKER, "client_order_id": name, **terms}

    def _cancel(self, name: str) -> Change:
        return Change({"op": "cancel", "account": MAKER, "client_order_id": name}, name, after=name)


def _decimal(count: int, digits: int) -> str:
    return f"{count // 10**digits}.{count % 10**digits:0{digits}d}"


def prepare(http: str, wandering: Wandering) -> None:
    """List the instrument and fill its book."""
    with httpx.Client(base_url=http, timeout=30, trust_env=False) as client:
        rules = {"tick_size": TICK_SIZE, "lot_size": LOT_SIZE}
        client.put(f"/instruments/{wandering.symbol}", json=rules).raise_for_status()
        orders = [{"place": {key: each[key] for key in each if key != "op"}} for each in wandering.fill()]
        for begin in range(0, len(orders), _AT_ONCE):
            answer = client.post("/orders/batch", json={"items": orders[begin : begin + _AT_ONCE]})
            answer.raise_for_status()
            refused = [each for each in answer.json()["items"] if each["status"] != 201]
            if refused:
                raise RuntimeError(f"the book could not be filled: {refused[0]}")


@dataclass(slots=True)
class Sent:
    """What became of the changes so far."""

    requests: int = 0
    waiting: dict[int, str] = field(default_factory=dict)
    """Requests without an answer yet, and of which order."""
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def answers(self) -> int:
        return self.requests - len(self.waiting)

    def may_send(self, change: Change) -> bool:
        is_free = change.after == "" or change.after not in self.waiting.values()
        return is_free and len(self.waiting) < _IN_FLIGHT


async def send(ws: str, wandering: Wandering, rate: float, stop: threading.Event, sent: Sent) -> None:
    """So many changes a second, until `stop` is set (from another thread, too) and the last is answered."""
    async with websockets.connect(f"{ws}/ws", proxy=None, max_queue=None) as socket:
        reading = asyncio.create_task(_count_answers(socket, sent))
        changes, started, first = wandering.changes(), time.monotonic(), sent.requests
        change = next(changes)
        while not stop.is_set():
            due = first + int((time.monotonic() - started) * rate)
            while sent.requests < due and sent.may_send(change):
                sent.requests += 1
                sent.waiting[sent.requests] = change.name
                await socket.send(json.dumps({"id": sent.requests, **change.request}))
                change = next(changes)
            await asyncio.sleep(1 / rate)
        async with asyncio.timeout(30):
            while sent.waiting:  # noqa: ASYNC110 (the other task counts them)
                await asyncio.sleep(0.01)
        reading.cancel()


async def _count_answers(socket: websockets.ClientConnection, sent: Sent) -> None:
    async for text in socket:
        message = json.loads(text)
        if "id" in message:
            sent.waiting.pop(message["id"], None)
            if message["type"] == "error":
                sent.refused[message["problem"]["code"]] += 1
