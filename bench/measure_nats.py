"""Durable commands over NATS: a command counts when its answer is here, which is after its commit is on disk."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from nats.aio.client import Client
from nats.js.api import StreamConfig

from bench.client import NatsAsker, WrongAnswer
from bench.echo import ECHO
from bench.flow import Flow
from bench.load import Load, closed_loop, open_loop
from bench.programs import asking, echo, matcher_alone, whole_stack
from bench.rounds import MILLISECONDS, PER_SECOND, Row, Sample, column, interleaved
from bench.run import Say
from bench.scale import SEED, Scale
from contracts.messages import Answer, Command, Outcome, Reply
from contracts.subjects import JOURNAL_STREAM, MATCHER_STATUS, ORDERS_SUBMIT, RECORDER_STATUS

_FLOOR_STREAM = "FLOOR"
_FLOOR_SUBJECT = "floor.publish"
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


@dataclass(frozen=True, slots=True)
class _Commits:
    """What the journal got for a number of commands, on average."""

    size: int
    commands: float


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
        self._flow = Flow(seed)
        self._floor_flow = Flow(seed)  # what a floor is sent, the exchange never sees

    async def prepare(self) -> None:
        """A stream like the journal, for the floors."""
        await self._connection.jetstream().add_stream(StreamConfig(name=_FLOOR_STREAM, subjects=[_FLOOR_SUBJECT]))
        await self._durable(self._scale.singles, 1, 64)

    async def alone(self) -> list[Row]:
        """One command at a time. The floor crosses the same wires and waits for the same disk, and does no work."""
        commits = await self._commits(self._scale.alone, 1, 1)
        payloads, stored = self._floor_payloads(self._scale.alone), bytes(commits.size)

        async def echo_and_store(payload: bytes) -> bytes:
            await self._echo(payload)
            return await self._store(stored)

        async def floor() -> Sample:
            return _rate_and_latency(await closed_loop(echo_and_store, payloads, 1), len(payloads))

        async def figure() -> Sample:
            return _rate_and_latency(await self._durable(self._scale.alone, 1, 1), self._scale.alone)

        floors, figures = await interleaved(self._scale.rounds, floor, figure)
        return [
            Row(
                f"NATS, 1 in flight: {what}",
                "echo, then one synced publish",
                PER_SECOND if key == "rate" else MILLISECONDS,
                column(figures, key),
                column(floors, key),
                ratio_goal=ratio_goal,
            )
            for key, what, ratio_goal in (
                ("rate", "durable commands", None),
                ("p50", "latency p50", _ALONE_RATIO_GOAL),
                ("p99", "latency p99", None),
            )
        ]

    async def singles(self, in_flight: int) -> Row:
        payloads = self._floor_payloads(self._scale.singles)

        async def floor() -> Sample:
            return (await closed_loop(self._echo, payloads, in_flight)).rate(len(payloads))

        async def figure() -> Sample:
            return (await self._durable(self._scale.singles, 1, in_flight)).rate(self._scale.singles)

        floors, figures = await interleaved(self._scale.rounds, floor, figure)
        return Row(
            f"NATS, {in_flight} in flight: durable commands",
            "echo (stores nothing)",
            PER_SECOND,
            column(figures, "rate"),
            column(floors, "rate"),
            ratio_goal=_SINGLES_RATIO_GOAL,
        )

    async def batches(self, size: int, between: Callable[[], Awaitable[None]] | None = None) -> Row:
        """Many commands in a request. With `between`, every service runs; it is awaited before each round."""
        commits = await self._commits(self._scale.batched, size, _BATCHES_IN_FLIGHT)
        messages = [bytes(commits.size)] * max(100, int(self._scale.batched / commits.commands))

        async def floor() -> Sample:
            if between is not None:
                await between()
            load = await closed_loop(self._store, messages, 1)
            await self._connection.jsm().purge_stream(_FLOOR_STREAM)
            return load.rate(len(messages) * commits.commands)

        async def figure() -> Sample:
            if between is not None:
                await between()
            load = await self._durable(self._scale.batched, size, _BATCHES_IN_FLIGHT)
            return load.rate(self._scale.batched)

        floors, figures = await interleaved(self._scale.rounds, floor, figure)
        return Row(
            f"NATS, batches of {size}{'' if between is None else ', all services'}: durable commands",
            f"synced publishes of {commits.commands:.0f} commands' size",
            PER_SECOND,
            column(figures, "rate"),
            column(floors, "rate"),
            goal=_BATCH_GOAL if between is None else _BATCH_BESIDE_SERVICES_GOAL,
            ratio_goal=_BATCH_RATIO_GOAL if between is None else None,
        )

    async def under_load(self, capacity: float) -> list[Row]:
        """Single commands on schedule, at a share of what closed loops reached."""
        rate = _LOAD * capacity
        count = int(rate * self._scale.loaded_seconds)
        payloads = self._floor_payloads(count)

        async def floor() -> Sample:
            return (await open_loop(self._echo, payloads, rate)).latency

        async def figure() -> Sample:
            load = await open_loop(self._submit, self._payloads(count, 1), rate)
            _check(load, count)
            return load.latency

        floors, figures = await interleaved(self._scale.rounds, floor, figure)
        return [
            Row(
                f"NATS, {rate:,.0f}/s on schedule: latency {key}",
                "echo, same rate",
                MILLISECONDS,
                column(figures, key),
                column(floors, key),
            )
            for key in ("p50", "p99")
        ]

    async def _durable(self, count: int, size: int, in_flight: int) -> Load:
        load = await closed_loop(self._submit, self._payloads(count, size), in_flight)
        _check(load, count)
        return load

    async def _commits(self, count: int, size: int, in_flight: int) -> _Commits:
        before = (await self._connection.jsm().stream_info(JOURNAL_STREAM)).state
        await self._durable(count, size, in_flight)
        after = (await self._connection.jsm().stream_info(JOURNAL_STREAM)).state
        messages = after.messages - before.messages
        return _Commits((after.bytes - before.bytes) // messages, count / messages)

    def _payloads(self, count: int, size: int) -> list[bytes]:
        return _requests(self._flow.next_commands(count), size)

    def _floor_payloads(self, count: int) -> list[bytes]:
        return _requests(self._floor_flow.next_commands(count), 1)

    async def _submit(self, payload: bytes) -> bytes:
        return await self._asker.ask(ORDERS_SUBMIT, payload)

    async def _echo(self, payload: bytes) -> bytes:
        return await self._asker.ask(ECHO, payload)

    async def _store(self, payload: bytes) -> bytes:
        answer = await self._asker.ask(_FLOOR_SUBJECT, payload)
        if b'"error"' in answer:
            raise WrongAnswer(f"a message of the floor was not stored: {answer!r}")
        return answer


def _requests(commands: list[Command], size: int) -> list[bytes]:
    return [_encoder.encode(commands[start : start + size]) for start in range(0, len(commands), size)]


def _check(load: Load, count: int) -> None:
    """Every command was accepted: refusals are cheaper than orders, and must not pass for them."""
    accepted = sum(_accepted(answer) for answer in load.answers)
    if accepted != count:
        raise WrongAnswer(f"{count - accepted} of {count} commands were refused")


def _accepted(answer: bytes) -> int:
    reply = _decoder.decode(answer)
    if not isinstance(reply, Answer):
        raise WrongAnswer(f"a request was turned away: {reply}")
    return sum(isinstance(result, Outcome) for part in reply.parts for result in part.results)


def _rate_and_latency(load: Load, count: int) -> Sample:
    return {**load.rate(count), **load.latency}
