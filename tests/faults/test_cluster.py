"""Goal: whatever becomes of the nodes of a NATS cluster, an answered order is in the journal exactly once as it was
answered, nothing is answered from what is no longer true, and orders go on whenever two of three nodes can.

Method: clients place orders without pause while one node is killed, two are, one is paused, or the one that leads the
journal is cut off from the others together with the matcher connected to it. Somebody reads the journal all along and
must not be told that it was cut. Then the journal is read commit by commit, replayed, and compared with the answers.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError

import entry.matcher_client
from contracts.messages import CancelOrder
from contracts.subjects import JOURNAL_STREAM, MATCHER_STATE_HASH
from entry.problems import Declined
from matcher.broker import check_stream
from matcher.journal_writer import confirm_end
from matcher.recovery import Recorded, follow_to_end
from matcher.replay import Replay
from runtime import connection as runtime_connection
from runtime.connection import close, connect, watch
from runtime.journal import JournalReader, journal_state
from runtime.leadership import certain_stream_info
from runtime.settings import Settings
from tests.support.clusters import Cluster, running_cluster
from tests.support.flows import flowing
from tests.support.matchers import MatcherClient, MatcherProcess, Matchers, Unanswered, client_of, order
from tests.support.servers import NatsServer, wait_until

pytestmark = pytest.mark.stack


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with running_cluster() as running:
        yield running


def start(matchers: Matchers, cluster: Cluster, **settings: Any) -> MatcherProcess:
    return matchers.start(cluster, replicas=3, **settings)


@asynccontextmanager
async def read_all_along(cluster: Cluster) -> AsyncIterator[list[int]]:
    """The sequences that a reader of the journal has come by. It lives through everything."""
    connection = await connect(cluster.url, "test")
    seen: list[int] = []

    async def read() -> None:
        async with JournalReader(connection, 1) as reader:
            async for messages in reader:
                seen.extend(sequence for sequence, _ in messages)

    reading = asyncio.create_task(read())
    try:
        yield seen
        end = (await journal_state(connection)).last_seq
        async with asyncio.timeout(60):
            while not seen or seen[-1] < end:
                assert not reading.done(), reading
                await asyncio.sleep(0.05)
        assert seen == list(range(1, len(seen) + 1))
    finally:
        while not reading.done():  # canceling is swallowed now and then
            reading.cancel()
            await asyncio.wait([reading], timeout=0.5)
        await close(connection)


async def test_the_loss_of_the_leading_node_and_its_return(cluster: Cluster, matchers: Matchers) -> None:
    matcher = start(matchers, cluster)
    async with client_of(cluster) as client, flowing(client) as flow:
        await client.until_served()
        async with read_all_along(cluster):
            await flow.until_answered(50)
            lost = await cluster.leader()
            lost.kill()
            await flow.until_answered(200)
            await cluster.start(lost)
            paused = await cluster.leader()
            os.kill(paused.pid, signal.SIGSTOP)
            await flow.until_answered(200)
            os.kill(paused.pid, signal.SIGCONT)
            await flow.until_answered(200)
            await cluster.until_well()
        flow.stopping = True
        await asyncio.gather(*flow.tasks)
        journal, state_hash = await client.journal_and_hash()
    assert matcher.is_running, matcher.output
    flow.assert_all_in(journal)
    assert journal.commits[-1].matcher_epoch == 1, "it need not have taken over from itself"
    assert state_hash == journal.replay.engine.state_hash().hex()


async def test_without_two_nodes_requests_are_refused_until_one_is_back(cluster: Cluster, matchers: Matchers) -> None:
    leader = await make_journal(cluster)
    left, other = cluster.others(leader)
    matcher = start(matchers, cluster, nats_url=left.url)
    async with client_of(left) as client, flowing(client, clients=2) as flow:
        await flow.until_answered(50)
        leader.kill()
        other.kill()
        await client.until(lambda status: not status["serving"])
        assert await until_told_at_once(client) == "matcher_unavailable"
        await cluster.start(other)
        await flow.until_answered(50)
        flow.stopping = True
        await asyncio.gather(*flow.tasks)
        journal = await client.journal()
    assert matcher.is_running, matcher.output
    flow.assert_all_in(journal)
    assert journal.commits[-1].matcher_epoch == 1


async def until_told_at_once(client: MatcherClient) -> str:
    """What a gateway says of orders that it does not even send."""
    gateway = entry.matcher_client.MatcherClient(client.connection, 5.0, 100)
    await gateway.start()
    waiting = [asyncio.create_task(gateway.submit(order()))]
    async with asyncio.timeout(60):
        while True:
            waiting.append(asyncio.create_task(gateway.submit(order())))
            await asyncio.wait(waiting[-1:], timeout=0.1)
            if waiting[-1].done():
                error = waiting[-1].exception()
                assert isinstance(error, Declined)
                await asyncio.gather(*(cancel(task) for task in waiting[:-1]))
                return error.problem.code


async def cancel(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    await asyncio.wait([task])


async def test_nothing_is_answered_where_the_leading_node_is_cut_off(cluster: Cluster, matchers: Matchers) -> None:
    """The old matcher and its node believe in themselves; what they know is only what was true before."""
    async with read_all_along(cluster):
        old_node = await make_journal(cluster)
        old = start(matchers, cluster, nats_url=old_node.url)
        await asyncio.to_thread(old.wait_until_serving)
        others = cluster.others(old_node)
        async with client_of(old_node) as cut_off:
            (placed,) = await cut_off.submit(order(client_order_id="before"))
            cluster.cut_off(old_node)
            stranded = asyncio.create_task(cut_off.submit(order(client_order_id="stranded"), timeout=60))
            new = start(matchers, cluster, nats_url=",".join(node.url for node in others))
            async with client_of(others[0]) as client:
                await client.until_served(epoch=2)
                (later,) = await client.submit(order(client_order_id="later"))
                assert await stale_end(cut_off.connection) < later.sequence, "this node shows nothing that is not true"
                with pytest.raises(TimeoutError):
                    await certain_stream_info(cut_off.connection, JOURNAL_STREAM)
                end = await stale_end(cut_off.connection)
                await assert_undecided(confirm_end(cut_off.connection, end), "it is taken for the end")
                await assert_undecided(confirm_end(cut_off.connection, later.sequence), "it is said to be cut")
                recorded: Recorded = {"sequence": later.sequence, "hash": ""}
                await assert_undecided(follow_to_end(cut_off.connection, Replay(), recorded), "it is said to be cut")
                await assert_undecided(first_read(cut_off.connection, later.sequence + 1), "it is said to be cut")
                for command in (CancelOrder(10**9), order(client_order_id="refused")):
                    with pytest.raises(Unanswered):  # not even "nothing was done": a route may bring it yet
                        await cut_off.request([command], timeout=1)
                with pytest.raises((NatsError, TimeoutError)):
                    await cut_off.connection.request(MATCHER_STATE_HASH, b"{}", timeout=1)
                cluster.join_again(old_node)
                assert await asyncio.to_thread(old.exit_code) == 3, old.output
                assert not stranded.done()
                await cancel(stranded)
                await client.submit(order(client_order_id="last"))
                journal = await client.journal()
    assert new.is_running, new.output
    assert "another matcher" in old.output
    found = journal.outcomes_by_client_order_id()
    assert found["before"] == [(placed.sequence, placed.results[0])]
    assert {"later", "last"} <= set(found)
    assert all(len(each) == 1 for each in found.values())


async def until_certain(connection: Client) -> None:
    """The others may have to find a new leader first."""
    async with asyncio.timeout(60):
        while True:
            try:
                await certain_stream_info(connection, JOURNAL_STREAM)
                return
            except (NatsError, TimeoutError):
                await asyncio.sleep(0.05)


async def assert_undecided(asking: Coroutine[Any, Any, object], otherwise: str) -> None:
    """It waits for better times instead of concluding from what this node says."""
    task = asyncio.create_task(asking)
    done, _ = await asyncio.wait([task], timeout=0.5)
    assert not done, (otherwise, task)
    await cancel(task)


async def first_read(connection: Client, start: int) -> object:
    async with JournalReader(connection, start) as reader:
        return await anext(aiter(reader))


async def make_journal(cluster: Cluster) -> NatsServer:
    """Before there is a matcher. Returns the node that leads it."""
    connection = await connect(cluster.url, "test")
    try:
        await check_stream(connection, Settings(replicas=3))
    finally:
        await close(connection)
    return await cluster.leader()


async def stale_end(connection: Client) -> int:
    """Where the journal ends, as this connection's node has it."""
    return (await connection.jsm(timeout=5).stream_info(JOURNAL_STREAM)).state.last_seq


async def test_a_service_leaves_a_node_that_has_lost_the_others(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_connection, "_ALONE_SECONDS", 0)
    connection = await connect(cluster.url, "test")
    await check_stream(connection, Settings(replicas=3))
    node = next(each for each in cluster.nodes if each.name == connection._server_info["server_name"])
    watching = asyncio.create_task(watch(connection))
    try:
        cluster.cut_off(node)
        assert await asyncio.to_thread(wait_until, lambda: connection._server_info["server_name"] != node.name)
        assert not watching.done()
        await until_certain(connection)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        cluster.join_again(node)
        await close(connection)
