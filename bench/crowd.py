"""A crowd of strangers: requests on schedule whether or not earlier ones are answered, many times more than fit.

Like bench.load's open loop, but without a task or a future for each request: what the crowd spends on a refused
request, the exchange cannot spend on an accepted one. Requests and answers are bytes; what is kept of each is when it
was due, how long its answer took from then on, and its status.
"""

import asyncio
import json
import re
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

from bench.client import answer_length
from bench.pace import ticking

NO_ANSWER = 0
"""The status of a request that was sent and had no answer at the end."""
NOT_SENT = 1
"""The status of a request that the crowd itself gave up: none of its connections was free in time."""
_TICK_SECONDS = 0.0005
_PATIENCE_SECONDS = 1.0
"""How long a member of the crowd waits for a free connection."""
_LAST_SECONDS = 6.0
"""How long answers are waited for at the end: longer than the exchange takes to call a result unknown."""

OnAnswer = Callable[[int, bytes], None]
"""Is told the number of a request, and its answer."""


@dataclass(slots=True)
class Tally:
    """What became of each request, by its number. Times are those of time.perf_counter()."""

    due: "array[float]" = field(default_factory=lambda: array("d"))
    seconds: "array[float]" = field(default_factory=lambda: array("d"))
    """From when it was due to its answer."""
    waited: "array[float]" = field(default_factory=lambda: array("d"))
    """From when it was due until a connection was free for it; 0 where one was."""
    status: "array[int]" = field(default_factory=lambda: array("H"))
    settled: int = 0

    def begin(self, due: float) -> int:
        self.due.append(due)
        self.seconds.append(0.0)
        self.waited.append(0.0)
        self.status.append(NO_ANSWER)
        return len(self.due) - 1

    def end(self, number: int, status: int) -> None:
        self.seconds[number] = time.perf_counter() - self.due[number]
        self.status[number] = status
        self.settled += 1

    def not_sent(self, number: int) -> None:
        self.status[number] = NOT_SENT
        self.settled += 1

    def unanswered(self) -> None:
        self.settled += 1


