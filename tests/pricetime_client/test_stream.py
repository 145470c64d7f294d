"""The stream against a server whose every word is chosen: interruptions, gaps, silence, refusals.

What it does with a whole exchange is in test_with_an_exchange.py.
"""

import asyncio
import http
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx
import msgspec
import pytest

from pricetime_client import AsyncExchange, NoAnswer, Refusal, Stream, mailbox, stream, switchboard
from pricetime_client.asking import Conversation
from pricetime_client.calls import Calls
from pricetime_client.transport import websocket_address
from pricetime_client.views import Order, Trade
from tests.support.played_streams import (
    SECONDS,
    Played,
    answered,
    changed,
    happened,
    heartbeat,
    order,
    orders,
    playing_exchange,
    problem,
    snapshot,
    trade,
    traded,
)

T = TypeVar("T")


@pytest.fixture
async def played() -> AsyncIterator[Played]:
    async with playing_exchange() as playing:
        yield playing


@asynccontextmanager
async def opened(
    played: Played, key: str | None = None, patience: float = SECONDS, timeout: float = SECONDS
) -> AsyncIterator[Stream]:
    exchange = AsyncExchange("http://127.0.0.1:1", played.url, key, account="anna", patience=patience, timeout=timeout)
    async with exchange, exchange.stream() as found:
        yield found


