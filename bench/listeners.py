"""WebSocket clients that only listen: many of them in one process, each as cheap as it can be.

They count bytes and note when enough have come. The first one keeps what it was sent, so that it can be compared.
"""

import asyncio
import time
from typing import cast
from urllib.parse import urlsplit

from bench.client import WrongAnswer

_AT_ONCE = 50
"""Handshakes that are under way: more would fill the queue of the listening socket."""
_HANDSHAKE_SECONDS = 30.0


class Listeners:
    """`latencies` of each round: seconds from its begin until a client had all of it, one for each client."""

    def __init__(self, url: str, path: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._address = parts.hostname, parts.port
        self._path = path
        self._clients: list[_Listener] = []
        self.latencies: list[float] = []
        self.wanted = 0
        self._begun = 0.0
        self._left = 0
        self._all = asyncio.Event()

    async def open(self, count: int) -> None:
        for begin in range(0, count, _AT_ONCE):
            await asyncio.gather(*(self._connect() for _ in range(begin, min(count, begin + _AT_ONCE))))
        self._clients[0].kept = []

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: _Listener(self), *self._address)
        self._clients.append(client)
        async with asyncio.timeout(_HANDSHAKE_SECONDS):
            await client.shake_hands(self._address[0], self._path)

    def close(self) -> None:
        for client in self._clients:
            client.close()

    @property
    def count(self) -> int:
        return len(self._clients)

    def begin(self, wanted: int) -> None:
        """From now on each is to receive so many bytes; `finish` waits for it."""
        self.wanted = wanted
        self.latencies = []
        self._left = len(self._clients)
        self._all.clear()
        for client in self._clients:
            client.received = 0
        if (kept := self._clients[0].kept) is not None:
            kept.clear()
        self._begun = time.perf_counter()

    async def finish(self, seconds: float) -> float:
        """Seconds from the begin until the last one had everything."""
        async with asyncio.timeout(seconds):
            await self._all.wait()
        if too_much := [client.received for client in self._clients if client.received != self.wanted]:
            raise WrongAnswer(f"{too_much[0]} bytes were sent where {self.wanted} must be")
        return max(self.latencies)

    @property
    def received(self) -> bytes:
        """What the first one was sent since the begin."""
        return b"".join(self._clients[0].kept or ())

    def on_enough(self) -> None:
        self.latencies.append(time.perf_counter() - self._begun)
        self._left -= 1
        if not self._left:
            self._all.set()


class _Listener(asyncio.Protocol):
    def __init__(self, crowd: Listeners) -> None:
        self._crowd = crowd
        self._head = b""
        self._accepted: asyncio.Future[None] | None = None
        self.received = 0
        self.kept: list[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not instances of it

    async def shake_hands(self, host: str, path: str) -> None:
        """Raises WrongAnswer when the server does not take it as a client."""
        self._accepted = asyncio.get_running_loop().create_future()
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {host}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ]
        self._transport.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await self._accepted

    def close(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._accepted is not None:
            self._on_head(self._accepted, data)
            return
        before, self.received = self.received, self.received + len(data)
        if self.kept is not None:
            self.kept.append(data)
        if before < self._crowd.wanted <= self.received:
            self._crowd.on_enough()

    def _on_head(self, accepted: "asyncio.Future[None]", data: bytes) -> None:
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return
        self._accepted = None
        if self._head.startswith(b"HTTP/1.1 101 "):
            accepted.set_result(None)
        else:
            accepted.set_exception(WrongAnswer(f"not taken as a client: {self._head[:500]!r}"))
        if after := self._head[end + 4 :]:
            self.data_received(after)

    def connection_lost(self, error: Exception | None) -> None:
        if self._accepted is not None and not self._accepted.done():
            self._accepted.set_exception(WrongAnswer(f"the connection was closed ({error or 'by the server'})"))
