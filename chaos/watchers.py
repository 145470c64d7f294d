"""Whoever only looks on: streams of trades, orders and books over WebSocket and NATS, as they came.

A WebSocket watcher that lost its connection comes back with the number of the last message it has, so all it was ever
shown is one stream without a gap. What NATS publishes while nobody is there is gone; its order and content must be
right all the same.
"""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import websockets
from nats.aio.client import Client
from nats.aio.msg import Msg

from chaos.clients import Log
from chaos.exchange import Exchange
from chaos.records import DepthRead, TradesSeen, UpdatesSeen

_AGAIN_SECONDS = 0.1
_SILENCE_SECONDS = 6.0
_LOOK_EVERY = 25
_CHANNELS = {1: "trades", 2: "orders", 3: "book"}


@dataclass
class Watcher:
    """One client of /ws with three subscriptions: all trades, the orders of an account, the book of a symbol."""

    exchange: Exchange
    log: Log
    name: str
    account: str
    symbol: str
    trades: list[dict[str, Any]] = field(default_factory=list)
    updates: list[tuple[int, int, int, str]] = field(default_factory=list)
    trades_after: int | None = 0
    """Where the stream began; None: wherever it was."""
    updates_after: tuple[int, int] | None = (0, 0)
    until: int = 0
    """The journal sequence up to which everything was sent, as the last heartbeat said."""
    finished: list[TradesSeen | UpdatesSeen] = field(default_factory=list)
    connections: int = 0
    _book: dict[str, dict[str, str]] = field(default_factory=dict)
    _book_at: int | None = None
    _changes: int = 0

    async def watch(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                url = f"{self.exchange.ws}/ws"
                async with websockets.connect(
                    url, proxy=None, open_timeout=5, close_timeout=1, max_size=None
                ) as socket:
                    self.connections += 1
                    await self._subscribe(socket)
                    while not stopping.is_set():
                        async with asyncio.timeout(_SILENCE_SECONDS):
                            self._take(json.loads(await socket.recv()))
            except (OSError, TimeoutError, websockets.WebSocketException):
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _subscribe(self, socket: websockets.ClientConnection) -> None:
        self._subscribed: set[int] = set()
        self._book_at = None
        after = self.trades[-1]["trade_id"] if self.trades else self.trades_after
        last = self.updates[-1][:2] if self.updates else self.updates_after
        requests: list[dict[str, Any]] = [
            {"id": 1, "channel": "trades"} | ({} if after is None else {"after": after}),
            {"id": 2, "channel": "orders", "account": self.account}
            | ({} if last is None else {"after": last[0], "after_index": last[1]}),
            {"id": 3, "channel": "book", "symbol": self.symbol},
        ]
        for request in requests:
            await socket.send(json.dumps({"op": "subscribe", **request}))

    def _take(self, message: dict[str, Any]) -> None:
        match message.get("channel"), message["type"]:
            case None, "subscribed":
                self._subscribed.add(message["id"])
            case None, "error":
                self._on_error(message)
            case None, "heartbeat" if len(self._subscribed) == len(_CHANNELS):
                self.until = max(self.until, message["sequence"])
            case "trades", _:
                self.trades.append(message["trade"])
            case "orders", "update":
                change = (message["sequence"], message["index"], message["order"]["order_id"], message["event"])
                self.updates.append(change)
            case "book", kind:
                self._fold(message, kind)

    def _on_error(self, message: dict[str, Any]) -> None:
        code = message.get("problem", {}).get("code")
        if code == "gap":  # what it missed is no longer at hand, and it is told so: a new stream begins
            self.finish()
            raise ConnectionResetError
        if code == "ahead" and self.log.on_damaged_data:
            raise ConnectionResetError  # true until the journal is whole again
        if code != "slow_consumer":
            self.log.surprises.append(f"{self.name}: {_CHANNELS.get(message.get('id', 0))}: {message}")

    def _fold(self, message: dict[str, Any], kind: str) -> None:
        if kind == "snapshot":
            self._book = {side: dict(message[side]) for side in ("bids", "asks")}
        else:
            if self._book_at is None or message["first_sequence"] != self._book_at + 1:
                self.log.surprises.append(f"{self.name}: the book went from {self._book_at} to {message}")
            for side, levels in self._book.items():
                for price, quantity in message[side]:
                    levels.pop(price, None) if quantity == "0" else levels.update({price: quantity})
        self._book_at = message["last_sequence"]
        self._changes += 1
        if kind == "snapshot" or self._changes % _LOOK_EVERY == 0:
            self._look()

    def _look(self) -> None:
        assert self._book_at is not None
        sides = [
            sorted(self._book[side].items(), key=lambda level: float(level[0]), reverse=side == "bids")
            for side in ("bids", "asks")
        ]
        self.log.depth_reads.append(DepthRead(self.name, self.symbol, 0, self._book_at, sides[0], sides[1]))

    def finish(self) -> None:
        """What was seen so far becomes a stream of its own."""
        until = self.until or None
        self.finished += [
            TradesSeen(self.name, tuple(self.trades), self.trades_after, until=until),
            UpdatesSeen(self.name, self.account, tuple(self.updates), self.updates_after, until=until),
        ]
        self.trades, self.updates, self.until = [], [], 0
        self.trades_after = self.updates_after = None

    async def until_reached(self, sequence: int, seconds: float) -> bool:
        for _ in range(int(seconds / 0.05)):
            if self.until >= sequence:
                return True
            await asyncio.sleep(0.05)
        return False


@dataclass
class NatsWatcher:
    """market.*.trades and accounts.<account>.orders, as core NATS delivers them."""

    connection: Client
    name: str
    account: str
    trades: list[dict[str, Any]] = field(default_factory=list)
    updates: list[tuple[int, int, int, str]] = field(default_factory=list)

    async def start(self) -> None:
        await self.connection.subscribe("market.*.trades", cb=self._on_trade)
        await self.connection.subscribe(f"accounts.{self.account}.orders", cb=self._on_update)

    async def _on_trade(self, message: Msg) -> None:
        self.trades.append(json.loads(message.data))

    async def _on_update(self, message: Msg) -> None:
        update = json.loads(message.data)
        change = (update["sequence"], update["index"], update["order"]["order_id"], update["event"])
        self.updates.append(change)

    def seen(self, *, is_unordered: bool) -> list[TradesSeen | UpdatesSeen]:
        return [
            TradesSeen(self.name, tuple(self.trades), is_lossy=True, is_unordered=is_unordered),
            UpdatesSeen(self.name, self.account, tuple(self.updates), is_lossy=True, is_unordered=is_unordered),
        ]
