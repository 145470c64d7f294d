"""A crowd of strangers: requests on schedule whether or not earlier ones are answered, at many times what fits.

Like bench.load's open loop, but without a task or a future for each request: what the crowd spends on a refused
request, the exchange cannot spend on an accepted one. Requests and answers are bytes; what is kept of each is when it
was due, how long its answer took from then on, and its status.
"""

import asyncio
import json
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

from bench.client import answer_length
from bench.pace import ticking

NO_ANSWER = 0
"""The status of a request that was given up: not sent in time, or without an answer at the end."""
_TICK_SECONDS = 0.0005
_PATIENCE_SECONDS = 1.0
"""How long a member of the crowd waits for a free connection."""
_LAST_SECONDS = 6.0
"""How long answers are waited for after the last request: longer than the exchange takes to call a result unknown."""


@dataclass(slots=True)
class Tally:
    """What became of each request, by its number."""

    started: float = 0.0
    due: "array[float]" = field(default_factory=lambda: array("d"))
    seconds: "array[float]" = field(default_factory=lambda: array("d"))
    """From when it was due to its answer."""
    status: "array[int]" = field(default_factory=lambda: array("H"))
    answered: int = 0

    def begin(self, due: float) -> int:
        self.due.append(due)
        self.seconds.append(0.0)
        self.status.append(NO_ANSWER)
        return len(self.due) - 1

    def end(self, number: int, status: int) -> None:
        self.seconds[number] = time.perf_counter() - self.due[number]
        self.status[number] = status
        self.answered += 1


Send = Callable[[int, float], None]
"""Sends request `number`, due at a moment of time.perf_counter()."""


async def on_schedule(send: Send, per_second: float, seconds: float) -> None:
    """Call `send` for each request when it is due."""
    count, sent, over = int(per_second * seconds), 0, asyncio.Event()
    started = time.perf_counter()

    def send_what_is_due() -> None:
        nonlocal sent
        due = min(count, 1 + int((time.perf_counter() - started) * per_second))
        for number in range(sent, due):
            send(number, started + number / per_second)
        sent = due
        if sent == count:
            over.set()

    with ticking(_TICK_SECONDS, send_what_is_due):
        await over.wait()


# HTTP


class HttpCrowd:
    """Any number of HTTP clients, over connections that stay open and carry one request at a time."""

    def __init__(self, connections: int) -> None:
        self._count = connections
        self.idle: deque[_HttpConnection] = deque()
        self.waiting: deque[tuple[int, bytes]] = deque()
        self.tally = Tally()
        self.on_answer: Callable[[int, bytes], None] | None = None
        self._all: list[_HttpConnection] = []
        self._in_flight_most: int | None = None
        self._next: Callable[[], bytes] | None = None

    async def open(self, url: str) -> None:
        parts = urlsplit(url)
        loop = asyncio.get_running_loop()
        for _ in range(self._count):
            _, connection = await loop.create_connection(lambda: _HttpConnection(self), parts.hostname, parts.port)
            self._all.append(connection)
            self.idle.append(connection)

    def close(self) -> None:
        for connection in self._all:
            connection.close()

    async def storm(self, requests: Sequence[bytes], per_second: float, seconds: float) -> Tally:
        """Requests on schedule, from the first to the last and over again."""
        self.tally = tally = Tally(time.perf_counter())

        def send(number: int, due: float) -> None:
            self._send(tally.begin(due), requests[number % len(requests)])

        await on_schedule(send, per_second, seconds)
        await self._settled(tally)
        return tally

    async def press(self, requests: Sequence[bytes], in_flight: int, seconds: float) -> Tally:
        """Always so many in flight: what the exchange does when nobody asks for more."""
        self.tally = tally = Tally(time.perf_counter())
        ends = tally.started + seconds

        def send_next() -> None:
            if (now := time.perf_counter()) < ends:
                number = tally.begin(now)
                self._send(number, requests[number % len(requests)])

        self.on_answer = lambda number, answer: send_next()
        for _ in range(in_flight):
            send_next()
        await asyncio.sleep(seconds)
        await self._settled(tally)
        self.on_answer = None
        return tally

    def _send(self, number: int, request: bytes) -> None:
        if self.idle:
            self.idle.pop().send(number, request)
        else:
            self.waiting.append((number, request))

    def done(self, connection: "_HttpConnection", number: int, answer: bytes) -> None:
        self.tally.end(number, int(answer[9:12]))
        if self.on_answer is not None:
            self.on_answer(number, answer)
        too_late = time.perf_counter() - _PATIENCE_SECONDS
        while self.waiting:
            number, request = self.waiting.popleft()
            if self.tally.due[number] >= too_late:
                connection.send(number, request)
                return
            self.tally.answered += 1  # given up
        self.idle.append(connection)

    def lost(self, number: int | None) -> None:
        if number is not None:
            self.tally.answered += 1

    async def _settled(self, tally: Tally) -> None:
        deadline = time.perf_counter() + _LAST_SECONDS
        while tally.answered < len(tally.due) and time.perf_counter() < deadline:
            await asyncio.sleep(0.01)


