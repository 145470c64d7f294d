"""The broadcaster as its users meet it: a process on a real nats-server, following a journal made by hand."""

import asyncio
import contextlib
import json
import os
import re
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
import websockets
from nats.aio.client import Client
from nats.aio.msg import Msg

from broadcaster.feed import KEPT_TRADES
from contracts.messages import Side
from contracts.subjects import BROADCASTER_DEPTH, BROADCASTER_MARKET, BROADCASTER_STATUS
from tests.support.broadcaster_journal import SYMBOL, HandmadeJournal, JournalWriter
from tests.support.broadcaster_service import BroadcasterService, ask, read
from tests.support.servers import NatsServer, wait_until

pytestmark = pytest.mark.stack


@pytest.fixture
async def connection(nats_server: NatsServer) -> AsyncIterator[Client]:
    connection = await nats.connect(nats_server.url)
    yield connection
    await connection.close()


@pytest.fixture
async def writer(connection: Client) -> JournalWriter:
    """A journal that lists SYMBOL and has trade 1: 4 of an offer of 9 at 100.00."""
    journal = HandmadeJournal()
    journal.begin()
    journal.next([journal.resting(Side.SELL, 10_000, 9), journal.traded(10_000, 4, left=5)])
    writer = JournalWriter(connection, journal)
    await writer.write()
    return writer


@pytest.fixture
def broadcaster(nats_server: NatsServer, tmp_path: Path) -> Iterator[BroadcasterService]:
    service = BroadcasterService(nats_server.url, tmp_path)
    service.start()
    yield service
    service.close()


async def trade(writer: JournalWriter, count: int = 1) -> None:
    """So many commits with a trade in each."""
    for _ in range(count):
        writer.journal.next([writer.journal.traded(10_000, 1, left=5)])
    await writer.write()


async def closing(client: websockets.ClientConnection) -> tuple[list[Any], int, str]:
    """What it still receives, and the close code and reason."""
    received = []
    with contextlib.suppress(websockets.ConnectionClosed):
        while True:
            received += await read(client, 1)
    assert client.close_code is not None
    return received, client.close_code, client.close_reason or ""


async def test_a_trade_and_the_book_as_everyone_sees_them(
    broadcaster: BroadcasterService, writer: JournalWriter
) -> None:
    async with broadcaster.client("/ws/orderbook") as book, broadcaster.client("/ws/trades") as trades:
        depth = {"symbol": SYMBOL, "sequence": 3, "bids": [], "asks": [["100.00", "0.005"]]}
        assert await read(book, 1) == [depth]
        writer.journal.next([writer.journal.traded(10_000, 2, left=3)])
        await writer.write()
        assert await read(trades, 1) == [
            {
                "trade_id": 2,
                "symbol": SYMBOL,
                "price": "100.00",
                "quantity": "0.002",
                "taker_side": "buy",
                "maker_order_id": 4,
                "taker_order_id": 5,
                "executed_at": "2023-11-14T22:13:20.004000Z",
                "sequence": 2,
            }
        ]
        later = await read(book, 2)
        assert later[-1] == {**depth, "sequence": 4, "asks": [["100.00", "0.003"]]}


async def test_symbols_and_levels(broadcaster: BroadcasterService, writer: JournalWriter) -> None:
    journal = writer.journal
    journal.next([journal.listed("ETH-USD"), *(journal.resting(Side.BUY, p, p, "ETH-USD") for p in range(1, 11))])
    await writer.write()
    async with (
        broadcaster.client("/ws/orderbook?symbol=ETH-USD") as five,
        broadcaster.client("/ws/orderbook?symbol=ETH-USD&levels=2") as two,
        broadcaster.client("/ws/trades?symbol=ETH-USD") as trades,
    ):
        assert [bid[0] for bid in (await read(five, 1))[0]["bids"]] == ["0.10", "0.09", "0.08", "0.07", "0.06"]
        assert (await read(two, 1))[0]["bids"] == [["0.10", "0.010"], ["0.09", "0.009"]]
        await trade(writer)
        journal.next([journal.traded(500, 1, "ETH-USD")])
        await writer.write()
        assert [(each["symbol"], each["sequence"]) for each in await read(trades, 1)] == [("ETH-USD", 3)]


