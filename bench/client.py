"""Clients that cost little, so that the machine's time goes to what is measured. The same ones drive the floors."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import cast

from nats.aio.client import Client
from nats.aio.msg import Msg

from bench.frames import FrameConnection, WrongAnswer

__all__ = ["HttpPool", "NatsAsker", "WebSocketPool", "WrongAnswer", "answer_length", "post_request"]


class NatsAsker:
    """Request and reply on an inbox of its own: nats-py's `request` costs about three times as much."""

    def __init__(self, connection: Client) -> None:
        self._connection = connection
        self._inbox = connection.new_inbox()
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        self._asked = 0

    async def start(self) -> None:
        await self._connection.subscribe(f"{self._inbox}.*", cb=self._on_answer, pending_bytes_limit=-1)

    async def ask(self, subject: str, payload: bytes) -> bytes:
        self._asked += 1
        inbox = f"{self._inbox}.{self._asked}"
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[inbox] = answer
        await self._connection.publish(subject, payload, reply=inbox)
        return await answer

    async def _on_answer(self, message: Msg) -> None:
        answer = self._waiting.pop(message.subject)
        if answer.done():
            return
        if message.headers:
            answer.set_exception(WrongAnswer(f"nobody takes the request: {message.headers}"))
        else:
            answer.set_result(message.data)


class HttpPool:
    """HTTP/1.1 over a fixed number of connections that stay open. Requests come ready made, as bytes."""

    def __init__(self, connections: int) -> None:
        self._count = connections
        self._idle: deque[_HttpConnection] = deque()
        self._wanted: deque[asyncio.Future[_HttpConnection]] = deque()
        self._all: list[_HttpConnection] = []

    async def open(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        for _ in range(self._count):
            self._idle.append(await self._connect())

    async def _connect(self) -> "_HttpConnection":
        _, connection = await asyncio.get_running_loop().create_connection(_HttpConnection, self._host, self._port)
        self._all.append(connection)
        return connection

    @property
    def is_closed(self) -> bool:
        return all(connection.is_closed for connection in self._all)

    def close(self) -> None:
        for connection in self._all:
            connection.close()

    async def ask(self, request: bytes) -> bytes:
        """The whole answer, head and body. Waits for a connection when all are in use."""
        connection = self._idle.pop() if self._idle else await self._next_idle()
        if connection.is_closed:  # servers close what has said nothing for a while
            connection = await self._connect()
        answer = await connection.ask(request)
        self._give_back(connection)
        return answer

    async def _next_idle(self) -> "_HttpConnection":
        wanted: asyncio.Future[_HttpConnection] = asyncio.get_running_loop().create_future()
        self._wanted.append(wanted)
        return await wanted

    def _give_back(self, connection: "_HttpConnection") -> None:
        while self._wanted:
            wanted = self._wanted.popleft()
            if not wanted.done():
                wanted.set_result(connection)
                return
        self._idle.append(connection)


class _HttpConnection(asyncio.Protocol):
    """One request at a time. Understands answers with a Content-Length, which is all that our servers send."""

    def __init__(self) -> None:
        self._received = b""
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not instances of it

    @property
    def is_closed(self) -> bool:
        return self._transport.is_closing()

    async def ask(self, request: bytes) -> bytes:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if (length := answer_length(self._received)) is None or len(self._received) < length:
            return
        answer, self._received = self._received[:length], self._received[length:]
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(WrongAnswer(f"the connection was closed ({error or 'by the server'})"))


def answer_length(received: bytes) -> int | None:
    """How many bytes the first answer in `received` has; None while its head is not complete."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = received[:end].lower()
    start = head.find(b"\r\ncontent-length:")
    if start < 0:
        raise WrongAnswer(f"an answer without a length: {received[:200]!r}")
    value = head[start + 17 :].split(b"\r\n", 1)[0]
    return end + 4 + int(value)


def post_request(path: str, host: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


class WebSocketPool:
    """Requests over a fixed number of WebSocket connections, each with any number of them in flight, in turn."""

    def __init__(self, connections: "Sequence[_WebSocketConnection]" = ()) -> None:
        self._all = list(connections)
        self._asked = 0

    async def open(self, host: str, port: int, count: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(count):
            _, connection = await loop.create_connection(lambda: _WebSocketConnection(host), host, port)
            self._all.append(connection)
            await connection.opened

    def close(self) -> None:
        for connection in self._all:
            connection.close()

    def first(self, count: int) -> "WebSocketPool":
        """The first so many of its connections."""
        return WebSocketPool(self._all[:count])

    async def ask(self, fields: bytes) -> bytes:
        """`fields` is the request's JSON from behind its id on: `"op":"ping"}`."""
        self._asked += 1
        return await self._all[self._asked % len(self._all)].ask(fields)


class _WebSocketConnection(FrameConnection):
    """JSON in both directions; answers are known by the id that they begin with."""

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self._asked = 0
        self._answers: dict[bytes, asyncio.Future[bytes]] = {}

    async def ask(self, fields: bytes) -> bytes:
        self._asked += 1
        request_id = b"%d" % self._asked
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._answers[request_id] = answer
        self.send_text(b'{"id":' + request_id + b"," + fields)
        return await answer

    def close(self) -> None:
        self.transport.close()

    def on_text(self, payload: bytes) -> None:
        if payload.startswith(b'{"id":'):
            answer = self._answers.pop(payload[6 : payload.index(b",")])
            if not answer.done():
                answer.set_result(payload)
        elif b'"type":"error"' in payload:
            self.on_end(f"the server said {payload[:500]!r}")

    def on_end(self, why: str) -> None:
        for each in self._answers.values():
            if not each.done():
                each.set_exception(WrongAnswer(why))
