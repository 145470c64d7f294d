"""A client of /ws for tests. Every frame that it sends or gets is held against the AsyncAPI document.

async with StreamClient.connected(broadcaster.port) as client:
    answer = await client.request("subscribe", channel="book", symbol="BTC-USD")
    snapshot = await client.data("book")
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jsonschema_rs
import websockets

from broadcaster.asyncapi import ANSWERS, DATA, REQUESTS, document

DOCUMENT = json.loads(json.dumps(document("test")))
SECONDS = 20.0


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
        async with websockets.connect(url, proxy=None, max_size=None, additional_headers=headers) as socket:
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
        async with asyncio.timeout(SECONDS):
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
        while len(self.heartbeats) == count:
            await self._read()
        return self.heartbeats[-1]

    async def until_closed(self) -> tuple[int, str]:
        """Read on until the server closes: the code, and the reason."""
        try:
            while True:
                await self._read()
        except websockets.ConnectionClosed as closed:
            return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd is not None else (1006, "no close frame")
