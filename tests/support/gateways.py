"""The gateway alone, for tests: real HTTP and a real nats-server, with the other services played in the test.

The played matcher runs the real engine with a journal that is only good for looking things up. It can be told to be
away, silent, deaf to a number of requests, or overloaded.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.errors import NoStreamResponseError, NotFoundError

from contracts.commits import GENESIS_HASH, VERSION, encode_commit
from contracts.messages import (
    Answer,
    AnswerPart,
    CancelOrder,
    ClientCommand,
    Command,
    Commit,
    Continue,
    DefineInstrument,
    Outcome,
    Reply,
    RequestRefusal,
    RequestRefused,
    Result,
)
from contracts.subjects import (
    COMMANDS_STREAM,
    JOURNAL,
    JOURNAL_STREAM,
    MATCHER_INSTRUMENTS,
    MATCHER_ORDER,
    MATCHER_STATUS,
    ORDERS_SUBMIT,
    RECORDER_POSITION,
)
from gateway.deferred_store import CONSUMER
from gateway.service import main
from matcher.engine import Engine
from runtime.connection import respond
from runtime.settings import Settings
from runtime.tls import pinned_context
from tests.support.servers import remove_stream

START = 1_700_000_000_000_000
_NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
_decoder = msgspec.msgpack.Decoder(tuple[ClientCommand, ...])


@dataclass
class PlayedMatcher:
    connection: Client
    engine: Engine = field(default_factory=Engine)
    sequence: int = 0
    answers: bool = True
    loses_answers: int = 0
    """So many requests are carried out without an answer."""
    overloaded: bool = False
    garbled: bool = False
    requests: list[tuple[ClientCommand, ...]] = field(default_factory=list)
    worked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set after each request."""
    _subscription: Subscription | None = None

    async def start(self) -> None:
        await self._new_journal()
        await self._commit([DefineInstrument("BTC-USD", "0.01", "0.001", max_quantity=10**6)])
        await respond(self.connection, MATCHER_INSTRUMENTS, self._instruments)
        await respond(self.connection, MATCHER_ORDER, self._order)
        await respond(self.connection, MATCHER_STATUS, self._status)
        await self.come_back()

    async def _new_journal(self) -> None:
        manager = self.connection.jsm()
        await remove_stream(self.connection, JOURNAL_STREAM)
        await manager.add_stream(name=JOURNAL_STREAM, subjects=[JOURNAL])

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
            answer = await self._answer(commands)
            if self.loses_answers:
                self.loses_answers -= 1
            else:
                await self._reply(message, answer)
        self.worked.set()

    async def _answer(self, commands: tuple[ClientCommand, ...]) -> Answer:
        """In two parts when there is more than one command, as of a request that spans commits."""
        halves = [commands[: len(commands) // 2], commands[len(commands) // 2 :]]
        return Answer(tuple([await self._commit(half) for half in halves if half]))

    async def _commit(self, commands: Sequence[ClientCommand]) -> AnswerPart:
        sequence, time = self.sequence + 1, START + self.sequence + 1
        results = [self._apply(command, time, sequence) for command in commands]
        done: list[tuple[Command, Outcome]] = []
        for command, (result, further) in zip(commands, results, strict=True):
            if isinstance(result, Outcome):
                done += [(command, result), *((Continue(), each) for each in further)]
        if done:
            self.sequence = sequence
            await self._write(sequence, time, done)
        return AnswerPart(self.sequence, START + self.sequence, tuple(result for result, _ in results))

    def _apply(self, command: ClientCommand, time: int, sequence: int) -> tuple[Result, list[Outcome]]:
        result, further = self.engine.apply(command, time, sequence), []
        while self.engine.unfinished:
            outcome = self.engine.apply(Continue(), time, sequence)
            assert isinstance(outcome, Outcome)
            further.append(outcome)
        return result, further

    async def _write(self, sequence: int, time: int, done: Sequence[tuple[Command, Outcome]]) -> None:
        commands, outcomes = zip(*done, strict=True)
        commit = Commit(VERSION, "played", 1, sequence, GENESIS_HASH, time, commands, outcomes)
        message, expected = encode_commit(commit)[0], {"Nats-Expected-Last-Sequence": str(sequence - 1)}
        while True:
            try:
                await self.connection.jetstream().publish(JOURNAL, message, headers=expected)
                return
            except NoStreamResponseError:  # the server has just been started again
                await asyncio.sleep(0.05)

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

    async def has_its_streams(self) -> None:
        """Return when the gateway has made what it keeps in the broker.

        A nats-server that is killed while it makes a stream never gets well again.
        """
        while True:
            try:
                await self.nats.jsm().consumer_info(COMMANDS_STREAM, CONSUMER)
                return
            except NotFoundError:
                await asyncio.sleep(0.05)

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
        scheme, verify = ("https", pinned_context(settings["tls_cert"])) if "tls_cert" in settings else ("http", True)
        async with httpx.AsyncClient(
            base_url=f"{scheme}://127.0.0.1:{port}", timeout=30, trust_env=False, verify=verify
        ) as client:
            await client.get("/health/live")
            yield Gateway(client, matcher, connection, port)
    finally:
        stop.set()
        await serving
        await connection.close()
