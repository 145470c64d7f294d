"""Durable commands over NATS: a command counts when its answer is here, which is after its commit is on disk."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from nats.aio.client import Client

from bench.client import NatsAsker, WrongAnswer
from bench.echo import ECHO
from bench.flow import Flow
from bench.latency import latency_rows, on_schedule
from bench.load import Load, closed_loop, open_loop
from bench.processor import Processors
from bench.programs import asking, echo, matcher_alone, whole_stack
from bench.rounds import Row, interleaved
from bench.run import Say
from bench.scale import SEED, Scale
from bench.stored import FloorStream, commits_of
from bench.throughput import Side, rate_row
from contracts.messages import Answer, Command, Outcome, Reply
from contracts.subjects import MATCHER_STATUS, ORDERS_SUBMIT, RECORDER_STATUS

_BATCHES_IN_FLIGHT = 8
_LOAD = 0.5
"""Latency under load is taken at this share of what the exchange can do."""
_SETTLE_SECONDS = 60.0
_SINGLES = (64, 128, 256, 512)
_BATCHES = (100, 500)
_ALONE_RATIO_GOAL = 1.3
_SINGLES_RATIO_GOAL = 0.7
_BATCH_GOAL, _BATCH_RATIO_GOAL = 150_000.0, 0.5
_BATCH_BESIDE_SERVICES_GOAL = 100_000.0

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Reply)


async def measure(scale: Scale, folder: Path, say: Say) -> list[Row]:
    return await _measure_matcher(scale, folder, say) + await _measure_stack(scale, folder, say)


async def _measure_matcher(scale: Scale, folder: Path, say: Say) -> list[Row]:
    """nats-server and the matcher, nobody else: what the journal can take."""
    async with (
        matcher_alone(folder) as url,
        echo(url, folder),
        asking(url) as (connection, asker),
    ):
        nats = NatsMeasurements(connection, asker, scale, SEED)
        await nats.prepare()
        say("one at a time")
        rows = await nats.alone()
        capacity = 0.0
        for in_flight in _SINGLES:
            say(f"{in_flight} in flight")
            rows.append(await nats.singles(in_flight))
            capacity = capacity or rows[-1].figure
        for size in _BATCHES:
            say(f"batches of {size}")
            rows.append(await nats.batches(size))
        say("on schedule")
        return rows + await nats.under_load(capacity)


async def _measure_stack(scale: Scale, folder: Path, say: Say) -> list[Row]:
    """Everything, as `pricetime up` runs it."""
    say("starting the whole stack")
    async with whole_stack(folder) as stack, asking(stack.nats) as (connection, asker):
        nats = NatsMeasurements(connection, asker, scale, SEED)
        await nats.prepare()
        say("batches, every service running")
        return [await nats.batches(_BATCHES[0], between=lambda: settled(asker))]


async def settled(asker: NatsAsker) -> None:
    """Return when the recorder has stored all there is: what it still does would slow the next round."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while time.monotonic() < deadline:
        matcher, recorder = [json.loads(await asker.ask(each, b"{}")) for each in (MATCHER_STATUS, RECORDER_STATUS)]
        if recorder["sequence"] >= matcher["sequence"]:
            return
        await asyncio.sleep(0.1)