async def test_public_subjects(broadcaster: BroadcasterService, writer: JournalWriter, connection: Client) -> None:
    books, trades = await connection.subscribe("market.*.book"), await connection.subscribe("market.*.trades")
    await ask(connection, BROADCASTER_DEPTH, symbol=SYMBOL)
    await trade(writer, 3)
    received = [await trades.next_msg(timeout=60) for _ in range(3)]
    assert [message.subject for message in received] == [f"market.{SYMBOL}.trades"] * 3
    assert [json.loads(message.data)["sequence"] for message in received] == [2, 3, 4]
    book = await books.next_msg(timeout=60)
    assert book.subject == f"market.{SYMBOL}.book"
    assert json.loads(book.data)["asks"] == [["100.00", "0.005"]]


async def test_requests(broadcaster: BroadcasterService, writer: JournalWriter, connection: Client) -> None:
    depth = await ask(connection, BROADCASTER_DEPTH, symbol=SYMBOL, levels=3, min_sequence=3)
    assert depth == {"symbol": SYMBOL, "sequence": 3, "bids": [], "asks": [["100.00", "0.005"]]}
    market = await ask(connection, BROADCASTER_MARKET, symbol=SYMBOL)
    assert (market["best_ask"], market["last_price"], market["last_quantity"]) == ("100.00", "100.00", "0.004")
    assert await ask(connection, BROADCASTER_MARKET, symbol="NONE") == {"error": "unknown_symbol"}
    assert await ask(connection, BROADCASTER_DEPTH, symbol=SYMBOL, min_sequence=9) == {"error": "behind", "sequence": 3}
    assert (await ask(connection, BROADCASTER_DEPTH, levels=3))["error"] == "malformed_request"
    async with broadcaster.client("/ws/trades"), broadcaster.client("/ws/orderbook") as book:
        await book.recv()
        status = await ask(connection, BROADCASTER_STATUS)
    assert broadcaster.process is not None
    assert status == {"sequence": 3, "caught_up": True, "clients": 2, "conflated": 0, "pid": broadcaster.process.pid}


async def test_a_request_waits_for_the_commit_it_names(
    broadcaster: BroadcasterService, writer: JournalWriter, connection: Client
) -> None:
    await ask(connection, BROADCASTER_STATUS)
    waiting = asyncio.create_task(ask(connection, BROADCASTER_DEPTH, symbol=SYMBOL, min_sequence=5))
    await trade(writer, 2)
    assert (await waiting)["sequence"] == 5


async def test_who_connects_sees_what_was_committed_before(
    broadcaster: BroadcasterService, writer: JournalWriter
) -> None:
    for number in range(20):
        writer.journal.next([writer.journal.listed(f"NEW-{number}")])
        writer.journal.next([writer.journal.resting(Side.BUY, 100, 1, f"NEW-{number}")])
        await writer.write()
        async with broadcaster.client(f"/ws/orderbook?symbol=NEW-{number}") as book:
            assert (await read(book, 1))[0]["bids"] == [["1.00", "0.001"]]


@pytest.mark.parametrize(
    ("path", "close_code", "code", "says"),
    [
        ("/ws/trades?after=minus", 4400, "invalid_parameter", "after"),
        ("/ws/trades?after=-1", 4400, "invalid_parameter", "after"),
        ("/ws/trades?since=1", 4400, "invalid_parameter", "since"),
        ("/ws/trades?after=7", 4416, "ahead", "the last one is 1"),
        ("/ws/trades?symbol=NONE", 4404, "unknown_symbol", "NONE"),
        ("/ws/orderbook?levels=0", 4400, "invalid_parameter", "levels"),
        ("/ws/orderbook?levels=1001", 4400, "invalid_parameter", "levels"),
        ("/ws/orderbook?symbol=", 4404, "unknown_symbol", ""),
        ("/ws/orderbook?symbol=%00*.%3E", 4404, "unknown_symbol", ""),
    ],
)
async def test_bad_parameters_are_told(
    broadcaster: BroadcasterService, writer: JournalWriter, path: str, close_code: int, code: str, says: str
) -> None:
    async with broadcaster.client(path) as client:
        [error], *closed = await closing(client)
    assert closed == [close_code, code]
    assert (error["type"], error["code"]) == ("error", code)
    assert says in error["detail"]


async def test_pages(broadcaster: BroadcasterService, writer: JournalWriter, connection: Client) -> None:
    def page(path: str) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{broadcaster.port}{path}", timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    paths = ["/health/live", "/health/ready", "/ws/trades", "/nothing"]
    await ask(connection, BROADCASTER_DEPTH, symbol=SYMBOL)
    assert [await asyncio.to_thread(page, path) for path in paths] == [200, 200, 426, 404]
    with pytest.raises(websockets.InvalidStatus) as refused:
        await broadcaster.client("/ws/nothing")
    assert refused.value.response.status_code == 404
    assert json.loads(bytes(refused.value.response.body or b""))["code"] == "not_found"
    assert "ERROR" not in broadcaster.log


