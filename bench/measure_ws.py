"""Orders over WebSocket with every service running, beside the same orders over NATS with as many in flight.

An order counts when it is answered with `placed`, after it is on disk. Over WebSocket it is JSON with decimals, looked
at as REST looks at it; over NATS it is the command that the matcher reads.
"""

from pathlib import Path

from bench.client import NatsAsker, WebSocketPool, WrongAnswer
from bench.flow import Flow
from bench.latency import on_schedule
from bench.load import Load, closed_loop, open_loop
from bench.measure_nats import check_accepted, requests_of, settled
from bench.measure_rest import order_body
from bench.processor import Processors
from bench.programs import asking, websockets, whole_stack
from bench.rounds import Row, interleaved
from bench.run import Say
from bench.scale import SEED, Scale
from bench.throughput import Side, rate_row
from contracts.subjects import ORDERS_SUBMIT

_PER_CONNECTION = 64
_CONNECTIONS = (1, 4)
_LOAD = 0.5
_RATIO_GOAL = 0.7
_ANY = str(1_000_000)
"""Messages a second that one connection may send. It may send 1,000 by default, far less than it is to show here."""


async def measure(scale: Scale, folder: Path, say: Say) -> list[Row]:
    say("starting the whole stack")
    async with (
        whole_stack(folder, ws_requests_per_second=_ANY) as stack,
        asking(stack.nats) as (_, asker),
        websockets(stack.ws, max(_CONNECTIONS)) as pool,
    ):
        ws = WebSocketMeasurements(asker, pool, scale, SEED)
        await ws.prepare()
        rows = []
        for connections in _CONNECTIONS:
            say(f"{connections * _PER_CONNECTION} in flight")
            rows.append(await ws.orders(connections))
        say("on schedule")
        return rows + await ws.under_load(rows[0].figure)


class WebSocketMeasurements:
    """Floor and figure are sent to the same exchange, in turn, which accepts orders of both flows."""

    def __init__(self, asker: NatsAsker, pool: WebSocketPool, scale: Scale, seed: int) -> None:
        self._asker = asker
        self._pool = pool
        self._scale = scale
        self._processors = Processors()
        self._flow = Flow(seed, cancels=0)

    async def prepare(self) -> None:
        await self._over_nats(self._scale.ws_orders, _PER_CONNECTION)
        await self._over_ws(self._scale.ws_orders, 1)

    async def orders(self, connections: int) -> Row:
        count, in_flight = self._scale.ws_orders, connections * _PER_CONNECTION

        async def floor() -> Load:
            return await self._over_nats(count, in_flight)

        async def figure() -> Load:
            return await self._over_ws(count, connections)

        floors, figures = await interleaved(self._scale.rounds, floor, figure)
        return rate_row(
            Side(f"WebSocket, {connections} x {_PER_CONNECTION} in flight: orders", figures, count),
            Side(f"NATS, {in_flight} in flight, all services", floors, count),
            ratio_goal=_RATIO_GOAL,
        )

    async def under_load(self, capacity: float) -> list[Row]:
        """Orders on schedule, at a share of what one connection reached."""
        rate = _LOAD * capacity
        count = int(rate * self._scale.loaded_seconds)

        async def floor() -> Load:
            await settled(self._asker)
            return _accepted(await open_loop(self._submit, self._commands(count), rate))

        async def figure() -> Load:
            await settled(self._asker)
            return _placed(await open_loop(self._pool.ask, self._requests(count), rate))

        name, floor_name = f"WebSocket, {rate:,.0f}/s on schedule", "NATS, all services"
        return await on_schedule(name, floor_name, self._scale.rounds, floor, figure)

    async def _over_nats(self, count: int, in_flight: int) -> Load:
        await settled(self._asker)
        return _accepted(await closed_loop(self._submit, self._commands(count), in_flight, self._processors))

    async def _over_ws(self, count: int, connections: int) -> Load:
        await settled(self._asker)
        ask = self._pool.first(connections).ask
        return _placed(await closed_loop(ask, self._requests(count), connections * _PER_CONNECTION, self._processors))

    async def _submit(self, payload: bytes) -> bytes:
        return await self._asker.ask(ORDERS_SUBMIT, payload)

    def _commands(self, count: int) -> list[bytes]:
        return requests_of(self._flow.next_commands(count), 1)

    def _requests(self, count: int) -> list[bytes]:
        return [b'"op":"place",' + order_body(each)[1:] for each in self._flow.next_commands(count)]


def _accepted(load: Load) -> Load:
    check_accepted(load, len(load.answers))
    return load


def _placed(load: Load) -> Load:
    for answer in load.answers:
        if b'"type":"placed"' not in answer:
            raise WrongAnswer(f"an order was not taken: {answer[:1000]!r}")
    return load
