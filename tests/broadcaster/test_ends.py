"""How connections to /ws end, what the broadcaster owes its clients then, and what it says on NATS meanwhile."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js.api import StorageType
from nats.js.errors import NotFoundError

from contracts.messages import InstrumentStatus, SetInstrumentStatus
from contracts.subjects import MARKET_STREAM
from runtime.connection import close, connect
from tests.support.matchers import client_of
from tests.support.streams import SECONDS, StreamExchange, check, stream_exchange

pytestmark = pytest.mark.stack

ORDER = {"side": "buy", "price": "5.00", "quantity": "1"}


@pytest.fixture
async def exchange() -> AsyncIterator[StreamExchange]:
    with stream_exchange() as started:
        await started.until_served()
        yield started


@pytest.fixture
async def connection(exchange: StreamExchange) -> AsyncIterator[Client]:
    connection = await connect(exchange.nats.url, "test")
    yield connection
    await close(connection)


async def open_orders(exchange: StreamExchange) -> int:
    async with client_of(exchange.nats) as matcher:
        return int((await matcher.status())["resting_orders"])


async def until_no_orders(exchange: StreamExchange) -> None:
    async with client_of(exchange.nats) as matcher:
        await matcher.until(lambda status: status["resting_orders"] == 0)


# A planned stop


async def test_a_planned_stop_is_announced(exchange: StreamExchange) -> None:
    async with exchange.client() as client, exchange.client("/ws/trades") as trades:
        await client.subscribe("orders")
        placed = await client.request("place", **ORDER)
        await client.data("orders")  # the answer is the matcher's: the broadcaster may be behind it
        stopping = asyncio.create_task(asyncio.to_thread(exchange.broadcaster.stop))
        code, _ = await client.until_closed()
        [word] = [each for each in client.seen if each["type"] == "going_away"]
        assert code == 1001
        assert word["reconnect_after_ms"] > 0
        assert word["sequence"] == placed["sequence"]
        assert (await trades.until_closed())[0] == 1001
        assert await stopping == 0
    assert await open_orders(exchange) == 1
    exchange.broadcaster.start()
    await exchange.until_served()
    async with exchange.client() as client:
        snapshot = await client.subscribe("orders")
        assert [order["order_id"] for order in snapshot["orders"]] == [placed["order"]["order_id"]]
        assert (await client.refused("cancel", order_id=77))["code"] == "unknown_order"
    assert "going on after commit" in exchange.broadcaster.log


PATIENT = """
import broadcaster.__main__ as program
from runtime.service import run
program.GOING_AWAY_SECONDS = 60
run("broadcaster", program.main)
"""
"""A broadcaster whose very end does not come before a slow machine has done what is asked of it."""


async def test_requests_are_answered_until_the_very_end(exchange: StreamExchange) -> None:
    exchange.broadcaster.kill()
    exchange.broadcaster.program = ("-c", PATIENT)
    exchange.broadcaster.start()
    await exchange.until_served()
    async with exchange.client() as client:
        await client.request("ping")  # whoever is only just connecting when the word goes round does not get it
        stopping = asyncio.create_task(asyncio.to_thread(exchange.broadcaster.stop))
        while not [each for each in client.seen if each["type"] == "going_away"]:
            await client.request("ping")
        await client.subscribe("orders")
        placed = await client.request("place", **ORDER)
        assert (await client.data("orders"))["order"]["order_id"] == placed["order"]["order_id"]
        assert not stopping.done()
    assert await stopping == 0, "it ends when all have gone"


async def test_a_planned_stop_cancels_what_is_to_go_with_the_connection(exchange: StreamExchange) -> None:
    async with exchange.client() as client, exchange.client() as other:
        kept = await other.request("place", **ORDER)
        await client.request("cancel_on_disconnect")
        for _ in range(5):
            await client.request("place", **ORDER)
        assert await asyncio.to_thread(exchange.broadcaster.stop) == 0
    assert await open_orders(exchange) == 1
    assert kept["order"]["status"] == "open"


# Clients that are gone

KILLED = """
import asyncio, json, sys, websockets
async def main():
    async with websockets.connect(sys.argv[1], proxy=None) as ws:
        await ws.send(json.dumps({"op": "cancel_on_disconnect"}))
        for number in range(10):
            await ws.send(json.dumps({"op": "place", "side": "buy", "price": "5", "quantity": "1"}))
        placed = 0
        while placed < 10:
            placed += json.loads(await ws.recv())["type"] == "placed"
        print("placed", flush=True)
        await asyncio.sleep(1000)
