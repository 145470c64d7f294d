"""Whose pages may open a WebSocket, how many there may be, and TLS: against the server in this process."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import websockets

from broadcaster.access import Doorkeeper, Presented
from broadcaster.application import Application
from broadcaster.live import Live
from broadcaster.server import create_server, limits
from broadcaster.session import Counter, Limits
from contracts.keys import OPEN, Access
from entry.origins import Origins
from runtime import server as server_module
from runtime.settings import Settings
from runtime.tls import server_context
from tests.support.certificates import Authority

pytestmark = pytest.mark.stack

PATHS = ("/ws", "/ws/trades", "/ws/orderbook?symbol=BTC-USD")
EVIL = "https://evil.example.com"
ANNA = "203.0.113.7"
SECONDS = 60


class Door(Doorkeeper):
    """Open until there are keys."""

    is_open = True

    def __init__(self) -> None:
        pass

    def admit(self, presented: Presented) -> Access:
        return OPEN

    def is_good(self, access: Access) -> bool:
        return True


@dataclass
class Served:
    port: int
    door: Door
    application: Application
    tls: ssl.SSLContext | None = None

    def client(self, path: str, **options: Any) -> websockets.connect:
        scheme = "wss" if "ssl" in options else "ws"
        return websockets.connect(f"{scheme}://127.0.0.1:{self.port}{path}", proxy=None, **options)

    async def refusal(self, path: str, **options: Any) -> tuple[int, str]:
        """Status and code of a handshake that must be refused."""
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with self.client(path, **options):
                pass
        response = refused.value.response
        return response.status_code, json.loads(bytes(response.body or b""))["code"]


@asynccontextmanager
async def serving(*, counter: bool = True, **settings: Any) -> AsyncIterator[Served]:
    given = Settings(**settings)
    live, door, nobody = Live(), Door(), None
    live.open()
    live.caught_up.set()
    origins = Origins(given.allowed_hosts, given.cors_origins)
    application = Application(live, "BTC-USD", lambda: asyncio.sleep(0), origins)
    if counter:
        trading: Any = nobody
        application.open_counter(Counter(trading, door, Limits(10, 100)))
    server = create_server(application, tls=server_context(given), limits=limits(given))
    listening = socket.create_server(("127.0.0.1", 0))
    running = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield Served(listening.getsockname()[1], door, application)
    finally:
        server.should_exit = True
        await running


@pytest.mark.parametrize("path", PATHS)
async def test_a_page_of_another_site_gets_no_socket(path: str) -> None:
    """A browser asks nobody before it opens one."""
    async with serving() as served:
        for origin in (EVIL, "null", "http://localhost:8000"):
            assert await served.refusal(path, origin=origin) == (403, "origin_not_allowed")
        served.door.is_open = False
        with suppress(websockets.ConnectionClosed):
            async with served.client(path, origin=EVIL) as client:  # where it needs a key for all but market data
                await client.ping()


async def test_pages_of_this_host_and_programs_do() -> None:
    async with serving(cors_origins="https://desk.example.com") as served:
        for origin in (None, "http://127.0.0.1:8000", f"http://127.0.0.1:{served.port}", "https://desk.example.com"):
            async with served.client("/ws", origin=origin) as client:
                await client.send('{"op":"ping"}')
                assert json.loads(await client.recv())["type"] == "pong"


async def test_a_name_pointed_at_this_machine_gets_no_socket() -> None:
    async with serving() as served:
        evil = f"evil.example.com:{served.port}"
        for path in PATHS:
            with pytest.raises(websockets.InvalidStatus) as refused:
                async with websockets.connect(
                    f"ws://{evil}{path}", host="127.0.0.1", port=served.port, proxy=None, origin=f"http://{evil}"
                ):
                    pass
            assert refused.value.response.status_code == 421


async def test_before_the_keys_have_been_read_nobody_foreign_comes_in() -> None:
    async with serving(counter=False) as served:
        served.door.is_open = False
        assert await served.refusal("/ws/trades", origin=EVIL) == (403, "origin_not_allowed")


async def test_answers_over_http_say_how_they_may_be_used() -> None:
    async with serving() as served:
        head = (
            await answer_to(served.port, b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        ).lower()
        assert b"\r\nx-content-type-options: nosniff\r\n" in head
        assert b"\r\ncross-origin-resource-policy: same-origin\r\n" in head


async def answer_to(port: int, said: bytes) -> bytes:
    """All that comes until the server ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(said)
        async with asyncio.timeout(SECONDS):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_one_socket_too_many_is_told_so() -> None:
    async with serving(ws_connections=2) as served:
        async with served.client("/ws"), served.client("/ws/trades") as second:
            refusal = await answer_to(served.port, b"")
            assert refusal.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1\r\n" in refusal
            assert b'"code":"too_many_connections"' in refusal
            await second.ping()
        async with asyncio.timeout(SECONDS):
            while True:  # until it is noticed that both have gone
                with suppress(websockets.InvalidHandshake, websockets.ConnectionClosed, ConnectionError):
                    async with served.client("/ws"):
                        break