class Crowd:
    """What HTTP and NATS have in common. `tally` goes on over any number of storms."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.on_answer: OnAnswer | None = None

    def send(self, number: int, payload: bytes) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def answered(self, number: int, status: int, answer: bytes) -> None:
        self.tally.end(number, status)
        if self.on_answer is not None:
            self.on_answer(number, answer)

    async def storm(self, payloads: Sequence[bytes], per_second: float, seconds: float) -> range:
        """Requests on schedule, from the first payload to the last and over again. Returns their numbers."""
        first, count, over = len(self.tally.due), int(per_second * seconds), asyncio.Event()
        sent, started = 0, time.perf_counter()

        def send_what_is_due() -> None:
            nonlocal sent
            due = min(count, 1 + int((time.perf_counter() - started) * per_second))
            for number in range(sent, due):
                self.send(self.tally.begin(started + number / per_second), payloads[number % len(payloads)])
            sent = due
            if sent == count:
                over.set()

        with ticking(_TICK_SECONDS, send_what_is_due):
            await over.wait()
        return range(first, first + count)

    async def press(self, payloads: Sequence[bytes], in_flight: int, seconds: float) -> range:
        """Always so many in flight, which is what the exchange does when nobody asks for more."""
        first, ends, before = len(self.tally.due), time.perf_counter() + seconds, self.on_answer

        def send_next(number: int = 0, answer: bytes = b"") -> None:
            if (now := time.perf_counter()) < ends:
                self.send(self.tally.begin(now), payloads[(len(self.tally.due) - first) % len(payloads)])

        self.on_answer = send_next
        for _ in range(in_flight):
            send_next()
        await asyncio.sleep(seconds)
        self.on_answer = before
        await self.settle()
        return range(first, len(self.tally.due))

    async def settle(self) -> None:
        """Return when everything is answered, or when no answer can be expected any more."""
        deadline = time.perf_counter() + _LAST_SECONDS
        while self.tally.settled < len(self.tally.due) and time.perf_counter() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


# HTTP


class HttpCrowd(Crowd):
    """HTTP clients on connections that stay open and carry one request at a time."""

    def __init__(self, connections: int) -> None:
        super().__init__()
        self._count = connections
        self._idle: deque[_HttpConnection] = deque()
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._all: list[_HttpConnection] = []

    async def open(self, url: str) -> None:
        host, port = _address(url)
        loop = asyncio.get_running_loop()
        for _ in range(self._count):
            _, connection = await loop.create_connection(lambda: _HttpConnection(self), host, port)
            self._all.append(connection)
            self._idle.append(connection)

    def close(self) -> None:
        for connection in self._all:
            connection.close()

    def send(self, number: int, payload: bytes) -> None:
        while self._idle:
            connection = self._idle.popleft()  # in turn: one that is left alone for long is closed by the server
            if connection.is_open:
                connection.send(number, payload)
                return
        self._waiting.append((number, payload))

    async def settle(self) -> None:
        await super().settle()
        while self._waiting:
            self.tally.not_sent(self._waiting.popleft()[0])

    def free(self, connection: "_HttpConnection") -> None:
        now = time.perf_counter()
        while self._waiting:
            number, payload = self._waiting.popleft()
            waited = now - self.tally.due[number]
            if waited <= _PATIENCE_SECONDS:
                self.tally.waited[number] = waited
                connection.send(number, payload)
                return
            self.tally.not_sent(number)
        self._idle.append(connection)


class _HttpConnection(asyncio.Protocol):
    def __init__(self, crowd: HttpCrowd) -> None:
        self._crowd = crowd
        self._received = b""
        self._number: int | None = None
        self.is_open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not instances of it

    def send(self, number: int, payload: bytes) -> None:
        self._number = number
        self._transport.write(payload)

    def close(self) -> None:
        self._number = None
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        if (length := answer_length(received)) is None or len(received) < length:
            self._received = received
            return
        self._received = b""
        number, self._number = self._number, None
        if number is not None:
            self._crowd.answered(number, int(received[9:12]), received)
            self._crowd.free(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        if self._number is not None:
            self._crowd.tally.unanswered()


# NATS


_ERROR_CODE = re.compile(rb"\r\nNats-Service-Error-Code: *([0-9]{3})|^NATS/1.0 ([0-9]{3})")


class NatsCrowd(Crowd):
    """Requests to one subject over one connection, any number at once."""

    def __init__(self, subject: str) -> None:
        super().__init__()
        self._subject = subject.encode()

    async def open(self, url: str) -> None:
        parts = urlsplit(url)
        inbox = f"_INBOX_{parts.username or 'crowd'}.crowd{time.perf_counter_ns()}.".encode()
        self._inbox, self._prefix = inbox, len(inbox)
        loop = asyncio.get_running_loop()
        self._transport, protocol = await loop.create_connection(lambda: _NatsConnection(self), *_address(url))
        login: dict[str, object] = {"verbose": False, "headers": True, "no_responders": True}
        if parts.username:
            login |= {"user": parts.username, "pass": parts.password or ""}
        words = [b"CONNECT " + json.dumps(login).encode(), b"SUB %b* 1" % inbox, b"PING", b""]
        self._transport.write(b"\r\n".join(words))
        await asyncio.wait_for(protocol.ready.wait(), 5)

    def close(self) -> None:
        self._transport.close()

    def pong(self) -> None:
        self._transport.write(b"PONG\r\n")

    def send(self, number: int, payload: bytes) -> None:
        head = b"PUB %b %b%d %d\r\n" % (self._subject, self._inbox, number, len(payload))
        self._transport.write(b"%b%b\r\n" % (head, payload))

    def on_message(self, subject: bytes, headers: bytes, content: bytes) -> None:
        found = _ERROR_CODE.search(headers) if headers else None
        status = 200 if found is None else int(found[1] or found[2])
        self.answered(int(subject[self._prefix :]), status, content)


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
            after = self._on_line(received[at:end].split(b" "), received, end + 2)
            if after < 0:
                break
            at = after
        self._received = received[at:]

    def _on_line(self, words: list[bytes], received: bytes, at: int) -> int:
        """Where the next line begins; -1 if this one's message has not come in whole."""
        match words[0]:
            case b"MSG" | b"HMSG":
                content = at + (int(words[-2]) if words[0] == b"HMSG" else 0)
                end = at + int(words[-1])
                if len(received) < end + 2:
                    return -1
                self._crowd.on_message(words[1], received[at:content], received[content:end])
                return end + 2
            case b"PING":
                self._crowd.pong()
            case b"PONG":
                self.ready.set()
            case b"-ERR":
                raise ConnectionError(b" ".join(words).decode(errors="replace"))
        return at
