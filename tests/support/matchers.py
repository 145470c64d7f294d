"""Matcher processes on a test's own nats-server, a client that sends them commands, and the journal read back.

async def test_something(nats_server: NatsServer, matchers: Matchers) -> None:
    matcher = matchers.start(nats_server)
    async with client_of(nats_server) as client:
        await client.until_served()
        results = await client.submit(order())
        journal = await client.journal()
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest
from nats.aio.client import Client as NatsConnection
from nats.errors import Error as NatsError

from cli.processes import Program, spawn_options
from contracts.messages import (
    Answer,
    AnswerPart,
    Command,
    Commit,
    OrderAccepted,
    OrderType,
    Outcome,
    PlaceOrder,
    Reply,
    Side,
)
from contracts.subjects import JOURNAL_STREAM, MATCHER_STATE_HASH, MATCHER_STATUS, ORDERS_SUBMIT
from matcher.replay import Replay
from runtime.connection import close, connect
from runtime.settings import PREFIX
from tests.support.servers import NatsServer, temporary_folder, wait_until

UNFENCED = (
    "import matcher.journal_writer as writer; writer.fence = lambda sequence: {}; "
    "import runpy; runpy.run_module('matcher', run_name='__main__')"
)
"""A matcher that writes without the fence: what the tests of the fence must be able to tell from a real one."""

_reply = msgspec.msgpack.Decoder(Reply)


def order(side: Side = Side.BUY, price: int = 100, quantity: int = 1, client_order_id: str | None = None) -> PlaceOrder:
    return PlaceOrder("BTC-USD", side, OrderType.LIMIT, quantity, price, client_order_id=client_order_id)


class Broker(Protocol):
    """A nats-server, or a cluster of them."""

    @property
    def url(self) -> str: ...

    @property
    def monitor_url(self) -> str: ...


@dataclass
class MatcherProcess:
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def wait_until_serving(self) -> None:
        assert wait_until(lambda: "serving from" in self.output or not self.is_running)
        assert self.is_running, self.output

    def wait_until_standing_by(self) -> None:
        assert wait_until(lambda: "standing by at" in self.output or not self.is_running)
        assert self.is_running, self.output

    def exit_code(self, seconds: float = 60) -> int:
        """Wait for its end."""
        return self.process.wait(seconds)

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        self.process.terminate()

    def kill(self) -> None:
        """kill -9, which reaches a paused process too."""
        self.process.kill()
        self.process.wait()


@dataclass
class Matchers:
    """Starts matchers; all of them are killed after the test."""

    folder: Path
    started: list[MatcherProcess] = field(default_factory=list)

    def start(self, server: Broker, *, fenced: bool = True, **settings: object) -> MatcherProcess:
        """`settings` are PRICETIME_* variables by their short names: nats_url=..., backlog_commands=..."""
        given = {
            "nats_url": server.url,
            "nats_monitor_url": server.monitor_url,
            "recorder_wait_seconds": 0,
            "data_dir": self.folder / "data",
        } | settings
        command = ("-m", "matcher") if fenced else ("-c", UNFENCED)
        program = Program(name="matcher", command=(sys.executable, *command))
        log = self.folder / f"matcher-{len(self.started)}.log"
        with log.open("wb") as output:
            options = spawn_options(program, output)
            options["env"] = _environment(given)
            self.started.append(MatcherProcess(subprocess.Popen(program.command, **options), log))
        return self.started[-1]

    def start_serving(self, server: Broker, **options: Any) -> MatcherProcess:
        matcher = self.start(server, **options)
        matcher.wait_until_serving()
        return matcher

    def start_standing_by(self, server: NatsServer, **options: Any) -> MatcherProcess:
        """Beside one that serves."""
        matcher = self.start(server, **options)
        matcher.wait_until_standing_by()
        return matcher


def _environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Ours without what is meant for the tests themselves, and these settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return inherited | {f"{PREFIX}{name.upper()}": str(value) for name, value in settings.items()}


@pytest.fixture
def matchers() -> Iterator[Matchers]:
    with temporary_folder() as folder:
        matchers = Matchers(folder)
        yield matchers
        for matcher in matchers.started:
            matcher.kill()


class Unanswered(Exception):
    """No answer in time: whether the commands were carried out is unknown."""


@dataclass
class MatcherClient:
    """Speaks to whichever matcher serves."""

    connection: NatsConnection

    async def request(self, commands: Iterable[Command], timeout: float = 10) -> Reply:
        """Raises Unanswered."""
        try:
            payload = msgspec.msgpack.encode(tuple(commands))
            message = await self.connection.request(ORDERS_SUBMIT, payload, timeout=timeout)
        except (NatsError, TimeoutError) as error:
            raise Unanswered(str(error) or type(error).__name__) from error
        reply: Reply = _reply.decode(message.data)
        return reply

    async def submit(self, *commands: Command, timeout: float = 10) -> tuple[AnswerPart, ...]:
        reply = await self.request(commands, timeout)
        assert isinstance(reply, Answer), reply
        return reply.parts

    async def status(self, timeout: float = 10) -> dict[str, Any]:
        return await self._ask(MATCHER_STATUS, timeout)

    async def state_hash(self) -> dict[str, Any]:
        return await self._ask(MATCHER_STATE_HASH)

    async def _ask(self, subject: str, timeout: float = 10) -> dict[str, Any]:
        message = await self.connection.request(subject, b"{}", timeout=timeout)
        answer: dict[str, Any] = json.loads(message.data)
        return answer

    async def until_served(self, epoch: int = 1) -> dict[str, Any]:
        """Until a matcher of at least this epoch answers. Returns its status."""
        return await self.until(lambda status: status["matcher_epoch"] >= epoch)

    async def until_listed(self) -> None:
        """Until the matcher's own first commit is in the journal, which lists the default instrument: it is written
        when it serves already."""
        async with asyncio.timeout(60):
            while len((await self.journal()).commits) < 2:  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.02)

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Until the serving matcher's status is as wanted. Returns it."""
        async with asyncio.timeout(60):
            while True:
                try:
                    if condition(status := await self.status(timeout=1)):
                        return status
                except (NatsError, TimeoutError):
                    pass  # nobody serves yet, or the one that was asked has gone
                await asyncio.sleep(0.02)

    async def journal(self) -> "JournalRead":
        return await read_journal(self.connection)

    async def journal_and_hash(self) -> tuple["JournalRead", str]:
        """Both of the same moment: what somebody gave up waiting for may still be written between two questions."""
        async with asyncio.timeout(60):
            while True:
                journal, state = await self.journal(), await self.state_hash()
                if state["sequence"] == journal.commits[-1].sequence:
                    return journal, state["hash"]