def saying(found: T) -> Conversation[T]:
    """A conversation in which nothing needs to be asked."""
    yield from ()
    return found


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes back at once, and there is no history to be asked."""
    monkeypatch.setattr(switchboard, "_FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(Calls, "last_trade", lambda _: saying(None))


async def within(awaited: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(awaited, SECONDS)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


# What is heard


async def test_messages_come_as_structs_to_the_subscription_they_are_for(played: Played) -> None:
    async with opened(played) as streams:
        peer = await played.joined()
        first, second = streams.subscribe("trades", symbol="A"), streams.subscribe("trades", symbol="B")
        assert [await peer.accepts(), await peer.accepts()] == [
            {"id": 1, "channel": "trades", "symbol": "A"},
            {"id": 2, "channel": "trades", "symbol": "B"},
        ]
        await peer.says({"type": "news of a later version"}, traded(1, "B"), traded(2, "A"))
        assert str((await within(anext(first))).trade.price) == "1.50"
        assert (await within(anext(second))).trade.symbol == "B"


async def test_every_channel_is_understood(played: Played) -> None:
    ticker = {
        "symbol": "A", "sequence": 1, "best_bid": "1", "best_ask": None, "last_price": None, "last_quantity": None,
        "last_trade_at": None, "volume_24h": "0", "trades_24h": 0,
    }  # fmt: skip
    candle = {
        "symbol": "A", "interval": "1m", "open_time": "2026-01-01T00:00:00Z", "close_time": "2026-01-01T00:01:00Z",
        "open": "1", "high": "2", "low": "1", "close": "2", "volume": "3", "trades": 1, "is_complete": False,
    }  # fmt: skip
    instrument = {
        "symbol": "A", "tick_size": "1", "lot_size": "1", "min_quantity": "1", "max_quantity": "2", "status": "halted",
        "lowest_price": None, "highest_price": None, "band_basis_points": None,
    }  # fmt: skip
    async with opened(played) as streams:
        peer = await played.joined()
        tickers = streams.subscribe("ticker", symbol="A")
        candles = streams.subscribe("candles", symbol="A", interval="1m")
        statuses = streams.subscribe("status")
        books = streams.subscribe("book", symbol="A")
        for _ in range(4):
            await peer.accepts()
        said = {"type": "update", "symbol": "A", "sequence": 1}
        await peer.says(
            {**said, "channel": "ticker", "ticker": ticker},
            {**said, "channel": "candles", "interval": "5m", "candle": candle},
            {**said, "channel": "candles", "interval": "1m", "candle": candle},
            {**said, "channel": "status", "instrument": instrument},
            snapshot(1, ("1", "2")),
        )
        assert (await within(anext(tickers))).ticker.best_bid == 1
        assert (await within(anext(candles))).candle.high == 2
        assert (await within(anext(statuses))).instrument.status == "halted"
        assert (await within(anext(books))).bids == [(1, 2)]


async def test_one_can_wait_until_it_is_live(played: Played) -> None:
    async with opened(played) as streams:
        peer = await played.joined()
        subscription = streams.subscribe("trades")
        waiting = asyncio.ensure_future(within(subscription))
        asked = await peer.hears()
        assert not subscription.is_live
        assert not waiting.done()
        await peer.says({"type": "subscribed", "id": asked["id"], "sequence": 0, "subscription": {}})
        assert await waiting is subscription
        assert subscription.is_live


# Coming back


async def test_trades_go_on_after_the_last_one(played: Played) -> None:
    async with opened(played) as streams:
        peer = await played.joined()
        trades = streams.subscribe("trades", symbol="A", after=5)
        assert (await peer.accepts())["after"] == 5
        await peer.says(traded(8), heartbeat(900))
        await within(anext(trades))
        await peer.hangs_up()
        assert (await (await played.joined()).accepts())["after"] == 8


@pytest.mark.parametrize("last", [0, 41])
async def test_trades_go_on_from_where_they_began_before_there_was_one(
    last: int, played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Calls, "last_trade", lambda _: saying(last))
    async with opened(played) as streams:
        peer = await played.joined()
        trades = streams.subscribe("trades")
        assert (await peer.accepts())["after"] == last
        last = 99
        await peer.hangs_up()
        peer = await played.joined()
        assert (await peer.accepts())["after"] in (0, 41)
        await within(trades)


async def test_orders_go_on_after_the_last_update_or_the_last_heartbeat(played: Played) -> None:
    async with opened(played) as streams:
        peer = await played.joined()
        updates = streams.subscribe("orders", account="anna")
        assert await peer.accepts() == {"id": 1, "channel": "orders", "account": "anna"}
        await peer.says(orders(40, more=True), heartbeat(41), orders(40), happened(42, 0), happened(42, 1))
        for _ in range(4):
            await within(anext(updates))
        await peer.hangs_up()

        peer = await played.joined()
        assert await peer.accepts() == {"id": 1, "channel": "orders", "account": "anna", "after": 42, "after_index": 1}
        await peer.says(heartbeat(50), happened(51, 0), heartbeat(51), heartbeat(50))
        await within(anext(updates))
        await peer.hangs_up()
        assert await (await played.joined()).accepts() == {"id": 1, "channel": "orders", "account": "anna", "after": 51}


async def test_half_a_snapshot_is_no_position(played: Played) -> None:
    async with opened(played) as streams:
        peer = await played.joined()
        updates = streams.subscribe("orders")
        await peer.accepts()
        await peer.says(orders(40, more=True), heartbeat(41))
        await within(anext(updates))
        await peer.hangs_up()
        assert await (await played.joined()).accepts() == {"id": 1, "channel": "orders"}


async def test_a_book_begins_anew_and_says_so(played: Played) -> None:
    async with opened(played) as streams:
        peer = await played.joined()
        feed = streams.book("A")
        assert feed.book.state == "stale"
        await peer.accepts()
        await peer.says(snapshot(5, ("9", "1")), changed(6, ("8", "1")))
        await until(lambda: feed.book.last_sequence == 6)
        assert feed.book.state == "live"
        await peer.hangs_up()
        peer = await played.joined()
        assert not feed.book.is_live
        await peer.says(changed(7, ("7", "1")))
        await peer.accepts()
        await peer.says(snapshot(9, ("6", "1")))
        await until(lambda: feed.book.last_sequence == 9)
        assert (feed.book.state, feed.book.resyncs, feed.book.best_bid) == ("resynced", 1, (6, 1))
        await peer.says(changed(10, ("6", "2")))
        await until(lambda: feed.book.state == "live")


async def test_whoever_follows_a_book_is_told_that_it_is_stale(played: Played) -> None:
    async with opened(played) as streams:
        peer = await played.joined()
        feed = streams.book("A")
        await peer.accepts()
        await peer.says(snapshot(5))
        assert (await within(anext(feed))).state == "live"
        await peer.hangs_up()
        assert (await within(anext(feed))).state == "stale"


@pytest.mark.parametrize("as_feed", [True, False])
async def test_a_gap_within_a_book_is_noticed_and_mended(as_feed: bool, played: Played) -> None:
    async with opened(played) as streams:
        peer = await played.joined()
        feed = streams.book("A") if as_feed else streams.subscribe("book", symbol="A")
        await peer.accepts()
        await peer.says(snapshot(5), changed(7), changed(8))
        assert await peer.hears() == {"op": "unsubscribe", "channel": "book", "symbol": "A"}
        await peer.says(changed(9))
        await peer.accepts()
        await peer.says(snapshot(10, ("1", "1")), changed(11, ("2", "1")))
        other = streams.book("B")
        assert (await peer.accepts())["symbol"] == "B"  # once was enough
        await within(other)
        if as_feed:
            await until(lambda: feed.book.last_sequence == 11)  # type: ignore[union-attr]
            assert feed.book.bids() == [(2, 1), (1, 1)]  # type: ignore[union-attr]
        else:
            sequences = [(await within(anext(feed))).last_sequence for _ in range(3)]  # type: ignore[union-attr]
            assert sequences == [5, 10, 11]


async def test_trades_that_are_no_longer_at_hand_are_read_from_the_history(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str | None, int]] = []

    def history(_: Calls, symbol: str | None, sequence: int) -> Conversation[list[Trade]]:
        asked.append((symbol, sequence))
        return saying([msgspec.convert(trade(each), Trade) for each in (6, 7)])

    monkeypatch.setattr(Calls, "trades_after", history)
    async with opened(played) as streams:
        peer = await played.joined()
        trades = streams.subscribe("trades", symbol="A", after=5)
        request = await peer.hears()
        await peer.says(problem("gap", 410, id=request["id"]))
        assert (await peer.accepts())["after"] == 7
        await peer.says(traded(8))
        assert [(await within(anext(trades))).trade.sequence for _ in range(3)] == [6, 7, 8]
    assert asked == [("A", 5)]


@pytest.mark.parametrize(("channel", "code"), [("orders", "gap"), ("orders", "ahead"), ("trades", "ahead")])
async def test_what_cannot_go_on_begins_anew(channel: Any, code: str, played: Played) -> None:
    async with opened(played) as streams:
        peer = await played.joined()
        streams_of = (
            streams.subscribe(channel, after=5, after_index=1)
            if channel == "orders"
            else streams.subscribe(channel, after=5)
        )
        request = await peer.hears()
        await peer.says(problem(code, 410, id=request["id"]))
        assert await peer.accepts() == {"id": 1, "channel": channel}
        await within(streams_of)


async def test_it_comes_back_to_an_exchange_that_is_full_or_not_there_yet(played: Played) -> None:
    played.refusals = [(http.HTTPStatus.SERVICE_UNAVAILABLE, {}), (http.HTTPStatus.BAD_GATEWAY, {})]
    async with opened(played):
        await played.joined()
    assert played.refusals == []


async def test_a_subscription_that_came_at_a_bad_moment_is_asked_for_again(played: Played) -> None:
    async with opened(played) as streams:
        peer = await played.joined()
        subscription = streams.subscribe("ticker")
        request = await peer.hears()
        await peer.says(problem("too_many_requests", 429, id=request["id"]))
        await peer.accepts()
        await within(subscription)


async def test_a_subscription_that_was_asked_for_twice_is_one(played: Played) -> None:
    async with opened(played) as streams:
        peer = await played.joined()
        subscription = streams.subscribe("ticker")
        request = await peer.hears()
        await peer.says(problem("already_subscribed", 409, id=request["id"]))
        await within(subscription)


async def test_who_could_not_keep_up_goes_on_where_it_was(played: Played) -> None:
    async with opened(played) as streams:
        peer = await played.joined()
        streams_of = streams.subscribe("trades", after=3)
        await peer.accepts()
        await peer.says({"type": "going_away", "reconnect_after_ms": 1, "sequence": 9}, problem("slow_consumer", 429))
        await peer.hangs_up()
        assert (await (await played.joined()).accepts())["after"] == 3
        await within(streams_of)


# Orders


def placing(streams: Stream, **fields: Any) -> asyncio.Task[Order]:
    return asyncio.create_task(streams.place(symbol="A", side="buy", price="1.00", quantity=2, **fields))


async def test_an_order_is_said_and_answered_while_messages_come(played: Played) -> None:
    async with opened(played) as streams:
        peer = await played.joined()
        trades = streams.subscribe("trades", after=0)
        await peer.accepts()
        first, second = placing(streams, client_order_id="one"), placing(streams, account="ben", client_order_id="two")
        asked = [await peer.hears() for _ in range(2)]
        assert asked[0] == {
            "id": 2, "op": "place", "client_order_id": "one", "account": "anna", "symbol": "A", "side": "buy",
            "price": "1.00", "quantity": 2,
        }  # fmt: skip
        assert asked[1]["account"] == "ben"
        await peer.says(
            answered(asked[1], "placed", order=order(12)), traded(1), answered(asked[0], "placed", order=order(11))
        )
        assert [(await within(first)).order_id, (await within(second)).order_id] == [11, 12]
        assert (await within(anext(trades))).trade.sequence == 1


async def test_an_order_without_a_name_is_given_one_that_stays(played: Played) -> None:
    async with opened(played) as streams:
        peer = await played.joined()
        wanted = placing(streams)
        first = await peer.hears()
        await peer.hangs_up()
        peer = await played.joined()
        again = await peer.hears()
        assert len(first["client_order_id"]) == 24
        assert again.pop("id") > first.pop("id")
        assert again == first
        await peer.says(answered({"id": 2}, "placed", order=order(11)))
        assert (await within(wanted)).order_id == 11


async def test_what_is_not_answered_is_said_again_and_late_answers_are_passed_over(played: Played) -> None:
    async with opened(played, timeout=0.05) as streams:
        peer = await played.joined()
        wanted = asyncio.create_task(streams.cancel("mine"))
        first, second = await peer.hears(), await peer.hears()
        assert (first["op"], first["client_order_id"], first["account"]) == ("cancel", "mine", "anna")
        assert second["id"] > first["id"]
        await peer.says(answered(first, "canceled", order=order(10)))
        while not wanted.done():
            await peer.says(answered(second, "canceled", order=order(11)))
            hears = asyncio.create_task(peer.hears())
            await asyncio.wait((wanted, hears), return_when=asyncio.FIRST_COMPLETED)
            if hears.done():
                second = await hears
            hears.cancel()
            await asyncio.gather(hears, return_exceptions=True)
        assert (await wanted).order_id == 11


async def test_what_was_refused_for_now_is_said_again_when_it_was_asked_to(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("pricetime_client.async_exchange.spread", lambda pause: pauses.append(pause.seconds) or 0.0)
    async with opened(played) as streams:
        peer = await played.joined()
        wanted = placing(streams)
        later = problem("overloaded", 503)
        later["problem"]["retry_after"] = 3
        await peer.says({**later, "id": (await peer.hears())["id"]})
        await peer.says(answered(await peer.hears(), "placed", order=order(11)))
        assert (await within(wanted)).order_id == 11
    assert pauses == [3.0]


async def test_a_refused_order_is_a_refusal(played: Played) -> None:
    async with opened(played) as streams:
        peer = await played.joined()
        wanted = placing(streams)
        await peer.says(problem("off_tick", 422, id=(await peer.hears())["id"]))
        with pytest.raises(Refusal, match="off_tick: No") as refused:
            await within(wanted)
        assert refused.value.status == 422


async def test_what_was_told_over_websocket_is_shown_by_rest(played: Played) -> None:
    sequences: list[str | None] = []

    def rest(request: httpx.Request) -> httpx.Response:
        sequences.append(request.headers.get("Journal-Sequence"))
        return httpx.Response(200, json=order(11))

    exchange = AsyncExchange("http://127.0.0.1:1", played.url, transport=httpx.MockTransport(rest))
    async with exchange, exchange.stream() as streams:
        peer = await played.joined()
        wanted = placing(streams)
        await peer.says(answered(await peer.hears(), "placed", order=order(11)))
        await within(wanted)
        await exchange.order(11)
    assert sequences == ["7"]


async def test_a_cancelation_whose_answer_was_lost_is_looked_up(played: Played) -> None:
    """Only REST can tell what has become of it."""
    gone = {**order(11), "status": "canceled"}
    rest = httpx.MockTransport(lambda request: httpx.Response(200, json={**gone, "reason": request.url.path}))
    exchange = AsyncExchange("http://127.0.0.1:1", played.url, transport=rest)
    async with exchange, exchange.stream() as streams:
        peer = await played.joined()
        wanted = asyncio.create_task(streams.cancel(11))
        await peer.hears()
        await peer.hangs_up()
        peer = await played.joined()
        refused = problem("order_not_resting", 409, id=(await peer.hears())["id"])
        refused["problem"].update(order_id=11, order_status="canceled")
        await peer.says(refused)
        assert (await within(wanted)).reason == "/orders/11"


async def test_an_order_that_is_out_when_the_stream_ends_is_unknown(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("pricetime_client.async_exchange.spread", lambda pause: pauses.append(pause.seconds) or 0.0)
    async with opened(played) as streams:
        peer = await played.joined()
        wanted = placing(streams, client_order_id="mine")
        await peer.hears()
        await peer.says(problem("key_ended", 401))
        with pytest.raises(NoAnswer, match="place over WebSocket, which may have been carried out") as ended:
            await within(wanted)
        assert (ended.value.unknown, ended.value.client_order_id) == (True, "mine")
        with pytest.raises(NoAnswer, match="key_ended") as ended:
            await within(placing(streams))
        assert not ended.value.unknown
    assert len(pauses) == 1  # before it was found that there is no use


async def test_orders_go_with_every_connection_once_that_was_wanted(played: Played) -> None:
    async with opened(played) as streams:
        peer = await played.joined()
        wanted = asyncio.create_task(streams.cancel_on_disconnect())
        asked = await peer.hears()
        assert asked == {"id": 1, "op": "cancel_on_disconnect", "enabled": True}
        await peer.says({"id": 1, "type": "cancel_on_disconnect", "enabled": True})
        await within(wanted)
        trades = streams.subscribe("trades", after=0)
        await peer.accepts()
        await peer.hangs_up()
        peer = await played.joined()
        assert await peer.hears() == {"id": 0, "op": "cancel_on_disconnect", "enabled": True}
        await peer.accepts()
        await peer.says(problem("internal_error", 500, id=0))  # so that connection is not to be relied on
        peer = await played.joined()
        assert (await peer.hears())["id"] == 0
        await peer.accepts()
        await peer.says(problem("forbidden", 403, id=0))
        with pytest.raises(Refusal, match="forbidden"):
            await within(anext(trades))


async def test_who_may_not_have_orders_go_is_told(played: Played) -> None:
    async with opened(played) as streams:
        peer = await played.joined()
        wanted = asyncio.create_task(streams.cancel_on_disconnect())
        await peer.says(problem("forbidden", 403, id=(await peer.hears())["id"]))
        with pytest.raises(Refusal, match="forbidden"):
            await within(wanted)
        trades = streams.subscribe("trades", after=0)
        await peer.accepts()
        await peer.hangs_up()
        assert (await (await played.joined()).accepts())["channel"] == "trades"
        await within(trades)


async def test_the_pause_that_was_asked_for_is_made(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switchboard, "_FIRST_PAUSE_SECONDS", 1000.0)
    async with opened(played) as streams:
        peer = await played.joined()
        held = streams.subscribe("trades", after=0)
        await peer.accepts()
        await peer.says(heartbeat(1), {"type": "going_away", "reconnect_after_ms": 1, "sequence": 9}, heartbeat(2))
        await peer.hangs_up()
        await (await played.joined()).accepts()
        await within(held)


# Silence


async def test_silence_makes_it_stale_and_a_word_live_again(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "STALE_SECONDS", 0.02)
    async with opened(played) as streams:
        peer = await played.joined()
        feed = streams.book("A")
        await peer.accepts()
        await peer.says(snapshot(5))
        await until(lambda: feed.book.last_sequence == 5)
        await until(lambda: (streams.state, feed.book.state) == ("stale", "stale"))
        monkeypatch.setattr(stream, "STALE_SECONDS", 10.0)
        await peer.says(heartbeat(5))
        await until(lambda: (streams.state, feed.book.state) == ("live", "live"))
        assert feed.book.resyncs == 0


async def test_a_connection_that_stays_silent_is_given_up(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "STALE_SECONDS", 0.02)
    monkeypatch.setattr(stream, "DEAD_SECONDS", 0.04)
    async with opened(played):
        await played.joined()
        await played.joined()


# The end


async def test_a_subscription_that_is_refused_ends_alone(played: Played) -> None:
    async with opened(played) as streams:
        peer = await played.joined()
        book, trades = streams.book("NONE"), streams.subscribe("trades")
        asked = await peer.hears()
        await peer.accepts()
        await peer.says(problem("unknown_symbol", 422, id=asked["id"]), traded(1))
        with pytest.raises(Refusal, match="unknown_symbol"):
            await within(book)
        with pytest.raises(Refusal, match="unknown_symbol"):
            await within(anext(book))
        assert (await within(anext(trades))).trade.sequence == 1


@pytest.mark.parametrize("status", [http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN])
async def test_a_key_that_is_not_good_is_a_refusal(status: http.HTTPStatus, played: Played) -> None:
    body = {"status": int(status), "code": "unauthorized", "detail": "No such key."}
    played.refusals = [(status, body)] * 2
    with pytest.raises(Refusal, match="unauthorized: No such key"):
        async with opened(played, key="pt_a_b"):
            raise AssertionError("it was let in")
    assert played.headers[0]["Authorization"] == "Bearer pt_a_b"


async def test_a_key_that_ends_ends_every_subscription(played: Played) -> None:
    async with opened(played) as streams:
        peer = await played.joined()
        trades, feed = streams.subscribe("trades"), streams.book("A")
        await peer.accepts()
        await peer.accepts()
        await peer.says(problem("key_ended", 401))
        for each in (trades, feed):
            with pytest.raises(Refusal, match="key_ended"):
                await within(anext(each))
        late = streams.subscribe("ticker")
        with pytest.raises(Refusal, match="key_ended"):
            await within(late)
        assert (streams.state, feed.book.is_live) == ("offline", False)


async def test_what_cannot_be_reached_is_told_after_a_while(played: Played) -> None:
    played.server.close()
    await played.server.wait_closed()
    exchange = AsyncExchange("http://127.0.0.1:1", "ws://127.0.0.1:1/ws", patience=0.05)
    with pytest.raises(NoAnswer, match="cannot be reached"):
        async with exchange, exchange.stream():
            raise AssertionError("it was let in")


async def test_the_end_of_a_stream_is_the_end_of_its_loops(played: Played) -> None:
    async with opened(played) as streams:
        await played.joined()
        trades, feed = streams.subscribe("trades"), streams.book("A")
    assert [each async for each in trades] == []
    assert [each async for each in feed] == []


async def test_a_closed_subscription_is_unsubscribed_and_can_be_made_again(played: Played) -> None:
    async with opened(played) as streams:
        peer = await played.joined()
        trades = streams.subscribe("trades", symbol="A")
        await peer.accepts()
        await trades.close()
        assert await peer.hears() == {"op": "unsubscribe", "channel": "trades", "symbol": "A"}
        again = streams.subscribe("trades", symbol="A")
        await peer.accepts()
        await within(again)


async def test_a_subscription_that_nobody_holds_is_unsubscribed(played: Played) -> None:
    async with opened(played) as streams:
        peer = await played.joined()
        held = streams.subscribe("trades", symbol="A")
        await peer.accepts()
        del held
        await peer.says(traded(1), heartbeat(1))
        assert await peer.hears() == {"op": "unsubscribe", "channel": "trades", "symbol": "A"}


async def test_one_that_nobody_held_in_time_is_not_asked_for(played: Played) -> None:
    async with opened(played) as streams:
        peer = await played.joined()
        streams.subscribe("trades", symbol="A")
        again = streams.subscribe("trades", symbol="A")
        assert (await peer.accepts())["id"] == 2
        await within(again)


async def test_one_that_nobody_holds_can_be_made_again_at_once(played: Played) -> None:
    async with opened(played) as streams:
        peer = await played.joined()
        held = streams.subscribe("trades", symbol="A")
        await peer.accepts()
        del held
        again = streams.subscribe("trades", symbol="A")
        assert await peer.hears() == {"op": "unsubscribe", "channel": "trades", "symbol": "A"}
        await peer.accepts()
        await within(again)


async def test_what_could_not_be_told_apart_is_another_stream(played: Played) -> None:
    async with opened(played) as streams:
        held = [streams.subscribe("trades"), streams.book("A"), streams.subscribe("orders", account="a")]
        for channel, fields in (("trades", {"symbol": "A"}), ("book", {"symbol": "A"}), ("orders", {})):
            with pytest.raises(ValueError, match="another stream"):
                streams.subscribe(channel, **fields)  # type: ignore[call-overload]
        held += [streams.book("A", levels=5), streams.subscribe("orders", account="b")]
        assert len(held) == 5


async def test_a_stream_must_be_open(played: Played) -> None:
    async with AsyncExchange("http://127.0.0.1:1", played.url) as exchange:
        with pytest.raises(RuntimeError, match="async with"):
            exchange.stream().subscribe("trades")


async def test_who_reads_slowly_misses_nothing_and_holds_up_nobody(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox, "ROOM", 4)
    async with opened(played) as streams:
        peer = await played.joined()
        trades, feed = streams.subscribe("trades", after=0), streams.book("A")
        await peer.accepts()
        await peer.accepts()
        await peer.says(*(traded(each) for each in range(1, 7)), snapshot(1))  # 5 and 6 were sent already
        assert await peer.hears() == {"op": "unsubscribe", "channel": "trades"}
        await until(lambda: feed.book.is_live)
        assert not trades.is_live

        assert [(await within(anext(trades))).trade.sequence for _ in range(2)] == [1, 2]
        asked = await peer.hears()
        assert asked == {"id": 1, "op": "subscribe", "channel": "trades", "after": 4}
        await peer.says(traded(7), {"type": "subscribed", "id": 1, "sequence": 0}, *(traded(each) for each in (5, 6)))
        assert [(await within(anext(trades))).trade.sequence for _ in range(4)] == [3, 4, 5, 6]
        assert trades.is_live


async def test_one_that_reads_slowly_begins_again_alone_when_the_connection_comes_back(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox, "ROOM", 2)
    async with opened(played) as streams:
        peer = await played.joined()
        trades, feed = streams.subscribe("trades", after=0), streams.book("A")
        await peer.accepts()
        await peer.accepts()
        await peer.says(traded(1), traded(2))
        await peer.hears()
        await peer.hangs_up()
        peer = await played.joined()
        assert (await peer.accepts())["channel"] == "book"
        await within(feed)
        await within(anext(trades))
        assert (await peer.accepts())["after"] == 2


async def test_one_that_is_closed_while_it_is_full_is_gone(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "ROOM", 2)
    async with opened(played) as streams:
        peer = await played.joined()
        trades = streams.subscribe("trades", after=0)
        await peer.accepts()
        await peer.says(traded(1), traded(2))
        assert (await peer.hears())["op"] == "unsubscribe"
        await trades.close()
        again = streams.subscribe("trades", after=2)
        assert (await peer.accepts())["id"] == 2
        await within(again)


@pytest.mark.parametrize(
    ("told", "rest", "address"),
    [
        ("", "http://127.0.0.1:8000", "ws://127.0.0.1:8001/ws"),
        ("", "https://[::1]:8000", "wss://[::1]:8001/ws"),
        ("ws://a:9/ws", "http://b:8000", "ws://a:9/ws"),
        ("ws://a:9", "http://b:8000", "ws://a:9/ws"),
        ("https://a/streams/", "http://b:8000", "wss://a/streams"),
        ("/ws", "https://b", "wss://b/ws"),
        ("/api/ws", "http://b:8000", "ws://b:8000/api/ws"),
    ],
)
def test_where_the_streams_are(told: str, rest: str, address: str) -> None:
    assert websocket_address(told, rest) == address
