"""A crowd that places its orders over WebSocket, and those who only listen there."""

import asyncio
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from bench.crowd import Crowd
from bench.frames import FrameConnection, WrongAnswer

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


class _Connection(FrameConnection):
    def __init__(self, owner: WebSocketCrowd | Listener, host: str) -> None:
        super().__init__(host)
        self._owner = owner

    def send(self, number: int, payload: bytes) -> None:
        self.send_text(b'{"id":%d,%b' % (number, payload))

    def close(self) -> None:
        self.transport.abort()

    def on_text(self, payload: bytes) -> None:
        self._owner.on_text(payload)

    def on_end(self, why: str) -> None:
        if isinstance(self._owner, Listener) and self._owner.lost is None:
            self._owner.lost = why