@asynccontextmanager
async def client_of(server: Broker) -> AsyncIterator[MatcherClient]:
    connection = await connect(server.url, "test")
    try:
        yield MatcherClient(connection)
    finally:
        await close(connection)


@dataclass
class JournalRead:
    """Every commit, checked: numbers, hashes, epochs, and that replaying gives the recorded outcomes."""

    commits: list[Commit]
    replay: Replay

    def outcomes_by_client_order_id(self) -> dict[str, list[tuple[int, Outcome]]]:
        """Per client order id the journal sequence and outcome of each order placed with it: one, when all is well."""
        found: dict[str, list[tuple[int, Outcome]]] = {}
        for commit in self.commits:
            for command, outcome in zip(commit.commands, commit.outcomes, strict=True):
                if isinstance(command, PlaceOrder) and command.client_order_id is not None:
                    found.setdefault(command.client_order_id, []).append((commit.sequence, outcome))
        return found


async def read_journal(connection: NatsConnection) -> JournalRead:
    """Message by message, without the reader that the services use. Raises JournalBroken where it does not fit."""
    replay = Replay()
    commits = [replay.follow(sequence, payload) for sequence, payload in await raw_journal(connection)]
    replay.engine.check()
    return JournalRead(commits, replay)


async def raw_journal(connection: NatsConnection) -> list[tuple[int, bytes]]:
    stream = connection.jetstream()
    state = (await stream.stream_info(JOURNAL_STREAM)).state
    sequences = range(max(state.first_seq, 1), state.last_seq + 1)
    found: list[tuple[int, bytes]] = []
    for start in range(0, len(sequences), 50):
        some = sequences[start : start + 50]
        messages = await asyncio.gather(*[stream.get_msg(JOURNAL_STREAM, sequence) for sequence in some])
        found += [(sequence, message.data or b"") for sequence, message in zip(some, messages, strict=True)]
    return found


def order_id_of(outcome: object) -> int:
    """Of the order that a place command led to."""
    assert isinstance(outcome, Outcome), outcome
    accepted = outcome.events[0]
    assert isinstance(accepted, OrderAccepted)
    return accepted.order_id