async def test_alive_while_it_waits_for_a_journal(broadcaster: BroadcasterService, connection: Client) -> None:
    status = await ask(connection, BROADCASTER_STATUS)
    assert (status["sequence"], status["caught_up"]) == (0, False)
    assert await ask(connection, BROADCASTER_DEPTH, symbol=SYMBOL) == {"error": "behind", "sequence": 0}
    with pytest.raises(websockets.InvalidStatus) as refused:
        await broadcaster.client("/ws/orderbook")
    assert refused.value.response.status_code == 503
    status = await asyncio.to_thread(broadcaster.stop)
    assert status == 0


async def test_many_clients_all_get_everything_in_order(broadcaster: BroadcasterService, writer: JournalWriter) -> None:
    clients = await asyncio.gather(*(broadcaster.client("/ws/trades?after=0") for _ in range(60)))
    for _ in range(20):
        await trade(writer, 10)
    everything = await asyncio.gather(*(read(client, 201) for client in clients))
    assert all([each["sequence"] for each in received] == list(range(1, 202)) for received in everything)
    await asyncio.gather(*(client.close() for client in clients))


async def test_messages_of_clients_are_not_minded(broadcaster: BroadcasterService, writer: JournalWriter) -> None:
    async with broadcaster.client("/ws/trades?after=0") as client:
        for _ in range(50):
            await client.send("hello?")
        await trade(writer)
        assert [each["sequence"] for each in await read(client, 2)] == [1, 2]
        await client.send("x" * 100_000)
        _, code, _ = await closing(client)
    assert code == 1009


async def test_a_restart_loses_and_repeats_nothing(
    broadcaster: BroadcasterService, writer: JournalWriter, connection: Client
) -> None:
    """Goal: across clean stops and kill -9, a client that comes back with its last trade sees each trade once, and
    a subscriber of the public subject never sees an old trade as new.

    Method: trades before, while it is down and after, five times.
    """
    seen, published = [1], [1]

    async def note(message: Msg) -> None:
        published.append(json.loads(message.data)["sequence"])

    await connection.subscribe("market.*.trades", cb=note)
    for round_number in range(5):
        async with broadcaster.client(f"/ws/trades?after={seen[-1]}") as client:
            await trade(writer, 5)
            seen += [each["sequence"] for each in await read(client, writer.journal.trade_id - seen[-1])]
            if round_number % 2:
                broadcaster.kill()
            else:
                status = await asyncio.to_thread(broadcaster.stop)
                assert status == 0
                assert await closing(client) == ([], 1001, "going away")
        await trade(writer, 3)
        broadcaster.start()
    async with broadcaster.client(f"/ws/trades?after={seen[-1]}") as client:
        await trade(writer, 1)
        seen += [each["sequence"] for each in await read(client, writer.journal.trade_id - seen[-1])]
    await connection.flush()
    assert seen == list(range(1, writer.journal.trade_id + 1))
    assert published == sorted(set(published))
    assert set(range(34, 39)) <= set(published)  # those of the last round, which was live when they came
    assert "going on after commit" in broadcaster.log


async def test_a_restart_goes_on_from_the_snapshot(
    broadcaster: BroadcasterService, writer: JournalWriter, connection: Client
) -> None:
    await trade(writer, 10)
    before = await ask(connection, BROADCASTER_MARKET, symbol=SYMBOL, min_sequence=13)
    await asyncio.to_thread(broadcaster.stop)
    assert [file.name for file in broadcaster.snapshots] == [f"market-{13:020d}.snapshot"]
    broadcaster.start()
    assert await ask(connection, BROADCASTER_MARKET, symbol=SYMBOL, min_sequence=13) == before
    assert "going on after commit 13" in broadcaster.log
    await asyncio.to_thread(broadcaster.stop)
    broadcaster.snapshots[0].write_bytes(b"rubbish")
    broadcaster.start()
    assert await ask(connection, BROADCASTER_MARKET, symbol=SYMBOL, min_sequence=13) == before
    assert "is not used: it is no snapshot" in broadcaster.log


async def test_trades_too_old_are_a_gap_that_is_named(broadcaster: BroadcasterService, writer: JournalWriter) -> None:
    """After a restart the latest 10,000 are at hand."""
    broadcaster.kill()
    journal = writer.journal
    for _ in range(101):
        journal.next([journal.traded(10_000, 1, fills=100)])
    await writer.write()
    broadcaster.start()
    async with broadcaster.client("/ws/trades?after=0") as client:
        [error], *closed = await closing(client)
    assert closed == [4410, "gap"]
    assert error["detail"] == "The trades from 102 on are at hand. Read the ones before with GET /trades."
    async with broadcaster.client("/ws/trades?after=101") as client:
        assert [each["sequence"] for each in await read(client, 10_000)] == list(range(102, 10_102))


