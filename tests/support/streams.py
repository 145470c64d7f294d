"""A client of /ws for tests. Every frame that it sends or gets is held against the AsyncAPI document.

async with exchange.client() as client:
    answer = await client.request("subscribe", channel="book", symbol="BTC-USD")
    snapshot = await client.data("book")
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jsonschema_rs
import websockets

from broadcaster.asyncapi import ANSWERS, DATA, REQUESTS, document
from contracts.messages import ClientCommand, DefineInstrument, Outcome
from tests.support.broadcaster_service import BroadcasterService
from tests.support.matchers import Matchers, client_of
from tests.support.servers import NatsServer, start_nats, temporary_folder

DOCUMENT = json.loads(json.dumps(document("test")))
SECONDS = 60.0


@cache
def validator(schema: str) -> Any:
    return jsonschema_rs.validator_for(
        {"$ref": f"#/components/schemas/{schema}", "components": DOCUMENT["components"]},
        validate_formats=True,
    )


def check(schema: str, content: object) -> None:
    """Raises jsonschema_rs.ValidationError."""
    validator(schema).validate(content)


def _constants(kind: Any) -> tuple[str | None, tuple[str, ...]]:
    """The channel and the types of a message of the server."""
    properties = DOCUMENT["components"]["schemas"][kind.__name__]["properties"]
    channel = properties.get("channel", {}).get("enum", [None])[0]
    return channel, tuple(properties["type"]["enum"])


SCHEMA_OF = {
    (channel, each): kind.__name__
    for kind in (*ANSWERS, *DATA)
    for channel, types in [_constants(kind)]
    for each in types
}


def check_frame(message: Any) -> None:
    """A message of the server is one of the document."""
    check(SCHEMA_OF[message.get("channel"), message["type"]], message)


def check_request(message: Any) -> None:
    name = "".join(part.title() for part in message["op"].split("_")) + "Request"
    assert name in REQUESTS
    check(name, message)


@dataclass
class StreamClient:
    """`seen`: every frame but the heartbeats, in order."""

    socket: websockets.ClientConnection
    seen: list[Any] = field(default_factory=list)
    _waiting: deque[Any] = field(default_factory=deque)
    _answers: dict[int, Any] = field(default_factory=dict)
    _count: int = 0
    heartbeats: list[Any] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def connected(
        cls, port: int, path: str = "/ws", headers: dict[str, str] | None = None
    ) -> "AsyncIterator[StreamClient]":
        url = f"ws://127.0.0.1:{port}{path}"
        async with websockets.connect(
            url, proxy=None, max_size=None, max_queue=None, additional_headers=headers
        ) as socket:
            yield cls(socket)

    async def send(self, op: str, **fields: Any) -> int:
        """Returns the id of the request."""
        self._count += 1
        message = {"id": self._count, "op": op, **fields}
        check_request(message)
        await self.socket.send(json.dumps(message))
        return self._count

    async def request(self, op: str, **fields: Any) -> Any:
        """The answer."""
        return await self.answer(await self.send(op, **fields))

    async def answer(self, number: int) -> Any:
        async with asyncio.timeout(SECONDS):
            while number not in self._answers:
                await self._read()
        return self._answers.pop(number)

    async def refused(self, op: str, **fields: Any) -> Any:
        """The problem of a request that must be refused."""
        answer = await self.request(op, **fields)
        assert answer["type"] == "error", answer
        return answer["problem"]

    async def data(self, channel: str) -> Any:
        """The next message of the channel."""
        async with asyncio.timeout(SECONDS):
            while True:
                for message in self._waiting:
                    if message.get("channel") == channel:
                        self._waiting.remove(message)
                        return message
                await self._read()

    async def subscribe(self, channel: str, **fields: Any) -> Any:
        """The first message of the channel."""
        answer = await self.request("subscribe", channel=channel, **fields)
        assert answer["type"] == "subscribed", answer
        return await self.data(channel)

    async def _read(self) -> None:
        message = json.loads(await self.socket.recv())
        check_frame(message)
        if message["type"] == "heartbeat":
            self.heartbeats.append(message)
            return
        self.seen.append(message)
        if "channel" in message or message["type"] == "going_away" or "id" not in message:
            self._waiting.append(message)
        else:
            self._answers[message["id"]] = message

    async def heartbeat(self) -> Any:
        """The next one."""
        count = len(self.heartbeats)
        async with asyncio.timeout(SECONDS):
            while len(self.heartbeats) == count:
                await self._read()
        return self.heartbeats[-1]

    async def until_closed(self) -> tuple[int, str]:
        """Read on until the server closes: the code, and the reason."""
        try:
            async with asyncio.timeout(SECONDS):
                while True:
                    await self._read()
        except websockets.ConnectionClosed as closed:
            return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd is not None else (1006, "no close frame")


class RebuiltBook:
    """What a client makes of snapshots and changes."""

    def __init__(self) -> None:
        self.last: int | None = None
        self.sides: dict[str, dict[str, str]] = {"bids": {}, "asks": {}}

    def take(self, message: Any) -> None:
        if message["type"] == "snapshot":
            self.sides = {side: dict(message[side]) for side in ("bids", "asks")}
        else:
            assert message["first_sequence"] == self.last + 1 <= message["last_sequence"]  # type: ignore[operator]
            for side, levels in self.sides.items():
                for price, quantity in message[side]:
                    if quantity == "0":
                        levels.pop(price, None)  # it may have come and gone between two messages
                    else:
                        levels[price] = quantity
        self.last = message["last_sequence"]

    @property
    def levels(self) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Bids and asks, best first."""
        bids, asks = (sorted(self.sides[side].items(), key=lambda level: float(level[0])) for side in ("bids", "asks"))
        return bids[::-1], asks


@dataclass
class StreamExchange:
    """nats-server, matcher and broadcaster: all that /ws needs."""

    nats: NatsServer
    matchers: Matchers
    broadcaster: BroadcasterService

    @property
    def port(self) -> int:
        return self.broadcaster.port

    def client(
        self, path: str = "/ws", headers: dict[str, str] | None = None
    ) -> AbstractAsyncContextManager[StreamClient]:
        return StreamClient.connected(self.port, path, headers)

    async def until_served(self) -> None:
        """Until /ws takes clients."""
        async with asyncio.timeout(SECONDS):
            while True:
                try:
                    async with self.client() as client:
                        await client.request("ping")
                        return
                except (websockets.InvalidStatus, websockets.ConnectionClosed, OSError):
                    await asyncio.sleep(0.05)

    async def list(self, symbol: str, **rules: Any) -> None:
        """Ticks of 0.01 and lots of 0.001, unless said otherwise."""
        await self.command(DefineInstrument(symbol, "0.01", "0.001", **rules))

    async def command(self, *commands: ClientCommand) -> None:
        """As an operator would."""
        async with client_of(self.nats) as matcher:
            for part in await matcher.submit(*commands):
                assert all(isinstance(result, Outcome) for result in part.results), part


@contextmanager
def stream_exchange(**settings: object) -> Iterator[StreamExchange]:
    with temporary_folder() as folder:
        nats = start_nats(folder)
        exchange = StreamExchange(nats, Matchers(folder), BroadcasterService(nats.url, folder, settings))
        try:
            exchange.matchers.start_serving(nats)
            exchange.broadcaster.start()
            yield exchange
        finally:
            exchange.broadcaster.close()
            for matcher in exchange.matchers.started:
                matcher.kill()
            nats.stop()
