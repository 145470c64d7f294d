"""Goal: what is too slow, full, or does not read costs the others nothing, and is as if nothing had been afterwards.

Method: on one whole exchange, one after the other: orders at more than it may work on at once; Postgres stopped with
SIGSTOP; WebSocket clients that never read; a nats-server that may write no more. Orders go on meanwhile, and each
answer is kept. Then the journal is read: what was acknowledged is in it once.
How fast all this is, and how much memory it takes, `python -m bench.overload` measures.
"""

import asyncio
import json
import random
import resource
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import psutil
import pytest
import websockets

from runtime.connection import close, connect
from tests.support.matchers import read_journal
from tests.support.servers import wait_until
from tests.support.stack import Stack, running_stack

pytestmark = pytest.mark.stack

ROOM = 40
MEGABYTE = 2**20
SETTINGS = {"PRICETIME_REQUESTS_IN_FLIGHT": str(ROOM), "PRICETIME_COMMAND_TIMEOUT_SECONDS": "60"}
"""What is let in is to wait for as long as a slow machine needs to refuse the rest."""
NOT_DONE = {"overloaded", "matcher_unavailable"}
UNKNOWN = {"result_unknown"}


@pytest.fixture(scope="module")
def exchange() -> Iterator[Stack]:
    with running_stack(SETTINGS) as started:
        yield started


class Sender:
    """Orders over REST under names of their own, and what was said of each."""

    def __init__(self, http: httpx.AsyncClient, prefix: str) -> None:
        self.http = http
        self.prefix = prefix
        self.chance = random.Random(prefix)
        self.count = 0
        self.placed: dict[str, int] = {}
        """The journal sequence in each 201, by name."""
        self.not_done: set[str] = set()
        self.unknown: set[str] = set()
        self.answers: Counter[str] = Counter()

    async def place(self) -> httpx.Response:
        self.count += 1
        name = f"{self.prefix}-{self.count}"
        order = {
            "side": self.chance.choice(["buy", "sell"]),
            "price": "100.00",
            "quantity": "1",
            "client_order_id": name,
        }
        response = await self.http.post("/orders", json=order, timeout=120)
        content = response.json()
        code = content.get("code", "")
        self.answers[f"{response.status_code} {code}".strip()] += 1
        if response.status_code == 201:
            self.placed[name] = content["sequence"]
        elif code in NOT_DONE:
            assert int(response.headers["retry-after"]) >= 1
            self.not_done.add(name)
        else:
            assert code in UNKNOWN, response.text
            self.unknown.add(name)
        return response

    async def place_all(self, count: int) -> None:
        await asyncio.gather(*(self.place() for _ in range(count)))

    async def until_placed(self) -> None:
        async with asyncio.timeout(60):
            while (await self.place()).status_code != 201:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.1)

    async def check(self, stack: Stack) -> None:
        """The journal holds what was acknowledged, once, and nothing that was refused."""
        connection = await connect(stack.nats, "test")
        try:
            found = (await read_journal(connection)).outcomes_by_client_order_id()
        finally:
            await close(connection)
        mine = {name: sequences for name, sequences in found.items() if name.startswith(f"{self.prefix}-")}
        assert {name: [sequence for sequence, _ in mine.get(name, [])] for name in self.placed} == {
            name: [sequence] for name, sequence in self.placed.items()
        }
        assert not self.not_done & mine.keys(), "an order that was refused was placed"
        assert mine.keys() <= self.placed.keys() | self.unknown


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process and all below it, as if the machine had no time for them."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def memory(stack: Stack, part: str) -> float:
    """In megabytes."""
    return float(psutil.Process(stack.pids[part]).memory_info().rss) / MEGABYTE


