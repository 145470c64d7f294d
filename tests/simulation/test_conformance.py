"""Is the simulated nats-server like the real one? Each case runs on both.

The real one is one server for all cases, so they leave nothing behind; the simulated one is new for each.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from random import Random

import pytest
from nats.aio.client import Client

import runtime.connection
from runtime.connection import close, connect
from simulation.broker import Broker, Network
from simulation.client import SimulatedClient
from simulation.loop import Process, SimulatedLoop
from tests.simulation.conformance_cases import CASES, Case, Exchange
from tests.support.servers import NatsServer

EACH = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@EACH
@pytest.mark.parametrize("seed", range(3))
def test_on_the_simulated_server(case: Case, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = SimulatedLoop()  # type: ignore[abstract]
    random = Random(seed)
    network = Network(loop, random)
    broker = Broker(loop, network, random, 1_790_000_000.0)
    monkeypatch.setattr(runtime.connection, "NatsClient", lambda: SimulatedClient(network, broker))

    async def kill() -> None:
        broker.crash()

    async def start() -> None:
        broker.start()

    async def connected(name: str) -> Client:
        return await connect("nats://simulated", name, inbox_prefix=f"_INBOX_{name}")

    with disposed(loop):
        task = Process(loop, "test").spawn(case(Exchange(case.__name__, connected, kill, start)))
        assert loop.run_until(60, task.done)
        task.result()


@contextmanager
def disposed(loop: SimulatedLoop) -> Iterator[None]:
    try:
        yield
    finally:
        loop.dispose()


@pytest.mark.stack
@EACH
async def test_on_the_real_server(case: Case, module_nats_server: NatsServer) -> None:
    async with clients_of(module_nats_server) as exchange:
        exchange.name = case.__name__
        await case(exchange)


@asynccontextmanager
async def clients_of(server: NatsServer) -> AsyncIterator[Exchange]:
    connections: list[Client] = []

    async def connected(name: str) -> Client:
        connections.append(await connect(server.url, name, inbox_prefix=f"_INBOX_{name}"))
        return connections[-1]

    async def kill() -> None:
        server.kill()

    async def start() -> None:
        server.start()  # not in a thread: the server would end with it

    exchange = Exchange("", connected, kill, start)
    try:
        yield exchange
        manager = connections[0].jsm()
        for stream in await manager.streams_info():
            await manager.delete_stream(str(stream.config.name))
    finally:
        for connection in connections:
            await close(connection)
