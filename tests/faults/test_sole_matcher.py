"""Goal: at most one matcher writes the journal, and one that lost it stops and says why.

Method: several real matchers on one journal, started together or paused (SIGSTOP) while requests flow, so that the
paused one has a commit to write when it wakes. The journal is then read commit by commit. The same is done with
matchers whose fence is switched off: what the fence prevents must then be there, or this test could not see it.
"""

import asyncio

import pytest

from contracts.commits import JournalBroken, decode_commit
from contracts.messages import CancelOrder, OrderCanceled, Outcome
from contracts.subjects import MATCHER_TAKEN_OVER
from tests.support.flows import Flow, flowing
from tests.support.matchers import (
    MatcherProcess,
    Matchers,
    Unanswered,
    client_of,
    order,
    order_id_of,
    raw_journal,
)
from tests.support.proxy import proxy_to
from tests.support.servers import NatsServer

pytestmark = pytest.mark.stack


async def pause_take_over_and_wake(
    server: NatsServer, matchers: Matchers, flow: Flow, *, fenced: bool
) -> MatcherProcess:
    """One matcher is paused with work in its hands, another takes over, the first wakes up and ends."""
    first = matchers.start_serving(server, fenced=fenced)
    await flow.until_answered(50)
    first.pause()
    second = matchers.start(server, fenced=fenced)
    await asyncio.to_thread(second.wait_until_serving)
    await flow.until_answered(50)
    first.resume()
    await asyncio.to_thread(first.exit_code)
    return first


async def test_of_two_matchers_started_at_once_one_serves_and_the_other_stands_by(
    nats_server: NatsServer, matchers: Matchers
) -> None:
    one, other = matchers.start(nats_server), matchers.start(nats_server)
    async with client_of(nats_server) as client:
        status = await client.until_served()
        winner, loser = (one, other) if status["pid"] == one.process.pid else (other, one)
        await asyncio.to_thread(loser.wait_until_standing_by)
        (part,) = await client.submit(order())
        journal = await client.journal()
    assert "serving from" in winner.output
    assert "serving from" not in loser.output
    assert isinstance(part.results[0], Outcome)
    assert {commit.matcher_epoch for commit in journal.commits} == {1}


async def test_a_paused_matcher_that_wakes_up_after_a_take_over_stops(
    nats_server: NatsServer, matchers: Matchers
) -> None:
    async with client_of(nats_server) as client:
        async with flowing(client) as flow:
            first = await pause_take_over_and_wake(nats_server, matchers, flow, fenced=True)
            await flow.until_answered(50)
        journal = await client.journal()
    assert first.exit_code() == 3
    assert "another matcher" in first.output
    epochs = [commit.matcher_epoch for commit in journal.commits]
    barrier = epochs.index(2)
    assert journal.commits[barrier].is_barrier
    assert set(epochs[:barrier]) == {1}
    assert set(epochs[barrier:]) == {2}, "the old matcher wrote after the barrier"
    flow.assert_all_in(journal)


async def test_the_fence_alone_stops_a_paused_matcher_and_nothing_is_answered(
    nats_server: NatsServer, matchers: Matchers
) -> None:
    """It is not told of the take-over: it carries out in memory what only it received, and then may not write it."""
    async with proxy_to(nats_server) as proxy, client_of(nats_server) as client:
        proxy.losing = lambda frame: frame.startswith(f"MSG {MATCHER_TAKEN_OVER} ".encode())
        first = matchers.start(nats_server, nats_url=proxy.url)
        await client.until_served()
        first.pause()
        stranded = [asyncio.create_task(client.submit(order(client_order_id=f"c-{n}"), timeout=3)) for n in range(5)]
        await client.connection.flush()
        await asyncio.to_thread(matchers.start(nats_server).wait_until_serving)
        (placed,) = await client.submit(order(client_order_id="later"))
        first.resume()
        assert await asyncio.to_thread(first.exit_code) == 3
        results = await asyncio.gather(*stranded, return_exceptions=True)
        journal = await client.journal()
    assert "another matcher took over: it wrote journal sequence" in first.output
    assert [type(result) for result in results] == [Unanswered] * 5
    assert journal.outcomes_by_client_order_id() == {"later": [(placed.sequence, placed.results[0])]}


async def test_without_the_fence_the_violation_is_seen(nats_server: NatsServer, matchers: Matchers) -> None:
    """The negative control. The old matcher's commit gets in behind the barrier, and the chain breaks there."""
    async with client_of(nats_server) as client:
        async with flowing(client) as flow:
            await pause_take_over_and_wake(nats_server, matchers, flow, fenced=False)
        messages = await raw_journal(client.connection)
        epochs = [decode_commit(sequence, payload)[0].matcher_epoch for sequence, payload in messages]
        assert 1 in epochs[epochs.index(2) :], "nothing came behind the barrier: this test would miss a broken fence"
        with pytest.raises(JournalBroken):
            await client.journal()


async def test_a_matcher_that_missed_a_take_over_answers_nothing_from_its_old_state(
    nats_server: NatsServer, matchers: Matchers
) -> None:
    """It was cut off meanwhile. A refusal needs no commit, so the fence alone would not hold it back."""
    async with proxy_to(nats_server) as proxy, client_of(nats_server) as client:
        old = matchers.start(nats_server, nats_url=proxy.url)
        await client.until_served()
        proxy.refusing = True
        proxy.cut()
        new = matchers.start(nats_server)
        await client.until_served(epoch=2)
        (placed,) = await client.submit(order(client_order_id="c-1"))
        new.pause()  # only the old one can answer now
        proxy.refusing = False
        cancel = CancelOrder(order_id_of(placed.results[0]))
        while old.is_running:
            with pytest.raises(Unanswered):
                await client.submit(cancel, timeout=0.1)
        assert old.exit_code() in (0, 3)  # it finds the other's lease first, or the other's barrier
        assert "another matcher" in old.output
        new.resume()
        await client.submit(cancel)
        journal = await client.journal()
    assert isinstance(journal.commits[-1].outcomes[0].events[0], OrderCanceled)
