"""Orders over REST with every service running. An order counts when its 201 is here, after it is on disk."""

import msgspec

from bench.client import HttpPool, WrongAnswer, post_request
from bench.flow import LISTING, Flow
from bench.load import Load, closed_loop, open_loop
from bench.rounds import MILLISECONDS, PER_SECOND, Row, Sample, column, interleaved
from bench.scale import Scale
from contracts.decimals import Step
from contracts.messages import Command, PlaceOrder

CONNECTIONS = 32
POOL = 128
"""Open connections: on schedule, more orders than CONNECTIONS may have to wait at once."""
_LOAD = 0.5
_ORDERS_GOAL = 4_000.0
_LATENCY_GOAL_MILLISECONDS = 1.5
_FLOOR = "bare POST with an echo behind it"

_tick, _lot = Step.of(LISTING.tick_size), Step.of(LISTING.lot_size)


class RestMeasurements:
    """`floor` and `figure` are pools of POOL connections to either server."""

    def __init__(self, floor: HttpPool, figure: HttpPool, scale: Scale, seed: int) -> None:
        self._floor = floor
        self._figure = figure
        self._scale = scale
        self._flow = Flow(seed, cancels=0)

    async def prepare(self) -> None:
        await self._closed(self._floor, self._scale.alone, CONNECTIONS)
        await self._closed(self._figure, self._scale.alone, CONNECTIONS)

    async def orders(self) -> Row:
        count = self._scale.rest_orders

        async def floor() -> Sample:
            return (await self._closed(self._floor, count, CONNECTIONS)).rate(count)

        async def figure() -> Sample:
            return (await self._closed(self._figure, count, CONNECTIONS)).rate(count)

        floors, figures = await interleaved(self._scale.rounds, floor, figure)
        return Row(
            f"REST, {CONNECTIONS} connections: orders",
            _FLOOR,
            PER_SECOND,
            column(figures, "rate"),
            column(floors, "rate"),
            goal=_ORDERS_GOAL,
        )

    async def alone(self) -> list[Row]:
        async def floor() -> Sample:
            return (await self._closed(self._floor, self._scale.alone, 1)).latency

        async def figure() -> Sample:
            return (await self._closed(self._figure, self._scale.alone, 1)).latency

        floors, figures = await interleaved(self._scale.rounds, floor, figure)
        return _latency_rows("REST, 1 in flight", _FLOOR, figures, floors, p50_goal=_LATENCY_GOAL_MILLISECONDS)

    async def under_load(self, capacity: float) -> list[Row]:
        """Orders on schedule, at a share of what closed loops reached."""
        rate = _LOAD * capacity

        async def floor() -> Sample:
            return (await self._scheduled(self._floor, rate)).latency

        async def figure() -> Sample:
            return (await self._scheduled(self._figure, rate)).latency

        floors, figures = await interleaved(self._scale.rounds, floor, figure)
        return _latency_rows(f"REST, {rate:,.0f}/s on schedule", _FLOOR, figures, floors)

    async def _closed(self, pool: HttpPool, count: int, in_flight: int) -> Load:
        load = await closed_loop(pool.ask, self._requests(count), in_flight)
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


def _latency_rows(
    name: str, floor_name: str, figures: list[Sample], floors: list[Sample], p50_goal: float | None = None
) -> list[Row]:
    return [
        Row(f"{name}: latency {key}", floor_name, MILLISECONDS, column(figures, key), column(floors, key), goal)
        for key, goal in (("p50", p50_goal), ("p99", None))
    ]