asyncio.run(main())
"""


async def test_orders_of_a_client_that_is_killed_are_canceled(exchange: StreamExchange) -> None:
    url = f"ws://127.0.0.1:{exchange.port}/ws"
    client = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, url, stdout=subprocess.PIPE)
    assert client.stdout is not None
    assert await client.stdout.readline() == b"placed\n"
    assert await open_orders(exchange) == 10
    client.kill()
    await client.wait()
    await until_no_orders(exchange)


async def test_it_keeps_trying_while_the_matcher_is_away(exchange: StreamExchange) -> None:
    async with exchange.client() as client:
        await client.request("cancel_on_disconnect")
        await client.request("place", **ORDER)
        exchange.matchers.started[-1].kill()
    exchange.matchers.start_serving(exchange.nats)
    await until_no_orders(exchange)


async def test_it_keeps_trying_while_the_instrument_is_halted(exchange: StreamExchange) -> None:
    async with exchange.client() as client:
        await client.request("cancel_on_disconnect")
        await client.request("place", **ORDER)
        await exchange.command(SetInstrumentStatus("BTC-USD", InstrumentStatus.HALTED))
    assert await open_orders(exchange) == 1
    await exchange.command(SetInstrumentStatus("BTC-USD", InstrumentStatus.TRADING))
    await until_no_orders(exchange)


# On NATS


async def test_what_is_said_on_nats(exchange: StreamExchange, connection: Client) -> None:
    schemas = {
        "accounts.anna.orders": "OrderUpdate",
        "market.BTC-USD.trades": "TradeView",
        "market.BTC-USD.ticker": "MarketView",
        "market.BTC-USD.candles.1s": "CandleView",
        "market.BTC-USD.candles.1d": "CandleView",
        "market.BTC-USD.status": "InstrumentView",
        "market.BTC-USD.book": "DepthView",
    }
    heard: dict[str, list[Any]] = {subject: [] for subject in schemas}
    complete = asyncio.Event()

    async def note(message: Any) -> None:
        content = json.loads(message.data)
        if message.subject in schemas:
            check(schemas[message.subject], content)
            heard[message.subject].append(content)
        if all(heard.values()) and any(candle["is_complete"] for candle in heard["market.BTC-USD.candles.1s"]):
            complete.set()

    await connection.subscribe("market.>", cb=note)
    await connection.subscribe("accounts.*.orders", cb=note)
    await connection.flush()
    async with exchange.client() as client:
        await client.request("place", **ORDER, account="anna")
        await client.request("place", **ORDER | {"side": "sell"}, account="ben")
    await exchange.command(SetInstrumentStatus("BTC-USD", InstrumentStatus.CANCEL_ONLY))
    async with asyncio.timeout(SECONDS):
        await complete.wait()
    assert [update["event"] for update in heard["accounts.anna.orders"]] == ["accepted", "trade"]
    assert {update["order"]["account"] for update in heard["accounts.anna.orders"]} == {"anna"}
    assert heard["market.BTC-USD.status"][-1]["status"] == "cancel_only"


async def test_the_stream_market_has_recent_history(exchange: StreamExchange, connection: Client) -> None:
    async def kept(subject: str) -> Any:
        message = await connection.jsm().get_last_msg(MARKET_STREAM, subject)
        return json.loads(message.data or b"")

    async def trade_until_kept(sequence: int) -> None:
        async with exchange.client() as client, asyncio.timeout(SECONDS):
            while True:
                for side in ("buy", "sell"):
                    await client.request("place", **ORDER | {"side": side})
                await client.heartbeat()
                with suppress(NotFoundError):  # it is made a moment after the start, or the reconnection
                    if (await kept("market.BTC-USD.trades"))["sequence"] > sequence:
                        return

    await trade_until_kept(0)
    info = await connection.jsm().stream_info(MARKET_STREAM)
    assert info.config.storage == StorageType.MEMORY
    assert info.config.max_msgs_per_subject
    before = (await kept("market.BTC-USD.trades"))["sequence"]
    await asyncio.to_thread(exchange.nats.kill)
    await asyncio.to_thread(exchange.nats.start)
    await trade_until_kept(before)
