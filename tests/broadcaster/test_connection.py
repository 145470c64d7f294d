"""Connections that do not behave, against the server in this process."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import websockets

from broadcaster import server as server_module
from broadcaster.access import Doorkeeper, Presented
from broadcaster.application import Application
from broadcaster.connection import Connection
from broadcaster.feed import GOING_AWAY, Farewell, TradeFeed, frame
from broadcaster.live import Live
from broadcaster.orders import OrderChange, OrderEvent
from broadcaster.server import BroadcastServer, create_server
from broadcaster.session import Counter, Limits
from broadcaster.streams import OrderFeed, Update, updates_of
from contracts.keys import OPEN, Access
from contracts.messages import OrderState, OrderType, Side, TimeInForce
from contracts.views import Instrument
from tests.support.servers import wait_until

pytestmark = pytest.mark.stack

HANDSHAKE = (
    b"GET /ws/trades HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class OpenDoor(Doorkeeper):
    """There are no keys."""

    is_open = True

    def __init__(self) -> None:
        pass

    def admit(self, presented: Presented) -> Access:
        return OPEN

    def is_good(self, access: Access) -> bool:
        return True


@dataclass
class Served:
    server: BroadcastServer
    live: Live
    port: int

    @property
    def connections(self) -> list[Connection]:
        return [each for each in self.server.server_state.connections if isinstance(each, Connection)]

    async def until(self, clients: int) -> None:
        def settled() -> bool:
            return len(self.server.server_state.connections) == self.live.clients == clients

        assert await asyncio.to_thread(wait_until, settled)

    async def silent_client(self, path: str = "/ws/trades") -> socket.socket:
        """Connected, and never reading again."""
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(("127.0.0.1", self.port))
        raw.sendall(HANDSHAKE.replace(b"/ws/trades", path.encode()))
        await self.until(clients=1)
        return raw


@pytest.fixture
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    monkeypatch.setattr(Connection, "grace_seconds", 0.2)
    monkeypatch.setattr(server_module, "_PING_SECONDS", 0.2)
    live = Live()
    live.open()
    application = Application(live, "BTC-USD", lambda: asyncio.sleep(0))
    nobody: Any = None
    application.open_counter(Counter(nobody, OpenDoor(), Limits(10, 100)))
    server = create_server(application)
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    yield Served(server, live, listening.getsockname()[1])
    server.should_exit = True
    await serving


def fill(served: Served) -> None:
    """Write until the connection takes no more."""
    [connection] = served.connections
    while connection.is_ready():
        connection.write(b"x" * 65_536)


def masked(text: bytes) -> bytes:
    """A client's frame, masked with zeros."""
    assert len(text) < 126
    return b"\x81" + bytes([0x80 | len(text)]) + bytes(4) + text


def updates(sequence: int, count: int) -> list[Update]:
    gold = Instrument("GOLD", "0.01", "0.001", 1, 10)
    order = OrderState(1, None, "anna", "GOLD", Side.BUY, OrderType.LIMIT, TimeInForce.GTC, False, 1, 5, 0, "0", 0)
    changes = [OrderChange(order, 0, 0, sequence, 0, index, OrderEvent.ACCEPTED) for index in range(count)]
    return updates_of(changes, lambda _: gold)


def read_to_close(raw: socket.socket) -> bytes:
    raw.settimeout(30)
    received = bytearray()
    while chunk := raw.recv(65_536):
        received += chunk
    return bytes(received)


@pytest.mark.parametrize("channel", ["orders", "trades"])
async def test_who_does_not_read_what_must_not_be_left_out_is_told_and_closed(
    served: Served, monkeypatch: pytest.MonkeyPatch, channel: str
) -> None:
    monkeypatch.setattr(Connection, "grace_seconds", 2.0)
    served.live.orders, served.live.trades = OrderFeed(kept=1_000), TradeFeed(kept=1_000)
    with await served.silent_client("/ws") as raw:
        raw.sendall(masked(b'{"op":"subscribe","channel":"%b"}' % channel.encode()))
        feed: Any = getattr(served.live, channel)
        assert await asyncio.to_thread(wait_until, lambda: len(feed) == 1)
        for sequence in range(1, 60):
            served.live.orders.publish(updates(sequence, 200))
            served.live.trades.publish([("GOLD", b'{"trade":"%d"}' % sequence * 30)] * 200)
            await asyncio.sleep(0)
        received = await asyncio.to_thread(read_to_close, raw)
    told = json.loads(received[received.rindex(b'{"type":"error"') : received.rindex(b"}") + 1])
    assert told["problem"]["code"] == "slow_consumer"
    assert "too slowly" in told["problem"]["detail"]
    closing = received[received.rindex(b"}") + 1 :]
    assert closing[2:4] == (4008).to_bytes(2, "big")
    assert closing[4:].startswith(b"slow_consumer: You read too slowly")


async def test_a_heartbeat_comes_after_what_was_sent_before_it(served: Served) -> None:
    """It says that everything up to its sequence has been sent: also to a client whose connection was full then."""
    with await served.silent_client("/ws") as raw:
        raw.sendall(masked(b'{"op":"subscribe","channel":"trades"}'))
        assert await asyncio.to_thread(wait_until, lambda: len(served.live.trades) == 1)
        for number in range(400):
            served.live.trades.publish([("GOLD", b'{"number":%d,"trade":"%b"}' % (number, b"x" * 1000))])
        [session] = served.live.sessions
        assert not served.connections[0].is_ready()
        session.beat(frame(b'{"type":"heartbeat"}'))
        received = await asyncio.to_thread(read_until, raw, b"heartbeat")
    assert [int(found) for found in re.findall(rb'"number":(\d+)', received)] == list(range(400))


def read_until(raw: socket.socket, word: bytes) -> bytes:
    raw.settimeout(30)
    received = bytearray()
    while word not in received:
        received += raw.recv(65_536)
    return bytes(received[: received.index(word)])


async def test_a_full_connection_is_cut_when_it_does_not_read_its_farewell(served: Served) -> None:
    with await served.silent_client():
        fill(served)
        served.connections[0].goodbye(Farewell(1013, "slow_consumer", "too slow"))
        served.connections[0].goodbye(Farewell(1013, "slow_consumer", "said once only"))
        await served.until(clients=0)


async def test_a_full_connection_that_says_goodbye_itself_is_cut_as_well(served: Served) -> None:
    with await served.silent_client() as raw:
        fill(served)
        raw.sendall(b"\x88\x80\0\0\0\0")
        await served.until(clients=0)


@pytest.mark.parametrize("full", [False, True])
async def test_a_zombie_is_found_by_its_silence(served: Served, full: bool) -> None:
    """It answers no pings, but its socket stays open."""
    with await served.silent_client():
        if full:
            fill(served)
        await served.until(clients=0)


async def test_a_client_that_answers_pings_stays(served: Served) -> None:
    async with websockets.connect(f"ws://127.0.0.1:{served.port}/ws/trades", proxy=None) as client:
        await asyncio.sleep(1)  # five pings
        served.server.dismiss(GOING_AWAY)
        with pytest.raises(websockets.ConnectionClosedOK) as closed:
            await client.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1001, "going away")


async def test_nothing_is_written_to_a_client_that_is_gone(served: Served) -> None:
    with await served.silent_client():
        [connection] = served.connections
    await served.until(clients=0)
    assert not connection.is_ready()
    connection.write(b"nothing")
    connection.goodbye(GOING_AWAY)
    assert not connection.close_sent
