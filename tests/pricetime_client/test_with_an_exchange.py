"""The client and a whole exchange, with a network between them that loses what it is told to lose."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import urlsplit

import msgspec
import pytest

from chaos.proxy import Proxy, proxy_before
from pricetime_client import AsyncExchange, Exchange, LocalBook, NoAnswer, OrdersSnapshot, OrderUpdate, Refusal
from tests.support.stack import Stack

pytestmark = pytest.mark.stack

SECONDS = 60


@pytest.fixture
def symbol(stack: Stack) -> str:
    """An instrument that only one test trades: what another one did may still be on its way to who subscribes."""
    name = f"CLIENT-{secrets.token_hex(4)}"
    with Exchange(stack.http) as exchange:
        listed = exchange.define_instrument(name, tick_size="0.01", lot_size="0.001", max_quantity=1000)
    assert (listed.symbol, listed.tick_size, listed.status) == (name, Decimal("0.01"), "trading")
    return name


@pytest.fixture
def account() -> str:
    return f"client-{secrets.token_hex(4)}"


@dataclass
class Line:
    """An exchange, reached through a network of its own."""

    exchange: AsyncExchange
    rest: Proxy
    streams: Proxy


@asynccontextmanager
async def line_to(stack: Stack, account: str) -> AsyncIterator[Line]:
    def target(url: str) -> Callable[[], tuple[str, int]]:
        parts = urlsplit(url)
        return lambda: (parts.hostname or "", parts.port or 0)

    async with (
        proxy_before(target(stack.http), reads_frames=False) as rest,
        proxy_before(target(stack.ws), reads_frames=False) as streams,
        AsyncExchange(
            f"http://127.0.0.1:{rest.port}", f"ws://127.0.0.1:{streams.port}/ws", account=account
        ) as exchange,
    ):
        yield Line(exchange, rest, streams)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


# Every call


def test_an_order_from_its_beginning_to_its_end(stack: Stack, symbol: str, account: str) -> None:
    with Exchange(stack.http, account=account) as exchange:
        order = exchange.place(symbol=symbol, side="sell", price="11.00", quantity="2", client_order_id="first")
        assert (order.status, order.price, order.remaining_quantity, order.account) == ("open", 11, 2, account)
        amended = exchange.amend("first", price=Decimal("10.50"))
        assert (amended.price, amended.priority_kept) == (Decimal("10.50"), False)
        taker = exchange.place(symbol=symbol, side="buy", type="market", quantity="0.5", account="other")
        assert [(each.price, each.quantity) for each in taker.trades or []] == [(Decimal("10.5"), Decimal("0.5"))]
        assert exchange.order(order.order_id).status == "partially_filled"
        replaced = exchange.replace(order.order_id, symbol=symbol, side="sell", price="12", quantity="1")
        assert (replaced.canceled.status, replaced.placed.status) == ("canceled", "open")
        assert exchange.cancel(replaced.placed.order_id).status == "canceled"
        with pytest.raises(Refusal, match="order_not_resting") as refused:
            exchange.cancel(replaced.placed.order_id)
        assert (refused.value.status, refused.value.order_status) == (409, "canceled")

        assert [each.order_id for each in exchange.orders()] == [replaced.placed.order_id, order.order_id]
        assert exchange.orders(status="open") == []
        assert exchange.order_history(order.order_id)[0].event == "accepted"
        assert [each.taker_order_id for each in exchange.trades(order_id=order.order_id)] == [taker.order_id]
        assert exchange.account().positions == {symbol: Decimal("-0.5")}


def test_the_market_and_its_rules(stack: Stack, symbol: str, account: str) -> None:
    with Exchange(stack.http, account=account) as exchange:
        exchange.place(symbol=symbol, side="buy", price="5.00", quantity="2")
        exchange.place(symbol=symbol, side="sell", price="5.00", quantity="1", type="limit", time_in_force="IOC")
        assert exchange.depth(symbol, levels=1).bids == [(5, 1)]
        assert exchange.ticker(symbol).best_bid == 5
        assert symbol in [each.symbol for each in exchange.instruments()]
        assert exchange.instrument(symbol).max_quantity == 1000
        assert exchange.set_instrument_status(symbol, "halted").status == "halted"
        with pytest.raises(Refusal, match="instrument_halted"):
            exchange.place(symbol=symbol, side="buy", price="5.00", quantity="1")
        exchange.set_instrument_status(symbol, "trading")
        assert exchange.cancel_all(symbol=symbol).canceled == 1
        assert exchange.candles(symbol, interval="1d", limit=1)[0].interval == "1d"
        assert exchange.status().is_ready
        assert exchange.config().ws_url == f"{stack.ws}/ws"


def test_an_account_and_its_limits(stack: Stack, symbol: str, account: str) -> None:
    with Exchange(stack.http, account=account) as exchange:
        limits = exchange.set_limits(max_open_orders=1, symbols={symbol: {"max_order_quantity": "3"}})
        assert limits.symbols[symbol].max_order_quantity == 3
        results = exchange.batch([{"place": {"symbol": symbol, "side": "buy", "price": 1, "quantity": 1}}] * 2)
        assert [each.status for each in results] == [201, 422]
        [first, second] = results
        assert first.order is not None
        assert second.problem is not None
        assert second.problem.code == "max_open_orders"
        assert exchange.cancel_all_after(60).deadline is not None
        assert exchange.cancel_all_after(0).deadline is None
        assert exchange.set_kill_switch(engaged=True).engaged
        assert exchange.order(first.order.order_id).reason == "kill_switch"
        assert exchange.account().kill_switch
        exchange.set_kill_switch(engaged=False)


# What the network loses


async def test_an_order_whose_answer_is_lost_is_placed_once(stack: Stack, symbol: str, account: str) -> None:
    async with line_to(stack, account) as line:
        line.rest.cutting_after = lambda chunk: b"201 Created" in chunk
        order = await line.exchange.place(symbol=symbol, side="buy", price="1.00", quantity="1")
        assert line.rest.lost == 1
        assert [each.order_id for each in await line.exchange.orders()] == [order.order_id]


async def test_a_batch_whose_answer_is_lost_is_carried_out_once(stack: Stack, symbol: str, account: str) -> None:
    async with line_to(stack, account) as line:
        line.rest.cutting_after = lambda chunk: b"200 OK" in chunk
        orders = [{"place": {"symbol": symbol, "side": "buy", "price": "1.00", "quantity": "1"}}] * 3
        results = await line.exchange.batch(orders)  # type: ignore[arg-type]
        assert line.rest.lost == 1
        assert [each.status for each in results] == [201] * 3
        assert len(await line.exchange.orders()) == 3


async def test_a_cancelation_whose_answer_is_lost_is_no_refusal(stack: Stack, symbol: str, account: str) -> None:
    async with line_to(stack, account) as line:
        order = await line.exchange.place(symbol=symbol, side="buy", price="1.00", quantity="1")
        line.rest.cutting_after = lambda chunk: b'"canceled"' in chunk
        assert (await line.exchange.cancel(order.order_id)).reason == "requested"
        assert line.rest.lost == 1


async def test_without_patience_the_unknown_is_told(stack: Stack, symbol: str, account: str) -> None:
    async with line_to(stack, account) as line:
        async with AsyncExchange(f"http://127.0.0.1:{line.rest.port}", account=account, patience=0.0) as hasty:
            line.rest.cutting_after = lambda chunk: b"201 Created" in chunk
            with pytest.raises(NoAnswer) as ended:
                await hasty.place(symbol=symbol, side="buy", price="1.00", quantity="1")
        assert ended.value.unknown
        name = ended.value.client_order_id
        assert name is not None
        again = await line.exchange.place(symbol=symbol, side="buy", price="1.00", quantity="1", client_order_id=name)
        assert [each.order_id for each in await line.exchange.orders()] == [again.order_id]


async def test_streams_lose_nothing_when_the_connection_breaks(stack: Stack, symbol: str, account: str) -> None:
    """Goal: every trade and every update once, in order, whatever breaks. Method: break it every few orders."""
    async with line_to(stack, account) as line, line.exchange.stream() as stream:
        trades = await stream.subscribe("trades", symbol=symbol)
        updates = await stream.subscribe("orders", account=account)
        snapshot = await anext(updates)
        assert isinstance(snapshot, OrdersSnapshot)
        line.streams.cut()  # also before there was anything to go on after
        placed = []
        for number in range(30):
            side = "buy" if number % 2 else "sell"
            order = await line.exchange.place(symbol=symbol, side=side, price="7.00", quantity="1")
            placed.append(order.order_id)
            if number % 5 == 4:
                line.streams.cut()
        async with asyncio.timeout(SECONDS):
            seen = [(await anext(trades)).trade.taker_order_id for _ in range(15)]
            assert seen == placed[1::2]
            events = [await anext(updates) for _ in range(60)]
        assert all(isinstance(each, OrderUpdate) for each in events)
        accepted = [
            each.order.order_id for each in events if isinstance(each, OrderUpdate) and each.event == "accepted"
        ]
        assert accepted == placed
        assert len({(each.sequence, each.index) for each in events if isinstance(each, OrderUpdate)}) == 60


# Orders over WebSocket


async def test_orders_over_websocket_are_those_of_rest(stack: Stack, symbol: str, account: str) -> None:
    async with AsyncExchange(stack.http, account=account) as exchange, exchange.stream() as stream:
        order = await stream.place(symbol=symbol, side="sell", price="21.00", quantity="2", client_order_id="first")
        assert await exchange.order(order.order_id) == msgspec.structs.replace(order, trades=msgspec.UNSET)
        assert (await stream.amend("first", price=Decimal("20.50"))).priority_kept is False
        assert (await stream.amend(order.order_id, quantity=1)).priority_kept is True
        taker = await stream.place(symbol=symbol, side="buy", type="market", quantity="0.5", account="other")
        assert [(each.price, each.quantity) for each in taker.trades or []] == [(Decimal("20.5"), Decimal("0.5"))]
        results = await stream.batch(
            [
                {"place": {"symbol": symbol, "side": "buy", "price": 1, "quantity": 1}},
                {"cancel": {"order_id": order.order_id}},
                {"cancel": {"order_id": order.order_id}},
            ]
        )
        assert [each.status for each in results] == [201, 200, 409]
        with pytest.raises(Refusal, match="order_not_resting") as refused:
            await stream.cancel("first")
        assert (refused.value.order_id, refused.value.order_status) == (order.order_id, "canceled")
        with pytest.raises(Refusal, match="off_tick"):
            await stream.place(symbol=symbol, side="buy", price="1.001", quantity=1)
        assert (await stream.cancel_all_after(60)).deadline is not None
        assert (await stream.cancel_all_after(0)).deadline is None
        assert (await stream.cancel_all(symbol=symbol)).canceled == 1


def test_orders_over_websocket_blocking(stack: Stack, symbol: str, account: str) -> None:
    with Exchange(stack.http, account=account) as exchange, exchange.stream() as stream:
        trades, feed = stream.subscribe("trades", symbol=symbol), stream.book(symbol)
        updates = stream.subscribe("orders", account=account)
        first = stream.place(symbol=symbol, side="buy", price="31.00", quantity="2")
        while feed.book.last_sequence < first.sequence:
            feed.get(SECONDS)
        assert feed.book.best_bid == (31, 2)
        taker = stream.place(symbol=symbol, side="sell", price="31.00", quantity="1")
        assert next(trades).trade.taker_order_id == taker.order_id
        assert trades.get(timeout=0) is None
        assert stream.cancel(first.order_id).filled_quantity == 1
        assert exchange.orders(status="open") == []
        told = [next(updates) for _ in range(6)]
        assert isinstance(told[0], OrdersSnapshot)
        assert [each.event for each in told[1:] if isinstance(each, OrderUpdate)] == [
            "accepted", "accepted", "trade", "trade", "canceled",
        ]  # fmt: skip
        assert stream.state == "live"


async def test_an_order_over_websocket_whose_answer_is_lost_is_placed_once(
    stack: Stack, symbol: str, account: str
) -> None:
    async with line_to(stack, account) as line, line.exchange.stream() as stream:
        line.streams.cutting_after = lambda chunk: b'"placed"' in chunk
        order = await stream.place(symbol=symbol, side="buy", price="1.00", quantity="1")
        assert line.streams.lost == 1
        assert [each.order_id for each in await line.exchange.orders()] == [order.order_id]
        line.streams.cutting_after = lambda chunk: b'"canceled"' in chunk
        assert (await stream.cancel(order.order_id)).reason == "requested"
        assert line.streams.lost == 2


async def test_orders_go_with_the_connection_also_with_the_next_one(stack: Stack, symbol: str, account: str) -> None:
    async with line_to(stack, account) as line, line.exchange.stream() as stream:
        await stream.cancel_on_disconnect()
        for price in (1, 2):
            order = await stream.place(symbol=symbol, side="buy", price=price, quantity=1)
            async with AsyncExchange(stack.http, stack.ws, account=account) as other, other.stream() as watching:
                updates = watching.subscribe("orders", account=account)
                assert isinstance(await anext(updates), OrdersSnapshot)
                line.streams.cut()
                async with asyncio.timeout(SECONDS):
                    update = await anext(updates)
                    while isinstance(update, OrderUpdate) and update.event == "accepted":
                        update = await anext(updates)  # it was answered before the broadcaster has followed so far
            assert isinstance(update, OrderUpdate)
            assert (update.event, update.order.order_id) == ("canceled", order.order_id)
        await until(lambda: stream.state == "live")
        await stream.cancel_on_disconnect(False)
        kept = await stream.place(symbol=symbol, side="buy", price=3, quantity=1)
        line.streams.cut()
        assert (await stream.cancel(kept.order_id)).reason == "requested"


async def test_a_book_is_the_exchanges_again_after_it_was_cut_off(stack: Stack, symbol: str, account: str) -> None:
    async with line_to(stack, account) as line, line.exchange.stream() as stream:
        feed = await stream.book(symbol)
        states: list[str] = []

        async def watch() -> None:
            async for book in feed:
                states.append(book.state)

        watching = asyncio.create_task(watch())
        for price in (3, 4):
            await line.exchange.place(symbol=symbol, side="buy", price=price, quantity=1)
        await until(lambda: feed.book.best_bid == (4, 1))
        line.streams.refusing = True
        line.streams.cut()
        await until(lambda: feed.book.state == "stale")
        await line.exchange.cancel_all(symbol=symbol)
        last = await line.exchange.place(symbol=symbol, side="buy", price=2, quantity=5)
        line.streams.refusing = False
        await until(lambda: feed.book.last_sequence >= last.sequence)
        assert same(feed.book, await line.exchange.depth(symbol, levels=1000))
        await until(lambda: feed.book.state in ("resynced", "live") and "stale" in states)
        assert feed.book.resyncs == 1
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await line.exchange.cancel_all(symbol=symbol)


def same(book: LocalBook, depth: object) -> bool:
    return (book.bids(), book.asks()) == (getattr(depth, "bids", None), getattr(depth, "asks", None))
