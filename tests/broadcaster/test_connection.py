"""Connections that do not behave, against the server in this process."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import websockets

from broadcaster import server as server_module
from broadcaster.application import Application
from broadcaster.connection import Connection
from broadcaster.feed import GOING_AWAY, Farewell
from broadcaster.live import Live
from broadcaster.server import BroadcastServer, create_server
from tests.support.servers import wait_until

pytestmark = pytest.mark.stack

HANDSHAKE = (
    b"GET /ws/trades HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


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

    async def silent_client(self) -> socket.socket:
        """Connected, and never reading again."""
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(("127.0.0.1", self.port))
        raw.sendall(HANDSHAKE)
        await self.until(clients=1)
        return raw


@pytest.fixture
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    monkeypatch.setattr(Connection, "grace_seconds", 0.2)
    monkeypatch.setattr(server_module, "_PING_SECONDS", 0.2)
    live = Live()
    live.open()
    server = create_server(Application(live, "BTC-USD", lambda: asyncio.sleep(0)))
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