async def test_one_address_does_not_take_all() -> None:
    async with serving(connections_per_address=1) as served, served.client("/ws"):
        assert b"too_many_connections" in await answer_to(served.port, b"")


async def test_behind_a_proxy_each_client_has_as_many_as_one_may_have() -> None:
    """The connections are the proxy's; a WebSocket is one client's for as long as it lasts."""
    async with serving(connections_per_address=1, trusted_proxies="127.0.0.1,10.0.0.1") as served:
        async with served.client("/ws", additional_headers=forwarded(ANNA)) as first:
            for said in (ANNA, f"{ANNA}:4711", f"198.51.100.1, {ANNA}", f"garbage, {ANNA}, 10.0.0.1"):
                refused = await served.refusal("/ws/trades", additional_headers=forwarded(said))
                assert refused == (503, "too_many_connections")
            async with served.client("/ws", additional_headers=forwarded("2001:db8::7")) as second:
                await second.ping()
            await first.ping()
        async with asyncio.timeout(SECONDS):
            while True:  # until it is noticed that the first has gone
                with suppress(websockets.InvalidHandshake, websockets.ConnectionClosed, ConnectionError):
                    async with served.client("/ws", additional_headers=forwarded(ANNA)):
                        break


async def test_who_is_no_proxy_has_one_address_whatever_he_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")  # uvicorn's own switch
    clients = []

    async def noted(self: Application, scope: Any, *rest: Any) -> None:
        clients.append(scope["client"][0])
        await serve(self, scope, *rest)

    serve = Application.__call__
    monkeypatch.setattr(Application, "__call__", noted)
    for trusted in ("", "10.0.0.1", "127.0.0.1"):
        async with (
            serving(trusted_proxies=trusted) as served,
            served.client("/ws", additional_headers=forwarded(ANNA)) as client,
        ):
            await client.ping()
    assert clients == ["127.0.0.1", "127.0.0.1", ANNA]


def forwarded(said: str) -> dict[str, str]:
    return {"X-Forwarded-For": said}


async def test_half_a_handshake_is_cut_off_and_a_socket_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_LOOK_EVERY", 1)
    async with serving(request_seconds=0.3) as served, served.client("/ws/trades") as silent:
        for said in (b"", b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: webso"):
            assert await answer_to(served.port, said) == b""
        await silent.ping()  # one that has nothing to say has been there longer


async def test_wss(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    shown = authority.issue("127.0.0.1")
    late = authority.issue("127.0.0.1", expired=True)
    trusted = ssl.create_default_context(cafile=authority.file)
    async with serving(tls_cert=shown.cert, tls_key=shown.key) as served:
        async with served.client("/ws", ssl=trusted) as client:
            await client.send('{"op":"ping"}')
            assert json.loads(await client.recv())["type"] == "pong"
        with pytest.raises(ssl.SSLCertVerificationError):
            async with served.client("/ws", ssl=ssl.create_default_context(cafile=stranger.file)):
                pass
        assert await answer_to(served.port, b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n") == b""
    async with serving(tls_cert=late.cert, tls_key=late.key) as served:
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
            async with served.client("/ws", ssl=trusted):
                pass
