"""The gateway alone, for tests: real HTTP and a real nats-server, with the other services played in the test.

The played matcher runs the real engine without a journal. It can be told to be away, silent or overloaded.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from contracts.messages import (
    Answer,
    AnswerPart,
    CancelOrder,
    Command,
    DefineInstrument,
    Outcome,
    Reply,
    RequestRefusal,
    RequestRefused,
    Result,
)
from contracts.subjects import MATCHER_INSTRUMENTS, MATCHER_ORDER, MATCHER_STATUS, ORDERS_SUBMIT, RECORDER_POSITION
from gateway.service import main
from matcher.engine import Engine
from runtime.connection import respond
from runtime.settings import Settings

START = 1_700_000_000_000_000
_NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
_decoder = msgspec.msgpack.Decoder(tuple[Command, ...])


@dataclass
class PlayedMatcher:
    connection: Client
    engine: Engine = field(default_factory=Engine)
    sequence: int = 1
    answers: bool = True
    overloaded: bool = False
    garbled: bool = False
    requests: list[tuple[Command, ...]] = field(default_factory=list)
    _subscription: Subscription | None = None

    async def start(self) -> None:
        self.engine.apply(DefineInstrument("BTC-USD", "0.01", "0.001", max_quantity=10**6), START)
        await respond(self.connection, MATCHER_INSTRUMENTS, self._instruments)
        await respond(self.connection, MATCHER_ORDER, self._order)
        await respond(self.connection, MATCHER_STATUS, self._status)
        await self.come_back()

    async def come_back(self) -> None:
        self._subscription = await self.connection.subscribe(ORDERS_SUBMIT, cb=self._on_request)
        await self.connection.flush()

    async def go_away(self) -> None:
        assert self._subscription is not None
        await self._subscription.unsubscribe()
        await self.connection.flush()

    async def _on_request(self, message: Msg) -> None:
        commands = _decoder.decode(message.data)
        self.requests.append(commands)
        if self.garbled:
            await self.connection.publish(message.reply, b"\xc1")
        elif self.overloaded:
            await self._reply(message, RequestRefused(RequestRefusal.OVERLOADED, "too many commands are waiting"))
        elif self.answers:
            await self._reply(message, self._answer(commands))

    def _answer(self, commands: tuple[Command, ...]) -> Answer:
        """In two parts when there is more than one command, as of a request that spans commits."""
        halves = [commands[: len(commands) // 2], commands[len(commands) // 2 :]]
        return Answer(tuple(self._part(half) for half in halves if half))

    def _part(self, commands: tuple[Command, ...]) -> AnswerPart:
        results: list[Result] = [self.engine.apply(command, START + self.sequence + 1) for command in commands]
        self.sequence += any(isinstance(result, Outcome) for result in results)
        return AnswerPart(self.sequence, START + self.sequence, tuple(results))

    async def _reply(self, message: Msg, reply: Reply) -> None:
        await self.connection.publish(message.reply, msgspec.msgpack.encode(reply))

    async def _instruments(self, _: bytes) -> bytes:
        return msgspec.json.encode({"items": self.engine.instruments})

    async def _order(self, question: bytes) -> bytes:
        symbol = self.engine.symbol_of(json.loads(question)["order_id"])
        return msgspec.json.encode({"sequence": self.sequence, "symbol": symbol})

    async def _status(self, _: bytes) -> bytes:
        return msgspec.json.encode({"sequence": self.sequence})

    async def record(self, sequence: int | None = None) -> None:
        """Say, as the recorder would, that Postgres has everything, or everything up to `sequence`."""
        reached = self.sequence if sequence is None else sequence
        await self.connection.publish(RECORDER_POSITION, json.dumps({"sequence": reached}).encode())
        await self.connection.flush()

    def cancels(self) -> int:
        return sum(isinstance(command, CancelOrder) for commands in self.requests for command in commands)


@dataclass
class Gateway:
    """A running gateway, and what surrounds it."""

    http: httpx.AsyncClient
    matcher: PlayedMatcher
    nats: Client
    port: int

    async def place(self, **fields: Any) -> httpx.Response:
        return await self.http.post("/orders", json={"side": "buy", "price": "100.00", "quantity": "1"} | fields)

    async def placed(self, **fields: Any) -> Any:
        """The answer to an order that must be taken."""
        response = await self.place(**fields)
        assert response.status_code == 201, response.text
        return response.json()


@asynccontextmanager
async def running_gateway(
    nats_url: str, postgres_url: str = _NOWHERE, *, matcher_too: bool = True, **settings: Any
) -> AsyncIterator[Gateway]:
    """`matcher_too=False`: a second gateway, on the matcher that another one has brought."""
    connection = await nats.connect(nats_url)
    matcher = PlayedMatcher(connection)
    if matcher_too:
        await matcher.start()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    given = {"command_timeout_seconds": 1.0, "read_wait_seconds": 0.3, **settings}
    stop = asyncio.Event()
    serving = asyncio.create_task(
        main(Settings(nats_url=nats_url, postgres_url=postgres_url, http_fd=listener.detach(), **given), stop)
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            await client.get("/health/live")
            yield Gateway(client, matcher, connection, port)
    finally:
        stop.set()
        await serving
        await connection.close()
