"""Orders over REST with every service running. An order counts when its 201 is here, after it is on disk."""

from pathlib import Path

import msgspec

from bench.client import HttpPool, WrongAnswer, post_request
from bench.flow import LISTING, Flow
from bench.latency import latency_rows, on_schedule
from bench.load import Load, closed_loop, open_loop
from bench.processor import Processors
from bench.programs import asking, bare_rest, echo, pool, whole_stack
from bench.rounds import Row, interleaved
from bench.run import Say
from bench.scale import SEED, Scale
from bench.stored import Commits, FloorStream, commits_of
from bench.throughput import Side, rate_row
from contracts.decimals import Step
from contracts.messages import Command, PlaceOrder

CONNECTIONS = 32
POOL = 128
"""Open connections: on schedule, more orders than CONNECTIONS may have to wait at once."""
_LOAD = 0.5
_ORDERS_GOAL, _ORDERS_RATIO_GOAL = 6_000.0, 0.6
_LATENCY_GOAL_MILLISECONDS, _LATENCY_RATIO_GOAL = 1.5, 1.3
_FLOOR = "bare POST with an echo behind it"

_tick, _lot = Step.of(LISTING.tick_size), Step.of(LISTING.lot_size)


async def measure(scale: Scale, folder: Path, say: Say) -> list[Row]:
    say("starting the whole stack")
    async with (
        whole_stack(folder) as stack,
        echo(stack.nats, folder),
        bare_rest(stack.nats, folder) as bare_url,
        asking(stack.nats) as (connection, asker),
        pool(bare_url, POOL) as floor,
        pool(stack.http, POOL) as figure,
    ):
        rest = RestMeasurements(floor, figure, scale, SEED)
        await rest.prepare()
        say("orders")
        rows = [await rest.orders()]
        capacity = rows[0].figure
        say("one at a time")
        stream = FloorStream(connection, asker)
        await stream.create()
        commits = await commits_of(connection, scale.alone, rest.one_by_one())
        rows += await rest.alone(stream, commits)
        say("on schedule")
        return rows + await rest.under_load(capacity)


class RestMeasurements:
    """`floor` and `figure` are pools of POOL connections to either server."""

    def __init__(self, floor: HttpPool, figure: HttpPool, scale: Scale, seed: int) -> None:
        self._floor = floor
        self._figure = figure
        self._scale = scale
        self._processors = Processors()
        self._flow = Flow(seed, cancels=0)

    async def prepare(self) -> None:
        await self._closed(self._floor, self._scale.alone, CONNECTIONS)
        await self._closed(self._figure, self._scale.alone, CONNECTIONS)

    async def orders(self) -> Row:
        count = self._scale.rest_orders

        async def floor() -> Load:
            return await self._closed(self._floor, count, CONNECTIONS)

        async def figure() -> Load:
            return await self._closed(self._figure, count, CONNECTIONS)

        floors, figures = await interleaved(self._scale.rounds, floor, figure)
        return rate_row(
            Side(f"REST, {CONNECTIONS} connections: orders", figures, count),
            Side(_FLOOR, floors, count),
            goal=_ORDERS_GOAL,
            ratio_goal=_ORDERS_RATIO_GOAL,
        )

    async def one_by_one(self) -> Load:
        return await self._closed(self._figure, self._scale.alone, 1)

    async def alone(self, stream: FloorStream, commits: Commits) -> list[Row]:
        """One order at a time. The floor crosses the same wires and waits for the same disk, and does no work."""
        stored = bytes(commits.size)

        async def post_and_store(request: bytes) -> bytes:
            answer = await self._floor.ask(request)
            await stream.store(stored)
            return answer

        async def floor() -> Load:
            load = await closed_loop(post_and_store, self._requests(self._scale.alone), 1)
            _check(load)
            return load

        floors, figures = await interleaved(self._scale.rounds, floor, self.one_by_one)
        return latency_rows(
            "REST, 1 in flight",
            "bare POST, then one synced publish",
            figures,
            floors,
            p50_goal=_LATENCY_GOAL_MILLISECONDS,
            p50_ratio_goal=_LATENCY_RATIO_GOAL,
        )

    async def under_load(self, capacity: float) -> list[Row]:
        """Orders on schedule, at a share of what closed loops reached."""
        rate = _LOAD * capacity

        async def floor() -> Load:
            return await self._scheduled(self._floor, rate)

        async def figure() -> Load:
            return await self._scheduled(self._figure, rate)

        return await on_schedule(f"REST, {rate:,.0f}/s on schedule", _FLOOR, self._scale.rounds, floor, figure)

    async def _closed(self, pool: HttpPool, count: int, in_flight: int) -> Load:
        load = await closed_loop(pool.ask, self._requests(count), in_flight, self._processors)
        _check(load)
        return load

    async def _scheduled(self, pool: HttpPool, rate: float) -> Load:
        load = await open_loop(pool.ask, self._requests(int(rate * self._scale.loaded_seconds)), rate)
        _check(load)
        return load

    def _requests(self, count: int) -> list[bytes]:
        return [post_request("/orders", "127.0.0.1", order_body(each)) for each in self._flow.next_commands(count)]


def order_body(command: Command) -> bytes:
    assert isinstance(command, PlaceOrder)
    assert command.price is not None
    return msgspec.json.encode(
        {
            "symbol": command.symbol,
            "side": command.side,
            "type": command.type,
            "price": _tick.format(command.price),
            "quantity": _lot.format(command.quantity),
            "time_in_force": command.time_in_force,
        }
    )


def _check(load: Load) -> None:
    for answer in load.answers:
        if not answer.startswith(b"HTTP/1.1 201 "):
            raise WrongAnswer(f"an order was not taken: {answer[:1000]!r}")
