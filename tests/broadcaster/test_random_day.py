"""Clients of /ws over a random day, with everything that can go wrong between them and the exchange.

Goal: whoever follows the protocol has, at the end of the day, the engine's own book and its own open orders, and has
seen every trade and every change of its orders exactly once, in order.
Method: a seeded flow of every kind of order through a real matcher, while the broadcaster is stopped, killed and
started again; the clients come back by themselves. One reads so slowly that the broadcaster has to leave books out
for it. The engine to compare with is replayed from the journal.
"""

import asyncio
import json
import random
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import websockets

from broadcaster.market import Market
from contracts.messages import Outcome
from contracts.subjects import BROADCASTER_STATUS
from matcher.engine import Engine
from tests.matcher.flows import EVERYTHING, MAX_LOTS, Flow, Profile
from tests.matcher.reference import ReferenceEngine
from tests.support.broadcaster_service import ask
from tests.support.matchers import JournalRead, MatcherClient, client_of
from tests.support.streams import RebuiltBook, StreamExchange, check_frame, stream_exchange

pytestmark = pytest.mark.stack

SYMBOLS = ("AAA", "BBB")
ACCOUNTS = ("anna", "ben", "cleo")
DAY = Profile(
    "a day of trading",
    EVERYTHING | {"status": 0, "kill_switch": 0, "define": 0, "expiring": 0, "cancel_all": 0, "cancel_all_after": 0},
    symbols=SYMBOLS,
    accounts=ACCOUNTS,
    client_order_ids=100_000,
    prevention=0.1,
    spread=30,
    most_orders=120,
)
REQUESTS, COMMANDS_PER_REQUEST = 500, 20
RESTARTS = 3
PART = REQUESTS // (RESTARTS + 2)
"""So many requests between two restarts, twice as many before the first one."""


@pytest.fixture
def exchange() -> Iterator[StreamExchange]:
    with stream_exchange() as started:
        yield started


class Follower:
    """A client that comes back whenever it is cut off, and goes on where the protocol lets it."""

    narrow = False

    def __init__(self, exchange: StreamExchange) -> None:
        self.exchange = exchange
        self.connections = 0
        self.going_away = 0
        self.target: int | None = None
        """The journal sequence at the end of the day."""
        self.reached = 0
        self.beaten = asyncio.Event()
        """Set by each heartbeat."""

    def subscriptions(self) -> list[dict[str, Any]]:
        raise NotImplementedError

    def take(self, message: Any) -> None:
        raise NotImplementedError

    async def run(self) -> None:
        """Until it has everything up to the target."""
        while self.target is None or self.reached < self.target:
            try:
                await self._follow()
            except (websockets.ConnectionClosed, websockets.InvalidHandshake, OSError):
                await asyncio.sleep(0.02)

    async def _follow(self) -> None:
        async with self._connected() as client:
            self.connections += 1
            for number, wanted in enumerate(self.subscriptions()):
                await client.send(json.dumps({"id": number, "op": "subscribe", **wanted}))
            while self.target is None or self.reached < self.target:
                await self.pause()
                message = json.loads(await client.recv())
                check_frame(message)
                self._note(message)

    def _note(self, message: Any) -> None:
        assert message["type"] != "error", message
        self.going_away += message["type"] == "going_away"
        if message["type"] == "heartbeat":
            self.reached = message["sequence"]
            self.beaten.set()
        elif "channel" in message:
            self.take(message)

    async def until_connected(self, times: int) -> None:
        async with asyncio.timeout(60):
            while self.connections < times:
                self.beaten.clear()
                await self.beaten.wait()

    async def pause(self) -> None:
        pass

    def _connected(self) -> websockets.connect:
        """Narrow: so little fits on the way that a client which does not read is noticed soon."""
        url = f"ws://127.0.0.1:{self.exchange.port}/ws"
        if not self.narrow:
            return websockets.connect(url, proxy=None, max_size=None, max_queue=None)
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(("127.0.0.1", self.exchange.port))
        raw.setblocking(False)
        return websockets.connect(url, proxy=None, max_size=None, max_queue=1, close_timeout=0.1, sock=raw)


class BookFollower(Follower):
    def __init__(self, exchange: StreamExchange, *levels: int | None) -> None:
        super().__init__(exchange)
        self.books = {(symbol, most): RebuiltBook() for symbol in SYMBOLS for most in levels}
        self.snapshots = self.changes = 0

    def subscriptions(self) -> list[dict[str, Any]]:
        return [{"channel": "book", "symbol": symbol, "levels": levels} for symbol, levels in self.books]

    def take(self, message: Any) -> None:
        self.snapshots += message["type"] == "snapshot"
        self.changes += message["type"] == "change"
        self.books[message["symbol"], message["levels"]].take(message)


class SlowBookFollower(BookFollower):
    """Reads nothing for a while now and then."""

    narrow = True

    def __init__(self, exchange: StreamExchange) -> None:
        super().__init__(exchange, None, *range(10, 80, 5))  # more than its connection can hold
        self.awake = asyncio.Event()

    async def pause(self) -> None:
        await self.awake.wait()


class TradeFollower(Follower):
    def __init__(self, exchange: StreamExchange) -> None:
        super().__init__(exchange)
        self.trades: list[int] = []

    def subscriptions(self) -> list[dict[str, Any]]:
        return [{"channel": "trades", "after": self.trades[-1] if self.trades else 0}]

    def take(self, message: Any) -> None:
        self.trades.append(message["trade"]["sequence"])