async def test_a_client_that_does_not_read_is_told_and_dropped_and_nobody_else_notices(
    broadcaster: BroadcasterService, writer: JournalWriter, connection: Client
) -> None:
    """Method: with small buffers on the way, one client reads nothing until more has happened than is kept."""
    broadcaster.listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)  # its connections inherit it
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.connect(("127.0.0.1", broadcaster.port))
    async with broadcaster.client("/ws/trades?after=1") as quick:
        slow = await asyncio.get_running_loop().run_in_executor(None, _handshake, narrow)
        expected = KEPT_TRADES + 12_000
        reading = asyncio.create_task(read(quick, expected))
        for _ in range(expected // 500):
            writer.journal.next([writer.journal.traded(10_000, 1, fills=500)])
            await writer.write()
        assert [each["sequence"] for each in await reading] == list(range(2, expected + 2))
        received = await asyncio.to_thread(_read_to_farewell, slow)
        assert (await ask(connection, BROADCASTER_STATUS))["clients"] == 1
    sequences = [int(found) for found in re.findall(rb'"sequence":(\d+)}', received)]
    assert sequences == list(range(2, 2 + len(sequences)))
    assert 0 < len(sequences) < expected
    told = re.search(rb'{"type":"error","code":"slow_consumer","detail":"[^"]*"}(.*)', received, re.DOTALL)
    assert told is not None
    assert told[1] == b"\x88\x0f" + (1013).to_bytes(2, "big") + b"slow_consumer"


def _handshake(raw: socket.socket) -> socket.socket:
    raw.sendall(
        b"GET /ws/trades?after=1 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += raw.recv(1)
    assert b" 101 " in head
    return raw


def _read_to_farewell(raw: socket.socket) -> bytes:
    received = bytearray()
    with raw:
        while not received.endswith(b"slow_consumer"):  # the reason in the close frame
            received += raw.recv(65_536)
    return bytes(received)


async def test_a_broken_journal_ends_it_and_names_the_commit(
    broadcaster: BroadcasterService, writer: JournalWriter, connection: Client
) -> None:
    async with broadcaster.client("/ws/trades") as client:
        await connection.jetstream().publish("journal", b"this is no commit")
        _, code, _ = await closing(client)
    assert broadcaster.process is not None
    assert await asyncio.to_thread(broadcaster.process.wait, 60) == 3
    assert code == 1001
    assert "refusing to serve: the journal cannot be trusted: journal sequence 4" in broadcaster.log
    assert broadcaster.snapshots == []


async def test_nats_may_go_away_and_come_back(
    broadcaster: BroadcasterService, writer: JournalWriter, connection: Client, nats_server: NatsServer
) -> None:
    async with broadcaster.client("/ws/trades") as trades, broadcaster.client("/ws/orderbook") as book:
        await trade(writer, 2)
        assert len(await read(trades, 2)) == 2
        await asyncio.to_thread(nats_server.kill)
        await read(book, 3)  # each second, whatever happens
        await asyncio.to_thread(nats_server.start)
        await trade(writer, 2)
        assert [each["sequence"] for each in await read(trades, 2)] == [4, 5]


async def test_it_stops_while_nats_is_away(
    broadcaster: BroadcasterService, writer: JournalWriter, connection: Client, nats_server: NatsServer
) -> None:
    async with broadcaster.client("/ws/trades"):
        await asyncio.to_thread(nats_server.kill)
        status = await asyncio.to_thread(broadcaster.stop)
    assert status == 0
    assert len(broadcaster.snapshots) == 1
    refusals = broadcaster.log.count("Connection refused")
    broadcaster.start()
    assert await asyncio.to_thread(wait_until, lambda: broadcaster.log.count("Connection refused") > refusals)
    status = await asyncio.to_thread(broadcaster.stop)
    assert status == 0


async def test_a_port_in_use_is_one_clear_line(broadcaster: BroadcasterService, nats_server: NatsServer) -> None:
    taken = str(broadcaster.port)
    service = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "broadcaster"],
        env={**os.environ, "PRICETIME_NATS_URL": nats_server.url, "PRICETIME_WS_PORT": taken},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await service.communicate()
    assert service.returncode == 3
    assert said.decode().count("\n") == 1
    assert f"cannot listen on 127.0.0.1:{taken}: Address already in use" in said.decode()