class _HttpConnection(asyncio.Protocol):
    def __init__(self, crowd: HttpCrowd) -> None:
        self._crowd = crowd
        self._received = b""
        self._number: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not instances of it

    def send(self, number: int, request: bytes) -> None:
        self._number = number
        self._transport.write(request)

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        if (length := answer_length(received)) is None or len(received) < length:
            self._received = received
            return
        self._received = b""
        number, self._number = self._number, None
        if number is not None:
            self._crowd.done(self, number, received)

    def connection_lost(self, error: Exception | None) -> None:
        self._crowd.lost(self._number)
        self._number = None


# NATS


class NatsCrowd:
    """Requests over one connection to NATS, any number at once. `status` reads an answer: head, headers, content."""

    def __init__(self, status: Callable[[bytes, bytes], int]) -> None:
        self.tally = Tally()
        self._status = status
        self._numbers: dict[bytes, int] = {}
        self._press: Callable[[], None] | None = None
        self._generation = 0

    async def open(self, url: str) -> None:
        parts = urlsplit(url)
        loop = asyncio.get_running_loop()
        self._inbox = f"_INBOX_{parts.username or 'crowd'}.crowd{time.perf_counter_ns()}".encode()
        transport, self._protocol = await loop.create_connection(lambda: _NatsConnection(self), parts.hostname, parts.port)
        self._transport = cast(asyncio.Transport, transport)
        login = {"verbose": False, "headers": True, "no_responders": True}
        if parts.username:
            login |= {"user": parts.username, "pass": parts.password or ""}
        words = [b"CONNECT " + json.dumps(login).encode(), b"SUB " + self._inbox + b".* 1", b"PING", b""]
        self._transport.write(b"\r\n".join(words))
        await asyncio.wait_for(self._protocol.ready.wait(), 5)

    def close(self) -> None:
        self._transport.close()

    def pong(self) -> None:
        self._transport.write(b"PONG\r\n")

    async def storm(self, subject: str, payloads: Sequence[bytes], per_second: float, seconds: float) -> Tally:
        """Requests on schedule, from the first payload to the last and over again."""
        send = self._begin(subject, payloads)
        await on_schedule(send, per_second, seconds)
        await self._settled()
        return self.tally

    async def press(self, subject: str, payloads: Sequence[bytes], in_flight: int, seconds: float) -> Tally:
        """Always so many in flight."""
        send = self._begin(subject, payloads)
        ends = time.perf_counter() + seconds

        def send_next() -> None:
            if (now := time.perf_counter()) < ends:
                send(len(self.tally.due), now)

        self._press = send_next
        for _ in range(in_flight):
            send_next()
        await asyncio.sleep(seconds)
        await self._settled()
        self._press = None
        return self.tally

    def _begin(self, subject: str, payloads: Sequence[bytes]) -> Send:
        self.tally = tally = Tally(time.perf_counter())
        self._generation += 1
        prefix = b"%s.%d-" % (self._inbox, self._generation)
        head = b"PUB %s %s" % (subject.encode(), prefix)
        write, count = self._transport.write, len(payloads)
        self._prefix = len(prefix)
        self._marker = prefix

        def send(number: int, due: float) -> None:
            payload = payloads[number % count]
            write(b"%s%d %d\r\n%s\r\n" % (head, tally.begin(due), len(payload), payload))

        return send

    def on_message(self, subject: bytes, headers: bytes, content: bytes) -> None:
        if subject.startswith(self._marker):
            self.tally.end(int(subject[self._prefix :]), self._status(headers, content))
            if self._press is not None:
                self._press()

    async def _settled(self) -> None:
        deadline = time.perf_counter() + _LAST_SECONDS
        while self.tally.answered < len(self.tally.due) and time.perf_counter() < deadline:
            await asyncio.sleep(0.01)


class _NatsConnection(asyncio.Protocol):
    """As much of the NATS protocol as answers need."""

    def __init__(self, crowd: NatsCrowd) -> None:
        self._crowd = crowd
        self._received = b""
        self.ready = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        at = 0
        while (end := received.find(b"\r\n", at)) >= 0:
            words = received[at:end].split(b" ")
            verb = words[0]
            if verb in (b"MSG", b"HMSG"):
                body, length = end + 2, int(words[-1])
                if len(received) < body + length + 2:
                    break
                head = int(words[-2]) if verb == b"HMSG" else 0
                self._crowd.on_message(
                    words[1], received[body : body + head], received[body + head : body + length]
                )
                at = body + length + 2
                continue
            if verb == b"PING":
                self._crowd.pong()
            elif verb == b"PONG":
                self.ready.set()
            elif verb == b"-ERR":
                raise ConnectionError(received[at:end].decode(errors="replace"))
            at = end + 2
        self._received = received[at:]
