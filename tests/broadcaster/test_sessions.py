"""/ws as its clients meet it: a real matcher and broadcaster, every frame held against the AsyncAPI document."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
import websockets

from contracts.messages import DefineInstrument, InstrumentStatus, SetInstrumentStatus
from tests.support.streams import StreamClient, StreamExchange, check_frame, stream_exchange

pytestmark = pytest.mark.stack

SYMBOLS = (f"S-{number}" for number in range(10_000))


@pytest.fixture(scope="module")
def exchange() -> Iterator[StreamExchange]:
    """Tests use symbols and accounts of their own."""
    with stream_exchange(ws_subscriptions=12, max_body_bytes=50_000) as started:
        yield started


@pytest.fixture
async def symbol(exchange: StreamExchange) -> str:
    """A new one, of which nothing is known yet."""
    await exchange.until_served()
    name = next(SYMBOLS)
    await exchange.list(name)
    return name


async def place(client: StreamClient, symbol: str, side: str, price: str, quantity: str = "1", **fields: Any) -> Any:
    answer = await client.request("place", symbol=symbol, side=side, price=price, quantity=quantity, **fields)
    assert answer["type"] == "placed", answer
    return answer


# Market data


async def test_the_book_by_differences(exchange: StreamExchange, symbol: str) -> None:
    async with exchange.client() as client:
        first = await place(client, symbol, "buy", "99.00")
        snapshot = await client.subscribe("book", symbol=symbol)
        assert (snapshot["type"], snapshot["bids"], snapshot["asks"]) == ("snapshot", [["99.00", "1.000"]], [])
        assert snapshot["last_sequence"] == first["sequence"]
        second = await place(client, symbol, "sell", "99.00", "3")
        change = await client.data("book")
        assert change["first_sequence"] == snapshot["last_sequence"] + 1
        assert change["last_sequence"] == second["sequence"]
        assert (change["bids"], change["asks"]) == ([["99.00", "0"]], [["99.00", "2.000"]])


async def test_levels_beyond_those_asked_for_are_left_out(exchange: StreamExchange, symbol: str) -> None:
    async with exchange.client() as client:
        for price in ("1.00", "2.00", "3.00"):
            await place(client, symbol, "buy", price)
        snapshot = await client.subscribe("book", symbol=symbol, levels=2)
        assert [price for price, _ in snapshot["bids"]] == ["3.00", "2.00"]
        await place(client, symbol, "buy", "1.50")
        await place(client, symbol, "buy", "2.50")
        change = await client.data("book")
        assert change["bids"] == [["2.50", "1.000"], ["2.00", "0"]]


async def test_trades_and_going_on_after_one(exchange: StreamExchange, symbol: str) -> None:
    async with exchange.client() as client:
        await client.request("subscribe", channel="trades", symbol=symbol)
        await place(client, symbol, "buy", "5.00", "3")
        for _ in range(3):
            await place(client, symbol, "sell", "5.00", "1")
        trades = [(await client.data("trades"))["trade"] for _ in range(3)]
        assert [trade["price"] for trade in trades] == ["5.00"] * 3
    async with exchange.client() as client:
        again = await client.subscribe("trades", symbol=symbol, after=trades[0]["sequence"])
        assert [again["trade"], (await client.data("trades"))["trade"]] == trades[1:]
        problem = await client.refused("subscribe", channel="trades", after=10**9)
        assert (problem["code"], problem["field"]) == ("ahead", "after")


async def test_the_ticker_and_the_candles(exchange: StreamExchange, symbol: str) -> None:
    async with exchange.client() as client:
        first = await client.subscribe("ticker", symbol=symbol)
        assert first["ticker"]["best_bid"] is None
        await client.request("subscribe", channel="candles", symbol=symbol, interval="1m")
        await client.request("subscribe", channel="candles", symbol=symbol, interval="1s")
        await place(client, symbol, "buy", "5.00", "3")
        await place(client, symbol, "sell", "5.00", "1")
        while (ticker := (await client.data("ticker"))["ticker"])["last_price"] is None:
            pass
        assert (ticker["last_price"], ticker["best_bid"], ticker["trades_24h"]) == ("5.00", "5.00", 1)
        candles: dict[str, Any] = {}
        while not candles.get("1s", {}).get("is_complete"):
            message = await client.data("candles")
            candles[message["interval"]] = message["candle"]
        assert {name: candle["volume"] for name, candle in candles.items()} == {"1s": "1.000", "1m": "1.000"}


async def test_the_status_of_instruments(exchange: StreamExchange, symbol: str) -> None:
    async with exchange.client() as client:
        first = await client.subscribe("status", symbol=symbol)
        assert first["instrument"]["status"] == "trading"
        await exchange.command(
            SetInstrumentStatus(symbol, InstrumentStatus.POST_ONLY),
            DefineInstrument(symbol, "0.01", "0.001", 1, 5_000, highest_price=900),
        )
        while (changed := (await client.data("status"))["instrument"])["highest_price"] is None:
            pass
        assert (changed["status"], changed["max_quantity"], changed["highest_price"]) == ("post_only", "5.000", "9.00")
    async with exchange.client() as client:
        await client.request("subscribe", channel="status")
        other = next(SYMBOLS)
        await exchange.list(other)
        while (await client.data("status"))["symbol"] != other:
            pass


# Orders


async def test_every_change_of_ones_own_orders(exchange: StreamExchange, symbol: str) -> None:
    me = f"me-{symbol}"
    async with exchange.client() as client:
        resting = (await place(client, symbol, "buy", "5.00", "3", account=me))["order"]
        snapshot = await client.subscribe("orders", account=me)
        assert (snapshot["type"], snapshot["accounts"], snapshot["more"]) == ("snapshot", [me], False)
        assert [order["order_id"] for order in snapshot["orders"]] == [resting["order_id"]]
        assert snapshot["orders"][0] == {key: resting[key] for key in resting if key != "trades"}
        sold = await place(client, symbol, "sell", "5.00", "1", account="somebody-else")
        await client.request("amend", order_id=resting["order_id"], quantity="2")
        await client.request("cancel", order_id=resting["order_id"])
        updates = [await client.data("orders") for _ in range(3)]
        assert [update["event"] for update in updates] == ["trade", "amended", "canceled"]
        assert updates[0]["trade"] == sold["order"]["trades"][0]
        assert [update["order"]["filled_quantity"] for update in updates] == ["1.000"] * 3
        assert updates[1]["priority_kept"] is True
        assert (updates[2]["order"]["status"], updates[2]["order"]["reason"]) == ("canceled", "requested")
        assert [update["order"]["sequence"] for update in updates] == [update["sequence"] for update in updates]


async def test_going_on_after_the_last_update(exchange: StreamExchange, symbol: str) -> None:
    me = f"me-{symbol}"
    async with exchange.client() as client:
        await client.subscribe("orders", account=me)
        for _ in range(3):
            await place(client, symbol, "buy", "5.00", account=me)
        await place(client, symbol, "sell", "5.00", "3", account=me)
        updates = [await client.data("orders") for _ in range(10)]
    at = 5  # in the middle of the commit with the trades
    async with exchange.client() as client:
        after = {"after": updates[at]["sequence"], "after_index": updates[at]["index"]}
        again = [await client.subscribe("orders", account=me, **after)]
        again += [await client.data("orders") for _ in range(len(updates) - at - 2)]
        assert again == updates[at + 1 :]
        await client.request("unsubscribe", channel="orders", account=me)
        problem = await client.refused("subscribe", channel="orders", account=me, after=10**9)
        assert problem["code"] == "ahead"


async def test_the_rest_of_the_rules_reach_the_private_stream(exchange: StreamExchange, symbol: str) -> None:
    """Stops that are triggered, orders that expire, quantities that self-trade prevention takes."""
    me = f"me-{symbol}"
    soon = "2026-01-01T00:00:00Z"
    async with exchange.client() as client:
        await client.subscribe("orders", account=me)
        mine = {"account": me, "self_trade_prevention": "decrement"}
        await place(client, symbol, "buy", "5.00", "2", **mine)
        stop = await client.request(
            "place", symbol=symbol, side="buy", type="stop", stop_price="6.00", quantity="1", account=me
        )
        assert stop["order"]["status"] == "open"
        await place(client, symbol, "sell", "5.00", "1", **mine)
        await place(client, symbol, "sell", "6.00", "2", account="maker")
        await place(client, symbol, "buy", "6.00", "1", account="taker")
        refused = await client.refused(
            "place", symbol=symbol, side="buy", price="1", quantity="1", time_in_force="GTD", expires_at=soon
        )
        assert refused["code"] == "expiry_in_the_past"
        events = []
        while "triggered" not in events:
            events.append((await client.data("orders"))["event"])
        assert events == ["accepted", "accepted", "accepted", "reduced", "canceled", "triggered"]
        assert (await client.data("orders"))["event"] == "trade"


# Order entry


async def test_a_batch(exchange: StreamExchange, symbol: str) -> None:
    async with exchange.client() as client:
        order = {"symbol": symbol, "side": "buy", "price": 2.5, "quantity": "1"}
        done = await client.request("batch", items=[{"place": order}, {"cancel": {"order_id": 10**9}}])
        assert [item["status"] for item in done["items"]] == [201, 404]
        kept = done["items"][0]["order"]["order_id"]
        items = [{"cancel": {"order_id": kept}}, {"place": order | {"price": "2.555"}}]
        problem = await client.refused("batch", items=items, all_or_nothing=True)
        assert (problem["code"], problem["item"]) == ("off_tick", 1)
        items[1] = {"place": order}
        done = await client.request("batch", items=items, all_or_nothing=True)
        assert [item["status"] for item in done["items"]] == [200, 201]
        gone = await client.request("cancel_all", symbol=symbol)
        assert (gone["type"], gone["canceled"]) == ("canceled_all", 1)


async def test_by_client_order_id(exchange: StreamExchange, symbol: str) -> None:
    async with exchange.client() as client:
        await client.subscribe("orders", account="namer")
        first = await place(client, symbol, "buy", "5.00", client_order_id=symbol, account="namer")
        again = await place(client, symbol, "buy", "5.00", client_order_id=symbol, account="namer")
        assert (first["replayed"], again["replayed"]) == (False, True)
        assert again["order"] == first["order"]
        other = await client.refused(
            "place", symbol=symbol, side="buy", price="6.00", quantity="1", client_order_id=symbol, account="namer"
        )
        assert (other["code"], other["order_id"]) == ("duplicate_client_order_id", first["order"]["order_id"])
        await client.data("orders")
        amended = await client.request("amend", client_order_id=symbol, account="namer", price="4.00")
        assert amended["order"]["price"] == "4.00"
        canceled = await client.request("cancel", client_order_id=symbol, account="namer")
        assert canceled["order"]["status"] == "canceled"
        closed = await client.refused("cancel", client_order_id=symbol, account="namer")
        assert (closed["code"], closed["order_status"]) == ("order_not_resting", "canceled")
        unknown = await client.refused("cancel", client_order_id="never-heard-of", account="namer")
        assert unknown["status"] == 404


async def test_many_requests_on_their_way_at_once(exchange: StreamExchange, symbol: str) -> None:
    async with exchange.client() as client:
        ids = [await client.send("place", symbol=symbol, side="buy", price="5.00", quantity="1") for _ in range(300)]
        answers = [await client.answer(number) for number in ids]
        assert len({answer["order"]["order_id"] for answer in answers}) == 300
        assert [answer["id"] for answer in answers] == ids


async def test_prices_are_never_floats(exchange: StreamExchange, symbol: str) -> None:
    async with exchange.client() as client:
        await client.socket.send(
            f'{{"id":77,"op":"place","symbol":"{symbol}","side":"buy","price":100.10,"quantity":0.1e1}}'
        )
        answer = await client.answer(77)
        assert (answer["order"]["price"], answer["order"]["quantity"]) == ("100.10", "1.000")


async def test_the_dead_mans_switch(exchange: StreamExchange, symbol: str) -> None:
    me = f"me-{symbol}"
    async with exchange.client() as client:
        await client.subscribe("orders", account=me)
        await place(client, symbol, "buy", "5.00", account=me)
        armed = await client.request("cancel_all_after", account=me, seconds="0.3")
        assert armed["deadline"].endswith("Z")
        events = [await client.data("orders") for _ in range(2)]
        assert events[1]["order"]["reason"] == "dead_mans_switch"
        disarmed = await client.request("cancel_all_after", account=me, seconds=0)
        assert disarmed["deadline"] is None


# Connections that end


async def until_canceled(client: StreamClient, count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        update = await client.data("orders")
        if update["event"] == "canceled":
            found.append(update["order"]["order_id"])
    return sorted(found)


@pytest.mark.parametrize("how", ["closed", "cut"])
async def test_orders_of_a_client_that_has_gone_are_canceled_if_it_said_so(
    exchange: StreamExchange, symbol: str, how: str
) -> None:
    me = f"{how}-{symbol}"
    async with exchange.client() as watcher:
        await watcher.subscribe("orders", account=me)
        async with exchange.client() as other, exchange.client() as client:
            kept = await place(other, symbol, "buy", "4.00", account=me)
            await place(client, symbol, "buy", "5.00", account=me)
            answer = await client.request("cancel_on_disconnect", enabled=True)
            assert answer["enabled"] is True
            batch = [{"place": {"symbol": symbol, "side": "buy", "price": "3", "quantity": "1", "account": me}}] * 3
            await client.request("batch", items=batch)
            late = [
                await client.send("place", symbol=symbol, side="buy", price="2", quantity="1", account=me)
                for _ in range(20)
            ]
            if how == "cut":
                client.socket.transport.abort()
            else:
                await client.socket.close()
            canceled = await until_canceled(watcher, 4)
            placed = {each["order"]["order_id"] for each in watcher.seen if each.get("event") == "accepted"}
            assert kept["order"]["order_id"] not in canceled
            assert set(canceled) < placed
            assert len(late) == 20
        async with exchange.client() as client:
            await asyncio.sleep(0)
            while len(left := (await orders_of(client, me))) > 1:
                await client.request("unsubscribe", channel="orders", account=me)
            assert left == [kept["order"]["order_id"]]


async def orders_of(client: StreamClient, account: str) -> list[int]:
    snapshot = await client.subscribe("orders", account=account)
    return [order["order_id"] for order in snapshot["orders"]]


async def test_orders_stay_when_nothing_was_said(exchange: StreamExchange, symbol: str) -> None:
    me = f"me-{symbol}"
    async with exchange.client() as client:
        placed = await place(client, symbol, "buy", "5.00", account=me)
        await client.request("cancel_on_disconnect", enabled=True)
        await client.request("cancel_on_disconnect", enabled=False)
    async with exchange.client() as client:
        await client.heartbeat()
        await client.heartbeat()
        assert await orders_of(client, me) == [placed["order"]["order_id"]]


# Mistakes and limits


async def test_subscriptions_are_listed_and_ended(exchange: StreamExchange, symbol: str) -> None:
    async with exchange.client() as client:
        first = (await client.request("subscribe", channel="book", symbol=symbol))["subscription"]
        second = (await client.request("subscribe", channel="trades"))["subscription"]
        assert first == {"subscription": 1, "channel": "book", "symbol": symbol}
        assert (await client.request("list"))["subscriptions"] == [first, second]
        assert (await client.refused("subscribe", channel="trades"))["code"] == "already_subscribed"
        await client.request("unsubscribe", channel="book", symbol=symbol)
        await client.request("unsubscribe", subscription=2)
        assert (await client.request("list"))["subscriptions"] == []
        await place(client, symbol, "buy", "5.00")
        await client.heartbeat()
        assert not [each for each in client.seen if each.get("type") == "change"]
        assert (await client.refused("unsubscribe", subscription=2))["code"] == "not_subscribed"


@pytest.mark.parametrize(
    ("message", "code", "says"),
    [
        ("hello", "malformed_json", "not JSON"),
        ("[1]", "invalid_type", "object"),
        ("{}", "missing_field", "subscribe"),
        ('{"op":"dance"}', "unknown_operation", "dance"),
        ('{"op":1}', "invalid_type", "string"),
        ('{"op":"ping","op":"ping"}', "duplicate_field", "twice"),
        ('{"op":"ping","id":1.5}', "invalid_value", "id"),
        ('{"op":"ping","id":[]}', "invalid_value", "id"),
        ('{"op":"ping","what":1}', "unknown_field", "what"),
        ('{"op":"subscribe"}', "missing_field", "channel"),
        ('{"op":"subscribe","channel":"news"}', "unknown_channel", "news"),
        ('{"op":"subscribe","channel":"book"}', "missing_field", "symbol"),
        ('{"op":"subscribe","channel":"book","symbol":"NONE"}', "unknown_symbol", "NONE"),
        ('{"op":"subscribe","channel":"book","symbol":"BTC-USD","levels":0}', "invalid_value", "1 to 1000"),
        ('{"op":"subscribe","channel":"book","symbol":"BTC-USD","levels":true}', "invalid_type", "levels"),
        ('{"op":"subscribe","channel":"book","symbol":"BTC-USD","after":1}', "unknown_field", "after"),
        ('{"op":"subscribe","channel":"candles","symbol":"BTC-USD"}', "missing_field", "interval"),
        ('{"op":"subscribe","channel":"candles","symbol":"BTC-USD","interval":"2m"}', "invalid_value", "2m"),
        ('{"op":"subscribe","channel":"orders","after_index":1}', "missing_field", "after"),
        ('{"op":"subscribe","channel":"orders","account":"a b"}', "invalid_account", "a b"),
        ('{"op":"auth"}', "missing_field", "key"),
        ('{"op":"auth","key":"nonsense"}', "unauthorized", "no such key"),
        ('{"op":"auth","key_id":"nonsense"}', "unauthorized", "no such key"),
        ('{"op":"cancel_on_disconnect","enabled":"yes"}', "invalid_type", "enabled"),
        ('{"op":"place"}', "missing_field", "side"),
        ('{"op":"place","side":"buy","quantity":"1","price":"1","size":1}', "unknown_field", "size"),
        ('{"op":"cancel"}', "missing_field", "order_id"),
        ('{"op":"cancel","order_id":-1}', "invalid_parameter", "order_id"),
        ('{"op":"amend","order_id":1000000000}', "unknown_order", "1000000000"),
        ('{"op":"batch","items":{}}', "invalid_type", "items"),
        (b"bytes", "not_text", "binary"),
    ],
)
async def test_what_is_wrong_is_told_and_nothing_else_happens(
    exchange: StreamExchange, symbol: str, message: str | bytes, code: str, says: str
) -> None:
    async with exchange.client() as client:
        await client.socket.send(message)
        while (told := json.loads(await client.socket.recv()))["type"] == "heartbeat":
            pass
        check_frame(told)
        assert (told["type"], told["problem"]["code"]) == ("error", code)
        assert says in told["problem"]["detail"]
        assert (await client.request("list"))["subscriptions"] == []


async def test_too_many_subscriptions(exchange: StreamExchange, symbol: str) -> None:
    async with exchange.client() as client:
        for levels in range(1, 13):
            await client.subscribe("book", symbol=symbol, levels=levels)
        problem = await client.refused("subscribe", channel="trades")
        assert (problem["code"], problem["status"]) == ("too_many_subscriptions", 429)
        assert "12 subscriptions" in problem["detail"]
        await client.request("unsubscribe", subscription=3)
        await client.subscribe("status", symbol=symbol)


async def test_too_many_requests(exchange: StreamExchange, symbol: str) -> None:
    async with exchange.client() as client:
        ids = [await client.send("ping") for _ in range(3_000)]
        answers = [await client.answer(number) for number in ids]
        refused = [answer["problem"] for answer in answers if answer["type"] == "error"]
        assert {problem["code"] for problem in refused} == {"too_many_requests"}
        assert len(refused) < len(answers) - 900


async def test_a_message_that_is_too_large(exchange: StreamExchange, symbol: str) -> None:
    async with exchange.client() as client:
        await client.socket.send(json.dumps({"op": "ping", "id": "x" * 60_000}))
        code, _ = await client.until_closed()
        [told] = [each for each in client.seen if each["type"] == "error"]
        assert (code, told["problem"]["code"]) == (1009, "message_too_large")
        assert "50000 bytes" in told["problem"]["detail"]


async def test_heartbeats_say_how_far_it_is(exchange: StreamExchange, symbol: str) -> None:
    async with exchange.client() as client:
        placed = await place(client, symbol, "buy", "5.00")
        first = await client.heartbeat()
        assert first["sequence"] >= placed["sequence"]
        assert (await client.heartbeat())["time"] > first["time"]


async def test_the_query_takes_a_key_and_nothing_else(exchange: StreamExchange, symbol: str) -> None:
    async with websockets.connect(f"ws://127.0.0.1:{exchange.port}/ws?symbol=X", proxy=None) as socket:
        told = json.loads(await socket.recv())
        assert told["code"] == "invalid_parameter"
        await socket.wait_closed()
        assert socket.close_code == 4400
