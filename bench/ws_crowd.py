"""A crowd that places its orders over WebSocket, and those who only listen there."""

import asyncio
import re
from collections.abc import Sequence
from typing import cast
from urllib.parse import urlsplit

from bench.client import WrongAnswer, frame_bounds, text_frame
from bench.crowd import Crowd

_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 0x8A
_STATUS = re.compile(rb'"status":([0-9]{3})\b')
_HANDSHAKE_SECONDS = 10.0


class WebSocketCrowd(Crowd):
    """Requests over a number of connections to /ws, in turn, any number of them in flight."""

    def __init__(self) -> None:
        super().__init__()
        self._all: list[_Connection] = []

    async def open(self, url: str, connections: int) -> None:
        for _ in range(connections):
            self._all.append(await connected(url, self))

    def close(self) -> None:
        for each in self._all:
            each.close()

    def send(self, number: int, payload: bytes) -> None:
        """`payload` is the request's JSON from behind its id on."""
        self._all[number % len(self._all)].send(number, payload)

    def on_text(self, text: bytes) -> None:
        if text.startswith(b'{"id":'):
            number = int(text[6 : text.index(b",")])
            self.answered(number, _status(text), text)


def _status(text: bytes) -> int:
    """As REST would have it."""
    if b'"type":"error"' not in text[:64]:
        return 200
    found = _STATUS.search(text)
    return int(found[1]) if found else 500


class Listener:
    """One who subscribes and listens. `received`: bytes of all messages; `lost`: why it was cut off, if it was."""

    def __init__(self) -> None:
        self.received = 0
        self.lost: str | None = None
        self._connection: _Connection | None = None

    async def open(self, url: str, subscriptions: Sequence[bytes]) -> None:
        """Each subscription is the request's JSON from behind its id on."""
        self._connection = await connected(url, self)
        for number, each in enumerate(subscriptions):
            self._connection.send(number, each)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def on_text(self, text: bytes) -> None:
        self.received += len(text)
        if text.startswith(b'{"id":') and b'"type":"error"' in text:
            raise WrongAnswer(f"not subscribed: {text[:500]!r}")


async def connected(url: str, owner: "WebSocketCrowd | Listener") -> "_Connection":
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    host = parts.hostname
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(lambda: _Connection(owner, host), host, parts.port)
    await asyncio.wait_for(connection.opened, _HANDSHAKE_SECONDS)
    return connection


class _Connection(asyncio.Protocol):
    def __init__(self, owner: WebSocketCrowd | Listener, host: str) -> None:
        self._owner = owner
        self._host = host
        self._received = b""
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not instances of it
        self._transport.write(
            b"GET /ws HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: cHJpY2V0aW1lYmVuY2htIQ==\r\n\r\n" % self._host.encode()
        )

    def send(self, number: int, payload: bytes) -> None:
        self._transport.write(text_frame(b'{"id":%d,%b' % (number, payload)))

    def close(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        at = 0 if self.opened.done() else self._head_length(received)
        while self.opened.done() and (bounds := frame_bounds(received, at)) is not None:
            self._on_frame(received[at] & 0x0F, received[bounds[0] : bounds[1]])
            at = bounds[1]
        self._received = received[at:]

    def _head_length(self, received: bytes) -> int:
        """Of the answer to the handshake; 0 while it has not come in whole."""
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return 0
        if received.startswith(b"HTTP/1.1 101 "):
            self.opened.set_result(None)
        else:
            self.opened.set_exception(WrongAnswer(f"no WebSocket: {received[:200]!r}"))
        return end + 4

    def _on_frame(self, opcode: int, payload: bytes) -> None:
        if opcode == _TEXT:
            self._owner.on_text(payload)
        elif opcode == _PING:
            self._transport.write(bytes((_PONG, 0x80 | len(payload), 0, 0, 0, 0)) + payload)
        elif opcode == _CLOSE and isinstance(self._owner, Listener):
            self._owner.lost = f"the server said {payload[:200]!r}"

    def connection_lost(self, error: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(WrongAnswer(f"the connection was closed ({error or 'by the server'})"))
        if isinstance(self._owner, Listener) and self._owner.lost is None:
            self._owner.lost = f"the connection was closed ({error or 'by the server'})"
