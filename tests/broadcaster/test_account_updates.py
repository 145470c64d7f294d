"""accounts.<account>.orders: nothing is missed by whoever listens, nothing is encoded where nobody does."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from broadcaster import account_updates
from broadcaster.account_updates import AccountUpdates
from broadcaster.orders import OrderChange, OrderEvent
from broadcaster.publishing import publish
from broadcaster.streams import Update, updates_of
from contracts.messages import OrderState, OrderType, Side, TimeInForce
from contracts.subjects import account_orders
from contracts.views import Instrument
from runtime.connection import close, connect
from tests.support.servers import NatsServer

pytestmark = pytest.mark.stack

GOLD = Instrument("GOLD", "0.01", "0.001", 1, 10)


def update(sequence: int, account: str) -> Update:
    order = OrderState(1, None, account, "GOLD", Side.BUY, OrderType.LIMIT, TimeInForce.GTC, False, 1, 5, 0, "0", 0)
    [only] = updates_of([OrderChange(order, 0, 0, sequence, 0, 0, OrderEvent.ACCEPTED)], lambda _: GOLD)
    return only


class Source:
    """Makes updates as they would come from the journal."""

    def __init__(self, connection: Client, accounts: AccountUpdates) -> None:
        self.connection = connection
        self.accounts = accounts
        self.sequence = 0
        self.made: list[Update] = []

    async def make(self, account: str, count: int = 1) -> None:
        new = []
        for _ in range(count):
            self.sequence += 1
            new.append(update(self.sequence, account))
        self.made += new
        await publish(self.connection, self.accounts.take(new))

    @property
    def encoded(self) -> int:
        return sum(each._encoded is not None for each in self.made)


@pytest.fixture
async def source(nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Source]:
    monkeypatch.setattr(account_updates, "ASK_SECONDS", 0.01)
    monkeypatch.setattr(account_updates, "ASK_AGAIN_SECONDS", 0.1)
    connection = await connect(nats_server.url, "broadcaster")
    accounts = AccountUpdates(connection)
    running = asyncio.create_task(accounts.run())
    yield Source(connection, accounts)
    running.cancel()
    await close(connection)


@pytest.fixture
async def listener(nats_server: NatsServer) -> AsyncIterator[Client]:
    connection = await connect(nats_server.url, "listener")
    yield connection
    await close(connection)


async def listen(connection: Client, account: str) -> tuple[list[int], Callable[[], object]]:
    """The sequences heard from now on, and how to stop."""
    heard: list[int] = []

    async def note(message: Msg) -> None:
        heard.append(json.loads(message.data)["sequence"])

    subscription = await connection.subscribe(account_orders(account), cb=note)
    await connection.flush()
    return heard, subscription.unsubscribe


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)


async def test_who_listens_hears_all_in_order(source: Source, listener: Client) -> None:
    heard, _ = await listen(listener, "anna")
    for _ in range(50):
        await source.make("anna", 10)
        await source.make("ben")
        await asyncio.sleep(0.002)
    expected = [each.sequence for each in source.made if each.account == "anna"]
    await until(lambda: len(heard) == len(expected))
    assert heard == expected


async def test_what_nobody_hears_is_hardly_ever_encoded(source: Source) -> None:
    for _ in range(50):
        await source.make("anna", 100)
        await asyncio.sleep(0.002)
    await asyncio.sleep(0.1)
    assert 0 < source.encoded < len(source.made) / 20
    assert not source.accounts._waiting


async def test_who_comes_and_goes_misses_nothing_while_there(source: Source, listener: Client) -> None:
    """Goal: whatever is known of listeners, each hears every update from after its coming until before its going.

    Method: updates without pause, and a listener that comes and goes at random moments.
    """
    chance, stopping = random.Random(4), False

    async def make() -> None:
        while not stopping:
            await source.make("anna", chance.randint(1, 5))
            await asyncio.sleep(chance.random() * 0.004)

    making = asyncio.create_task(make())
    for _ in range(25):
        await asyncio.sleep(chance.random() * 0.15)
        heard, stop = await listen(listener, "anna")
        first = source.sequence + 1
        await asyncio.sleep(chance.random() * 0.15)
        last = source.sequence
        await until(lambda heard=heard, last=last: bool(heard) and heard[-1] >= last)  # type: ignore[misc]
        await stop()  # type: ignore[misc]
        assert heard == list(range(heard[0], heard[0] + len(heard)))
        assert heard[0] <= first
    stopping = True
    await making


async def test_what_came_while_it_was_asked_comes_before_what_comes_later(source: Source, listener: Client) -> None:
    heard, _ = await listen(listener, "anna")
    assert source.accounts.take([update(1, "anna"), update(2, "anna")]) == []
    await source.accounts._publish_all("anna", [])  # as after a question with one update only
    await publish(source.connection, source.accounts.take([update(3, "anna")]))
    await until(lambda: len(heard) == 3)
    assert heard == [1, 2, 3]


async def test_a_listener_that_has_gone_is_noticed(source: Source, listener: Client) -> None:
    heard, stop = await listen(listener, "anna")
    await source.make("anna")
    await until(lambda: heard == [1])
    await stop()  # type: ignore[misc]
    await listener.flush()

    async def is_noticed() -> bool:
        await source.make("anna")
        return "anna" not in source.accounts._listened

    async with asyncio.timeout(60):
        while True:
            if await is_noticed():
                break
            await asyncio.sleep(0.01)


async def test_what_waits_while_the_server_is_away_is_bounded(
    source: Source, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(account_updates, "_MOST_WAITING", 1_000)
    await asyncio.to_thread(nats_server.kill)
    await until(lambda: not source.connection.is_connected)
    await source.make("anna", 1_001)
    assert not source.accounts._waiting
    assert "1001 order updates were not published" in caplog.text