class NatsMeasurements:
    """Of one exchange that has seen nothing but this flow."""

    def __init__(self, connection: Client, asker: NatsAsker, scale: Scale, seed: int) -> None:
        self._connection = connection
        self._asker = asker
        self._scale = scale
        self._processors = Processors()
        self._stream = FloorStream(connection, asker)
        self._flow = Flow(seed)
        self._floor_flow = Flow(seed)  # what a floor is sent, the exchange never sees

    async def prepare(self) -> None:
        await self._stream.create()
        await self._durable(self._scale.singles, 1, 64)

    async def alone(self) -> list[Row]:
        """One command at a time. The floor crosses the same wires and waits for the same disk, and does no work."""
        count = self._scale.alone
        commits = await commits_of(self._connection, count, self._durable(count, 1, 1))
        payloads, stored = self._floor_payloads(count), bytes(commits.size)

        async def echo_and_store(payload: bytes) -> bytes:
            await self._echo(payload)
            return await self._stream.store(stored)

        async def floor() -> Load:
            return await closed_loop(echo_and_store, payloads, 1, self._processors)

        async def figure() -> Load:
            return await self._durable(count, 1, 1)

        floors, figures = await interleaved(self._scale.rounds, floor, figure)
        name, floor_name = "NATS, 1 in flight", "echo, then one synced publish"
        return [
            rate_row(Side(f"{name}: durable commands", figures, count), Side(floor_name, floors, count)),
            *latency_rows(name, floor_name, figures, floors, p50_ratio_goal=_ALONE_RATIO_GOAL),
        ]

    async def singles(self, in_flight: int) -> Row:
        count = self._scale.singles
        payloads = self._floor_payloads(count)

        async def floor() -> Load:
            return await closed_loop(self._echo, payloads, in_flight, self._processors)

        async def figure() -> Load:
            return await self._durable(count, 1, in_flight)

        floors, figures = await interleaved(self._scale.rounds, floor, figure)
        return rate_row(
            Side(f"NATS, {in_flight} in flight: durable commands", figures, count),
            Side("echo (stores nothing)", floors, count),
            ratio_goal=_SINGLES_RATIO_GOAL,
        )

    async def batches(self, size: int, between: Callable[[], Awaitable[None]] | None = None) -> Row:
        """Many commands in a request. With `between`, every service runs; it is awaited before each round."""
        count = self._scale.batched
        commits = await commits_of(self._connection, count, self._durable(count, size, _BATCHES_IN_FLIGHT))
        messages = [bytes(commits.size)] * max(100, int(count / commits.commands))

        async def floor() -> Load:
            if between is not None:
                await between()
            load = await closed_loop(self._stream.store, messages, 1, self._processors)
            await self._stream.clear()
            return load

        async def figure() -> Load:
            if between is not None:
                await between()
            return await self._durable(count, size, _BATCHES_IN_FLIGHT)

        floors, figures = await interleaved(self._scale.rounds, floor, figure)
        name = f"NATS, batches of {size}{'' if between is None else ', all services'}: durable commands"
        floor_name = f"synced publishes of {commits.commands:.0f} commands' size"
        return rate_row(
            Side(name, figures, count),
            Side(floor_name, floors, len(messages) * commits.commands),
            goal=_BATCH_GOAL if between is None else _BATCH_BESIDE_SERVICES_GOAL,
            ratio_goal=_BATCH_RATIO_GOAL if between is None else None,
        )

    async def under_load(self, capacity: float) -> list[Row]:
        """Single commands on schedule, at a share of what closed loops reached."""
        rate = _LOAD * capacity
        count = int(rate * self._scale.loaded_seconds)
        payloads = self._floor_payloads(count)

        async def floor() -> Load:
            return await open_loop(self._echo, payloads, rate)

        async def figure() -> Load:
            load = await open_loop(self._submit, self._payloads(count, 1), rate)
            check_accepted(load, count)
            return load

        return await on_schedule(f"NATS, {rate:,.0f}/s on schedule", "echo", self._scale.rounds, floor, figure)

    async def _durable(self, count: int, size: int, in_flight: int) -> Load:
        load = await closed_loop(self._submit, self._payloads(count, size), in_flight, self._processors)
        check_accepted(load, count)
        return load

    def _payloads(self, count: int, size: int) -> list[bytes]:
        return requests_of(self._flow.next_commands(count), size)

    def _floor_payloads(self, count: int) -> list[bytes]:
        return requests_of(self._floor_flow.next_commands(count), 1)

    async def _submit(self, payload: bytes) -> bytes:
        return await self._asker.ask(ORDERS_SUBMIT, payload)

    async def _echo(self, payload: bytes) -> bytes:
        return await self._asker.ask(ECHO, payload)


def requests_of(commands: list[Command], size: int) -> list[bytes]:
    return [_encoder.encode(commands[start : start + size]) for start in range(0, len(commands), size)]


def check_accepted(load: Load, count: int) -> None:
    """Every command was accepted: refusals are cheaper than orders, and must not pass for them."""
    accepted = sum(_accepted(answer) for answer in load.answers)
    if accepted != count:
        raise WrongAnswer(f"{count - accepted} of {count} commands were refused")


def _accepted(answer: bytes) -> int:
    reply = _decoder.decode(answer)
    if not isinstance(reply, Answer):
        raise WrongAnswer(f"a request was turned away: {reply}")
    return sum(isinstance(result, Outcome) for part in reply.parts for result in part.results)
