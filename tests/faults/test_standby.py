"""Goal: with a matcher standing by, the loss of the one that serves costs a moment and nothing that was answered; and
whatever is killed or paused in whatever order, one serves in the end and nothing stale was ever answered.

Method: clients place orders without pause while real matchers are killed (kill -9), paused and woken (SIGSTOP, SIGCONT)
or told to hand over. Then the journal is read commit by commit, replayed, and compared with what the clients were told.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from nats.aio.client import Client

from contracts.messages import CancelOrder, Outcome, PlaceOrder
from contracts.subjects import MATCHER_HANDOVER, MATCHER_INSTRUMENTS, MATCHER_ORDER, MATCHER_TAKEN_OVER
from entry.matcher_client import MatcherClient as EntryClient
from entry.problems import Declined
from tests.support.flows import flowing
from tests.support.matchers import Matchers, Unanswered, client_of, order, order_id_of
from tests.support.proxy import proxy_to
from tests.support.servers import NatsServer, wait_until

pytestmark = pytest.mark.stack

KILLS = min(20, int(os.environ.get("PRICETIME_CHAOS_KILLS", "2")))


async def test_a_standby_goes_on_when_the_leader_is_killed_again_and_again(
    nats_server: NatsServer, matchers: Matchers
) -> None:
    leader = matchers.start_serving(nats_server)
    async with client_of(nats_server) as client, flowing(client) as flow:
        for kill in range(KILLS):
            standby = await asyncio.to_thread(matchers.start_standing_by, nats_server)
            await flow.until_answered(50)
            leader.kill()
            await client.until_served(epoch=kill + 2)
            await flow.until_answered(50)
            leader = standby
        flow.stopping = True
        await asyncio.gather(*flow.tasks)
        journal, state_hash = await client.journal_and_hash()
    flow.assert_all_in(journal)
    assert journal.commits[-1].matcher_epoch == KILLS + 1
    assert state_hash == journal.replay.engine.state_hash().hex()


async def test_a_leader_that_slept_through_a_take_over_writes_nothing_and_answers_nothing(
    nats_server: NatsServer, matchers: Matchers
) -> None:
    """Its sockets are full of requests when it wakes: orders, what it would refuse, and what it would tell from memory.

    It is not told of the take-over either, and nobody else is awake to answer: so any answer is its own, and stale.
    """
    async with proxy_to(nats_server) as proxy, client_of(nats_server) as client:
        proxy.losing = lambda frame: frame.startswith(f"MSG {MATCHER_TAKEN_OVER} ".encode())
        old = matchers.start(nats_server, nats_url=proxy.url)
        await client.until_served()
        new = await asyncio.to_thread(matchers.start_standing_by, nats_server)
        (first,) = await client.submit(order())
        old.pause()
        await client.until_served(epoch=2)
        await client.submit(CancelOrder(order_id_of(first.results[0])))
        (placed,) = await client.submit(order(client_order_id="c-1"))
        before = len((await client.journal()).commits)
        new.pause()
        question = json.dumps({"order_id": order_id_of(first.results[0])}).encode()
        asked = [
            asyncio.create_task(client.submit(CancelOrder(order_id_of(placed.results[0])), timeout=60)),
            asyncio.create_task(client.submit(order(client_order_id="c-2"), timeout=60)),
            asyncio.create_task(client.submit(CancelOrder(99), timeout=60)),
            asyncio.create_task(client.status(timeout=60)),
            asyncio.create_task(client.state_hash()),
            asyncio.create_task(client.connection.request(MATCHER_ORDER, question, timeout=60)),
            asyncio.create_task(client.connection.request(MATCHER_INSTRUMENTS, b"{}", timeout=60)),
        ]
        await client.connection.flush()
        old.resume()
        assert await asyncio.to_thread(old.exit_code) == 3
        assert not [task for task in asked if task.done()], "a stale answer"
        assert len((await client.journal()).commits) == before
        new.resume()
        answers = await asyncio.gather(*asked)
        assert answers[3]["matcher_epoch"] == 2
        again = await asyncio.to_thread(matchers.start_standing_by, nats_server)
        assert again.is_running
        journal = await client.journal()
    assert "another matcher" in old.output
    assert [commit.matcher_epoch for commit in journal.commits if commit.is_barrier] == [1, 2]


async def test_a_leader_that_slept_does_not_turn_away_what_another_has_got_too(
    nats_server: NatsServer, matchers: Matchers
) -> None:
    """That needs no look into any state, and would tell a client that nothing was done."""
    old = matchers.start_serving(nats_server)
    new = matchers.start_standing_by(nats_server)
    async with client_of(nats_server) as client:
        old.pause()
        await client.until_served(epoch=2)
        new.pause()
        asked = [asyncio.create_task(client.request([], timeout=60)) for _ in range(20)]
        await client.connection.flush()
        old.resume()
        assert await asyncio.to_thread(old.exit_code) == 3
        assert not [task for task in asked if task.done()]
        new.resume()
        await asyncio.gather(*asked)


async def test_a_leader_that_comes_back_after_the_standby_keeps_leading(
    nats_server: NatsServer, matchers: Matchers
) -> None:
    """After a restart of nats-server the standby finds no lease, and nobody who answers: it waits for a while."""
    async with proxy_to(nats_server) as proxy, client_of(nats_server) as client:
        leader = matchers.start(nats_server, nats_url=proxy.url, lease_seconds=30)
        await client.until_served()
        standby = await asyncio.to_thread(matchers.start_standing_by, nats_server, lease_seconds=30)
        proxy.refusing = True
        await asyncio.to_thread(nats_server.kill)
        await asyncio.to_thread(nats_server.start)
        assert await asyncio.to_thread(wait_until, lambda: "connected again" in standby.output)
        await asyncio.sleep(0.5)  # five looks: two without an answer would do
        proxy.refusing = False
        status = await client.until_served()
    assert (status["pid"], status["matcher_epoch"]) == (leader.process.pid, 1)


async def test_a_leader_that_is_paused_again_and_again_while_orders_flow(
    nats_server: NatsServer, matchers: Matchers
) -> None:
    """Whoever leads is put to sleep, and woken when the other one serves: it ends, and another one stands by for it."""
    leader = matchers.start_serving(nats_server)
    async with client_of(nats_server) as client, flowing(client) as flow:
        for pause in range(KILLS):
            standby = await asyncio.to_thread(matchers.start_standing_by, nats_server)
            await flow.until_answered(20)
            leader.pause()
            await client.until_served(epoch=pause + 2)
            leader.resume()
            assert await asyncio.to_thread(leader.exit_code) in (0, 3)
            await flow.until_answered(20)
            leader = standby
        flow.stopping = True
        await asyncio.gather(*flow.tasks)
        journal = await client.journal()
    flow.assert_all_in(journal)
    assert journal.commits[-1].matcher_epoch == KILLS + 1


async def test_a_restarted_server_does_not_make_the_standby_take_over(
    nats_server: NatsServer, matchers: Matchers
) -> None:
    """The lease was in its memory and is lost for everybody: the leader makes it anew and goes on leading."""
    matchers.start_serving(nats_server, lease_seconds=10)  # it is back within its time on a slow machine, too
    matchers.start_standing_by(nats_server, lease_seconds=10)
    async with client_of(nats_server) as client:
        async with flowing(client) as flow:
            for _ in range(2):
                await flow.until_answered(20)
                await asyncio.to_thread(nats_server.kill)
                await asyncio.to_thread(nats_server.start)
            await flow.until_answered(50)
        journal = await client.journal()
    flow.assert_all_in(journal)
    assert journal.commits[-1].matcher_epoch == 1


# Through the client that gateway and broadcaster use


@dataclass
class Orders:
    """Orders placed without pause; `decided` by client order id where they had one, else by number."""

    client: EntryClient
    named: bool
    decided: dict[str, Outcome] = field(default_factory=dict)
    declined: list[Declined] = field(default_factory=list)
    stopping: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def place(self, worker: int) -> None:
        number = 0
        while not self.stopping:
            number += 1
            name = f"{worker}-{number}"
            try:
                decided = await self.client.submit(order(client_order_id=name if self.named else None))
            except Declined as problem:
                self.declined.append(problem)
            else:
                if isinstance(decided.result, Outcome):
                    self.decided[name] = decided.result
                    self.news.set()

    async def until_decided(self, more: int) -> None:
        goal = len(self.decided) + more
        async with asyncio.timeout(60):
            while len(self.decided) < goal:
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def placing(connection: Client, *, named: bool, workers: int = 8) -> AsyncIterator[Orders]:
    client = EntryClient(connection, timeout_seconds=60, max_waiting=100_000, retry_seconds=60)
    await client.start()
    running = asyncio.create_task(client.run())
    orders = Orders(client, named)
    tasks = [asyncio.create_task(orders.place(worker)) for worker in range(workers)]
    try:
        yield orders
    finally:
        orders.stopping = True
        await asyncio.gather(*tasks)
        running.cancel()


async def test_handing_over_again_and_again_loses_and_refuses_no_order(
    nats_server: NatsServer, matchers: Matchers
) -> None:
    """Orders without a client order id: none of them may be sent twice, so each must be answered by whoever got it."""
    leader = matchers.start_serving(nats_server, lease_seconds=30)  # given away, and never lost to a slow machine
    async with client_of(nats_server) as client, placing(client.connection, named=False) as orders:
        for _ in range(KILLS):
            standby = await asyncio.to_thread(matchers.start_standing_by, nats_server, lease_seconds=30)
            await orders.until_decided(100)
            done = json.loads((await client.connection.request(MATCHER_HANDOVER, b"", timeout=60)).data)
            assert done["to"]["pid"] == standby.process.pid
            await orders.until_decided(100)
            assert await asyncio.to_thread(leader.exit_code) == 0
            leader = standby
    async with client_of(nats_server) as client:
        journal = await client.journal()
    assert orders.declined == []
    placed = [command for commit in journal.commits for command in commit.commands if isinstance(command, PlaceOrder)]
    assert len(placed) == len(orders.decided)


async def test_after_a_kill_what_was_on_its_way_is_sent_again_at_once(
    nats_server: NatsServer, matchers: Matchers
) -> None:
    """Every order gets an answer, long before the client would repeat it by itself (after a minute)."""
    leader = matchers.start_serving(nats_server)
    standby = matchers.start_standing_by(nats_server)
    async with client_of(nats_server) as client:
        async with placing(client.connection, named=True) as orders:
            await orders.until_decided(100)
            leader.pause()
            async with asyncio.timeout(50):
                await client.until_served(epoch=2)
                await orders.until_decided(100)
            leader.kill()
        journal = await client.journal()
    assert orders.declined == []
    placed = journal.outcomes_by_client_order_id()
    assert all(len(found) == 1 for found in placed.values())
    assert {name: found[0][1] for name, found in placed.items() if name in orders.decided} == orders.decided
    assert standby.is_running


async def test_the_fence_holds_even_if_both_believe_that_they_lead(nats_server: NatsServer, matchers: Matchers) -> None:
    """Somebody overwrites the lease with nonsense all the time: who leads is never clear, what is written always is."""
    one, other = matchers.start_serving(nats_server), matchers.start_standing_by(nats_server)
    async with client_of(nats_server) as client, flowing(client) as flow:
        await flow.until_answered(20)
        for _ in range(20):
            await client.connection.publish("$KV.MATCHER.leader", b"nonsense")
            await asyncio.sleep(0.05)
        if not (one.is_running or other.is_running):
            matchers.start_serving(nats_server)
        await flow.until_answered(20)
        flow.stopping = True
        await asyncio.gather(*flow.tasks)
        journal = await client.journal()
    flow.assert_all_in(journal)
    with pytest.raises(Unanswered):
        await client.submit(order(), timeout=0.01)
