"""The lease on a real nats-server: one holds it, the others see when it is over, and nobody believes an old view."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from msgspec.structs import replace

import matcher.lease
from matcher.lease import ANYONE, Lease
from runtime.settings import Settings
from tests.support.matchers import client_of
from tests.support.servers import NatsServer

pytestmark = pytest.mark.stack


@dataclass
class Time:
    """What the lease's clock shows."""

    now: float = 1000.0


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(matcher.lease, "steady", lambda: time.now)
    return time


@dataclass
class Two:
    """Each with a connection of its own."""

    one: Lease
    other: Lease


@pytest.fixture
async def two(module_nats_server: NatsServer) -> AsyncIterator[Two]:
    async with client_of(module_nats_server) as a, client_of(module_nats_server) as b:
        yield Two(Lease(a.connection, Settings()), Lease(b.connection, Settings()))
        await a.connection.jsm().purge_stream("KV_MATCHER")


async def taken(lease: Lease) -> bool:
    """The first try on a new server only makes the bucket."""
    return (await lease.look() and await lease.take()) or (await lease.look() and await lease.take())


async def test_one_takes_it_and_the_other_sees_who_has_it(two: Two, time: Time) -> None:
    assert await taken(two.one)
    assert await two.other.look()
    assert two.other.holder == two.one.me
    assert (two.one.is_held, two.one.is_certain, two.other.is_over) == (True, True, False)


async def test_of_two_who_take_it_at_once_one_gets_it(two: Two, time: Time) -> None:
    await taken(two.one)
    await two.one.hand_to(ANYONE)
    third = Lease(two.one._connection, Settings())
    await asyncio.gather(two.other.look(), third.look())
    assert sorted(await asyncio.gather(two.other.take(), third.take())) == [False, True]


async def test_it_is_over_when_it_was_not_seen_to_change_for_its_time(two: Two, time: Time) -> None:
    await taken(two.one)
    await two.other.look()
    time.now += 0.9
    await two.one.renew()
    await two.other.look()
    time.now += 0.9
    await two.other.look()
    assert not two.other.is_over
    time.now += 0.1
    await two.other.look()
    assert two.other.is_over
    assert await two.other.take()


async def test_whoever_was_asleep_looks_before_it_takes(two: Two, time: Time) -> None:
    """It was renewed all the while: an old view of it must not do."""
    await taken(two.one)
    await two.other.look()
    time.now += 3600
    await two.one.renew()
    assert not await two.other.take()
    await two.other.look()
    assert not two.other.is_over


async def test_its_holder_is_certain_only_as_long_as_nobody_else_can_have_it(two: Two, time: Time) -> None:
    """As counted from when the renewal was sent: that it was stored later gives others more time, not less."""
    await taken(two.one)
    time.now += 0.9
    await two.one.renew()
    time.now += 0.99
    assert two.one.is_certain
    time.now += 0.01
    assert not two.one.is_certain


async def test_a_holder_finds_out_that_it_was_taken(two: Two, time: Time) -> None:
    await taken(two.one)
    await two.other.look()
    time.now += 2
    await two.other.look()
    assert await two.other.take()
    await two.one.renew()
    assert two.one.lost.is_set()
    assert not two.one.is_held
    assert not two.one.is_certain
    assert two.one.holder == two.other.me


async def test_a_renewal_whose_acknowledgement_was_lost_is_recognized(two: Two, time: Time) -> None:
    await taken(two.one)
    two.one._sequence -= 1  # as if the last one had been stored without our knowing
    await two.one.renew(serving=True)
    assert two.one.is_held
    assert await two.other.look()
    assert two.other.holder == replace(two.one.me, serving=True)


async def test_an_expired_entry_counts_from_when_it_last_changed(two: Two, time: Time) -> None:
    await taken(two.one)
    await two.other.look()
    time.now += 0.5
    await two.one._connection.jsm().purge_stream("KV_MATCHER")  # what its TTL does
    await two.other.look()
    assert two.other.holder is None
    time.now += 0.5
    assert two.other.is_over


async def test_what_cannot_be_read_counts_for_nothing(two: Two, time: Time) -> None:
    await taken(two.one)
    await two.other.look()
    time.now += 0.9
    connection = two.other._connection
    await connection.close()
    assert not await two.other.look()
    time.now += 0.9
    assert not two.other.is_over


async def test_it_is_handed_to_one_and_not_renewed_any_more(two: Two, time: Time) -> None:
    await taken(two.one)
    await two.one.hand_to("the other")
    await two.other.look()
    assert two.other.holder is not None
    assert (two.other.holder.handed_to, two.one.is_held) == ("the other", False)
    time.now += 1
    await two.one.look()
    assert two.one.is_over
    assert await two.one.take(), "nobody took it: its first holder may go on"
    assert two.one.me.handed_to is None


async def test_the_entry_goes_by_itself(two: Two) -> None:
    await taken(two.one)
    async with asyncio.timeout(60):
        while two.other.holder is not None or not await two.other.look():
            await two.other.look()
            await asyncio.sleep(0.05)


async def test_an_entry_that_cannot_be_read_is_over_after_its_time(two: Two, time: Time) -> None:
    await taken(two.one)
    await two.one._connection.jetstream().publish("$KV.MATCHER.leader", b"nonsense")
    await two.other.look()
    assert two.other.holder is None
    assert not two.other.is_over
    time.now += 1
    assert two.other.is_over
    assert await two.other.take()


async def test_a_restarted_server_has_forgotten_it_and_the_holder_keeps_it(nats_server: NatsServer) -> None:
    async with client_of(nats_server) as client:
        lease = Lease(client.connection, Settings())
        await taken(lease)
        await asyncio.to_thread(nats_server.kill)
        await asyncio.to_thread(nats_server.start)
        other = Lease(client.connection, Settings())
        async with asyncio.timeout(60):
            while other.holder is None:
                await lease.renew()
                await other.look()
                await asyncio.sleep(0.05)
    assert other.holder == lease.me
    assert lease.is_certain
    assert not lease.lost.is_set()


async def test_after_a_reconnection_its_holder_has_its_whole_time_again(nats_server: NatsServer, time: Time) -> None:
    """It was probably cut off as well."""
    async with client_of(nats_server) as client:
        holder, other = Lease(client.connection, Settings()), Lease(client.connection, Settings())
        await taken(holder)
        await other.look()
        await asyncio.to_thread(nats_server.kill)
        time.now += 5
        await asyncio.to_thread(nats_server.start)
        async with asyncio.timeout(60):
            while not client.connection.stats["reconnects"]:  # noqa: ASYNC110 (nats-py has no event for it)
                await asyncio.sleep(0.05)
        assert await other.look()
    assert not other.is_over
    time.now += 1
    assert other.is_over
