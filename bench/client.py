"""Clients that cost little, so that the machine's time goes to what is measured. The same ones drive the floors."""

import asyncio
from collections import deque
from typing import cast

from nats.aio.client import Client
from nats.aio.msg import Msg


class WrongAnswer(Exception):
    """A request was not answered as it must be. Nothing that is refused may count as work done."""


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
        loop = asyncio.get_running_loop()
        for _ in range(self._count):
            _, connection = await loop.create_connection(_HttpConnection, host, port)
            self._all.append(connection)
            self._idle.append(connection)

    def close(self) -> None:
        for connection in self._all:
            connection.close()

    async def ask(self, request: bytes) -> bytes:
        """The whole answer, head and body. Waits for a connection when all are in use."""
        connection = self._idle.pop() if self._idle else await self._next_idle()
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