async def test_more_orders_than_may_be_at_work(exchange: Stack) -> None:
    """A matcher that does nothing for a moment: what is let in waits for it, the rest hears so, and cancels get in."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=exchange.http, trust_env=False, limits=limits) as http:
        sender = Sender(http, "many")
        resting = (await sender.place()).json()["order_id"]
        with stopped(exchange.pids["matcher"]):
            placing = [asyncio.create_task(sender.place()) for _ in range(3 * ROOM)]
            refused = 0
            async with asyncio.timeout(60):
                while refused < 2 * ROOM:  # while those that were let in still wait
                    await asyncio.sleep(0.01)
                    refused = len(sender.not_done)
            canceling = asyncio.create_task(http.delete(f"/orders/{resting}", timeout=120))
            assert (await http.get("/health/live")).status_code == 200
        await asyncio.gather(*placing)
        canceled = await canceling
        if canceled.status_code not in (200, 409):  # let in as well, but the matcher counts as away after a while
            assert canceled.json()["code"] == "matcher_unavailable"
        assert sender.answers["503 overloaded"] >= 1
        assert len(sender.not_done) == 2 * ROOM
        await sender.until_placed()
        await sender.check(exchange)


async def test_a_postgres_that_stalls_while_orders_flow(exchange: Stack) -> None:
    """Reads of history fail, at once once that is known; orders, depth and streams go on; the recorder holds little."""
    limits = httpx.Limits(max_connections=20)
    async with httpx.AsyncClient(base_url=exchange.http, trust_env=False, limits=limits) as http:
        sender = Sender(http, "stalled")
        await sender.place_all(20)
        before = {part: memory(exchange, part) for part in ("recorder", "gateway")}
        with stopped(exchange.pids["postgres"]):
            code = ""
            while code != "history_unavailable":
                code = (await http.get("/orders", timeout=30)).json().get("code", "")
            async with asyncio.timeout(60):
                for _ in range(50):
                    await sender.place_all(10)
                    response = await http.get("/orders", timeout=30)
                    assert response.status_code == 503
                    assert response.headers["retry-after"]
                    assert (await http.get("/market/BTC-USD")).status_code == 200
            grown = {part: memory(exchange, part) - size for part, size in before.items()}
            assert max(grown.values()) < 30, grown
        assert sender.answers.keys() == {"201"}
        async with asyncio.timeout(60):
            while (response := await http.get("/orders", params={"limit": 1})).status_code != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        last = max(sender.placed.values())
        response = await http.get("/orders", params={"limit": 1}, headers={"journal-sequence": str(last)}, timeout=30)
        assert response.json()["items"][0]["sequence"] >= last
        await sender.check(exchange)


async def test_websocket_clients_that_never_read(exchange: Stack) -> None:
    """What is kept for them is bounded, and who reads misses nothing. (That they are cut off: tests/broadcaster.)"""
    dead = [await never_reading(exchange.ws, path) for path in ("/ws/trades", "/ws/trades", "/ws/orderbook") * 5]
    async with (
        httpx.AsyncClient(base_url=exchange.http, trust_env=False) as http,
        websockets.connect(f"{exchange.ws}/ws/trades", proxy=None, max_queue=None) as reader,
    ):
        sender = Sender(http, "unread")
        before = memory(exchange, "broadcaster")
        reading = asyncio.create_task(trades_until(reader, "101.23"))
        for _ in range(20):
            await batch_of_trades(http)
        assert memory(exchange, "broadcaster") - before < 60
        last = {"price": "101.23", "quantity": "1"}
        await http.post("/orders", json=last | {"side": "sell"})
        await http.post("/orders", json=last | {"side": "buy"})
        trades = await asyncio.wait_for(reading, 60)
        numbers = [trade["sequence"] for trade in trades]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        await sender.until_placed()
    for each in dead:
        each.close()


async def batch_of_trades(http: httpx.AsyncClient) -> None:
    """A hundred of them."""
    order = {"price": "101.00", "quantity": "1"}
    items = [{"op": "place", **order, "side": side} for _ in range(100) for side in ("sell", "buy")]
    response = await http.post("/orders/batch", json={"items": items}, timeout=30)
    assert response.status_code == 200, response.text


async def trades_until(reader: websockets.ClientConnection, price: str) -> list[Any]:
    trades: list[Any] = []
    while not trades or trades[-1]["price"] != price:
        message = json.loads(await reader.recv())
        if "taker_side" in message:
            trades.append(message)
    return trades


async def never_reading(ws: str, path: str) -> socket.socket:
    """A WebSocket whose client reads the handshake's answer, and no more. Its buffer is small."""
    host, _, port = ws.removeprefix("ws://").rpartition(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, (host, int(port)))
    head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    await loop.sock_sendall(connection, (head + key).encode())
    assert b" 101 " in await loop.sock_recv(connection, 100)
    return connection


async def test_a_nats_server_that_may_write_no_more(exchange: Stack) -> None:
    """As when its disk is full: nothing is acknowledged then, nothing acknowledged is lost, and it heals by itself."""
    async with httpx.AsyncClient(base_url=exchange.http, trust_env=False) as http:
        sender = Sender(http, "full")
        await sender.place_all(20)
        server = exchange.pids["nats"]
        psutil.Process(server).rlimit(resource.RLIMIT_FSIZE, (1024, resource.RLIM_INFINITY))
        acknowledged = len(sender.placed)
        await sender.place_all(5)
        # Unless it has been started again meanwhile: then what waited was written by the new one.
        assert len(sender.placed) == acknowledged or exchange.pids["nats"] != server, sender.answers
        await asyncio.to_thread(wait_until, lambda: exchange.pids["nats"] != server, 60)
        await sender.until_placed()
        await sender.check(exchange)
