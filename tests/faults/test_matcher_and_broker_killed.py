"""Goal: whatever dies or gets lost between client, matcher and nats-server, an answered order is in the journal exactly
once with the outcome that was answered, and an unanswered one at most once.

Method: clients place orders without pause, each under an id of its own, while a real matcher or nats-server is killed
(kill -9) again and again, or a proxy between the two loses acknowledgements, holds everything back, or cuts. Then the
journal is read commit by commit, replayed, and compared with what the clients were told.
"""

import asyncio
import random

import pytest

from contracts.messages import Outcome
from tests.support.flows import flowing
from tests.support.matchers import Matchers, client_of, order
from tests.support.proxy import Proxy, acknowledgements, proxy_to
from tests.support.servers import NatsServer

pytestmark = pytest.mark.stack

KILLS = 5


async def test_a_matcher_killed_again_and_again(nats_server: NatsServer, matchers: Matchers) -> None:
    async with client_of(nats_server) as client, flowing(client) as flow:
        for _ in range(KILLS):
            matcher = matchers.start_serving(nats_server)
            await flow.until_answered(random.Random(flow.sent).randint(20, 200))
            matcher.kill()
        matchers.start_serving(nats_server)
        await flow.until_answered(50)
        flow.stopping = True
        await asyncio.gather(*flow.tasks)
        journal, state_hash = await client.journal_and_hash()
    flow.assert_all_in(journal)
    assert journal.commits[-1].matcher_epoch == KILLS + 1
    assert state_hash == journal.replay.engine.state_hash().hex(), "the live book is not what the journal gives"


async def test_a_broker_killed_again_and_again(nats_server: NatsServer, matchers: Matchers) -> None:
    """The matcher lives through it: it finds out what became of the commit that was on its way, and goes on."""
    matcher = matchers.start_serving(nats_server)
    async with client_of(nats_server) as client, flowing(client) as flow:
        for _ in range(KILLS):
            await flow.until_answered(random.Random(flow.sent).randint(20, 200))
            await asyncio.to_thread(nats_server.kill)
            await asyncio.to_thread(nats_server.start)
        await flow.until_answered(50)
        flow.stopping = True
        await asyncio.gather(*flow.tasks)
        journal, state_hash = await client.journal_and_hash()
    assert matcher.is_running, matcher.output
    flow.assert_all_in(journal)
    assert journal.commits[-1].matcher_epoch == 1, "it need not have taken over from itself"
    assert state_hash == journal.replay.engine.state_hash().hex()


async def test_a_lost_acknowledgement_is_found_out_and_answered(nats_server: NatsServer, matchers: Matchers) -> None:
    async with proxy_to(nats_server) as proxy, client_of(nats_server) as client:
        matcher = matchers.start(nats_server, nats_url=proxy.url)
        await client.until_served()
        (before,) = await client.submit(order(client_order_id="c-0"))  # so that it is the order's that is lost
        proxy.losing = acknowledgements
        asking = asyncio.create_task(client.submit(order(client_order_id="c-1"), timeout=30))
        await proxy.until_lost(1)
        proxy.losing = None
        (part,) = await asking
        journal = await client.journal()
    assert matcher.is_running
    told = {"c-0": before, "c-1": part}
    assert journal.outcomes_by_client_order_id() == {
        name: [(each.sequence, each.results[0])] for name, each in told.items()
    }
    assert "is not acknowledged yet" in matcher.output


async def test_nothing_is_answered_while_the_acknowledgement_is_out(
    nats_server: NatsServer, matchers: Matchers
) -> None:
    """The commit is in the journal, but the matcher cannot know: no answer, and no other commit, before it does."""
    async with proxy_to(nats_server) as proxy, client_of(nats_server) as client:
        matchers.start(nats_server, nats_url=proxy.url)
        await client.until_served()
        await client.submit(order(client_order_id="c-0"))  # so that no commit of the matcher's own is on its way
        proxy.losing = acknowledgements
        first = asyncio.create_task(client.submit(order(client_order_id="c-1"), timeout=30))
        await proxy.until_lost(1)
        second = asyncio.create_task(client.submit(order(client_order_id="c-2"), timeout=30))
        await proxy.until_lost(2)
        journal = await client.journal()
        assert list(journal.outcomes_by_client_order_id()) == ["c-0", "c-1"]
        assert not first.done()
        assert not second.done()
        proxy.losing = None
        answers = await asyncio.gather(first, second)
        journal = await client.journal()
    assert [part.sequence for (part,) in answers] == [len(journal.commits) - 1, len(journal.commits)]
    assert all(isinstance(part.results[0], Outcome) for (part,) in answers)


async def test_a_bad_network_between_matcher_and_broker(nats_server: NatsServer, matchers: Matchers) -> None:
    chance = random.Random(7)
    async with proxy_to(nats_server) as proxy, client_of(nats_server) as client:
        matcher = matchers.start(nats_server, nats_url=proxy.url)
        await client.until_served()
        async with flowing(client) as flow:
            for trouble in (cut, hold, cut_and_lose, cut):
                await flow.until_answered(chance.randint(5, 100))
                await trouble(proxy)
            await flow.until_answered(50)
        journal = await client.journal()
    assert matcher.is_running, matcher.output
    flow.assert_all_in(journal)


async def lose(proxy: Proxy) -> None:
    goal = proxy.lost + 1
    proxy.losing = acknowledgements
    await proxy.until_lost(goal)
    proxy.losing = None


async def hold(proxy: Proxy) -> None:
    """Long enough for the matcher to ask again; then all of it arrives, late and doubled."""
    proxy.flowing.clear()
    await asyncio.sleep(2.5)
    proxy.flowing.set()


async def cut(proxy: Proxy) -> None:
    proxy.cut()


async def cut_and_lose(proxy: Proxy) -> None:
    proxy.cut()
    await lose(proxy)