class OrderFollower(Follower):
    def __init__(self, exchange: StreamExchange, account: str) -> None:
        super().__init__(exchange)
        self.account = account
        self.seen: list[tuple[int, int]] = []
        self.orders: dict[int, Any] = {}
        self.filled = 0.0

    def subscriptions(self) -> list[dict[str, Any]]:
        sequence, index = self.seen[-1] if self.seen else (0, 0)
        return [{"channel": "orders", "account": self.account, "after": sequence, "after_index": index}]

    def take(self, message: Any) -> None:
        order = message["order"]
        assert order["account"] == self.account
        self.seen.append((message["sequence"], message["index"]))
        self.orders[order["order_id"]] = order


async def trade_all_day(client: MatcherClient, seed: int, permits: "asyncio.Queue[None]") -> int:
    """One request for each permit. Returns how many commands were accepted.

    The flow aims by the reference, whose clock is another.
    """
    reference = ReferenceEngine(DAY.limits)
    flow = Flow(DAY, reference, random.Random(seed))
    accepted, some = 0, []
    for number, command in enumerate(flow.commands(REQUESTS * COMMANDS_PER_REQUEST), 1):
        reference.apply(command, flow.time, number)
        for more in flow.continuing():
            reference.apply(more, flow.time, number)
        some.append(command)
        if len(some) == COMMANDS_PER_REQUEST:
            await permits.get()
            for part in await client.submit(*some):
                accepted += sum(isinstance(result, Outcome) for result in part.results)
            some = []
            permits.task_done()
    return accepted


async def make_trouble(exchange: StreamExchange, followers: list[Follower], permits: "asyncio.Queue[None]") -> int:
    """Restart the broadcaster again and again while the day goes on, and let the slow client sleep in between.

    Each part of the day begins before a broadcaster ends and is over when everybody has come to the next one. Returns
    how many messages the slow client was spared.
    """
    conflated = 0
    [slow] = [each for each in followers if isinstance(each, SlowBookFollower)]
    async with client_of(exchange.nats) as matcher:
        for number in range(RESTARTS):
            slow.awake.clear()
            permit(permits, PART // 2 if number else 2 * PART)  # the first fills what the system keeps for a reader
            await permits.join()
            slow.awake.set()
            for each in followers:
                await each.until_connected(number + 1)
            await until_reached(slow, (await matcher.status())["sequence"])
            conflated += (await ask(matcher.connection, BROADCASTER_STATUS))["conflated"]
            permit(permits, PART // 2)
            while permits.qsize() > PART // 4:  # noqa: ASYNC110  # it is stopped in the middle of trading
                await asyncio.sleep(0)
            if number % 2:
                exchange.broadcaster.kill()
            else:
                assert await asyncio.to_thread(exchange.broadcaster.stop) == 0
            exchange.broadcaster.start()
    permit(permits, PART // 2)
    return conflated


def permit(permits: "asyncio.Queue[None]", requests: int) -> None:
    for _ in range(requests):
        permits.put_nowait(None)


async def until_reached(follower: Follower, sequence: int) -> None:
    """It has read what had been kept for it."""
    async with asyncio.timeout(60):
        while follower.reached < sequence:
            follower.beaten.clear()
            await follower.beaten.wait()


async def test_everybody_has_all_of_it_at_the_end(exchange: StreamExchange) -> None:
    exchange.broadcaster.listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)  # inherited by connections
    books, best, slow = BookFollower(exchange, None), BookFollower(exchange, 1, 7), SlowBookFollower(exchange)
    trades, orders = TradeFollower(exchange), [OrderFollower(exchange, account) for account in ACCOUNTS]
    followers: list[Follower] = [books, best, slow, trades, *orders]
    for symbol in SYMBOLS:
        await exchange.list(symbol, max_quantity=MAX_LOTS)
    async with client_of(exchange.nats) as matcher:
        running = [asyncio.create_task(each.run()) for each in followers]
        permits: asyncio.Queue[None] = asyncio.Queue()
        day = asyncio.create_task(trade_all_day(matcher, 5, permits))
        conflated = await make_trouble(exchange, followers, permits)
        assert await day > REQUESTS
        end = (await matcher.status())["sequence"]
        for each in followers:
            each.target = end
        async with asyncio.timeout(60):
            await asyncio.gather(*running)
        journal = await matcher.journal()
    engine = journal.replay.engine
    for each in (books, slow, best):
        assert_books(each, engine)
    assert_nothing_missed(trades, orders, journal)
    assert min(each.connections for each in followers) > RESTARTS
    assert books.going_away >= 1
    assert trades.going_away >= 1
    assert conflated > 0, "the slow client was never slow enough"


def assert_books(follower: BookFollower, engine: Engine) -> None:
    for (symbol, levels), book in follower.books.items():
        instrument = next(each for each in engine.instruments if each.symbol == symbol)
        sides = [
            [(instrument.tick.format(price), instrument.lot.format(quantity)) for price, quantity in side]
            for side in engine.depth(symbol, levels)
        ]
        assert min(map(len, sides)) > 0
        assert book.levels == tuple(sides)


def assert_nothing_missed(trades: TradeFollower, orders: list[OrderFollower], journal: JournalRead) -> None:
    market, changes, traded = Market(), [], 0
    for commit in journal.commits:
        news = market.apply(commit)
        changes += news.orders
        traded += len(news.trades)
    assert trades.trades == list(range(1, traded + 1))
    assert traded > 500
    for follower in orders:
        ours = [change for change in changes if change.order.account == follower.account]
        assert follower.seen == [(change.sequence, change.index) for change in ours]
        open_orders = [number for number, order in follower.orders.items() if order["remaining_quantity"] != "0.000"]
        assert sorted(open_orders) == journal.replay.engine.open_orders(follower.account)
        assert len(ours) > 500
