"""A matcher that stands by: how far it says that it is, whose turn it is, and handing over to it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from nats.aio.msg import Msg

from contracts.messages import Side
from contracts.subjects import MATCHER_HANDOVER, MATCHER_STANDBY
from tests.support.matchers import MatcherClient, Matchers, client_of, order
from tests.support.servers import NatsServer

pytestmark = pytest.mark.stack

LEASE_SECONDS = 30.0
"""Where the one that leads is to go on leading, however slow the machine is."""


async def ask(client: MatcherClient, subject: str, question: object = None, seconds: float = 60) -> dict[str, Any]:
    body = b"" if question is None else json.dumps(question).encode()
    answer: dict[str, Any] = json.loads((await client.connection.request(subject, body, timeout=seconds)).data)
    return answer


async def test_it_follows_and_has_the_same_state(nats_server: NatsServer, matchers: Matchers) -> None:
    leader = matchers.start_serving(nats_server, lease_seconds=LEASE_SECONDS)
    standby = matchers.start_standing_by(nats_server, lease_seconds=LEASE_SECONDS)
    assert f"for process {leader.process.pid} on" in standby.output
    async with client_of(nats_server) as client:
        await client.submit(*[order(side, 100 + number) for number in range(20) for side in Side])
        found = await client.state_hash()
        followed = await ask(client, MATCHER_STANDBY, {"state_hash_at": found["sequence"]})
        assert (followed["hash"], followed["pid"]) == (found["hash"], standby.process.pid)
        assert (followed["sequence"], followed["ready"]) == (found["sequence"], True)
        later = asyncio.create_task(ask(client, MATCHER_STANDBY, {"state_hash_at": found["sequence"] + 1}))
        await client.submit(order())
        assert (await later)["hash"] == (await client.state_hash())["hash"]
        assert (await ask(client, MATCHER_STANDBY, {"state_hash_at": 1}))["hash"] is None
        assert (await ask(client, MATCHER_STANDBY, [1]))["error"] == "invalid_question"


async def test_one_that_starts_beside_a_leader_leaves_it_alone(nats_server: NatsServer, matchers: Matchers) -> None:
    leader = matchers.start_serving(nats_server, lease_seconds=LEASE_SECONDS)
    for _ in range(2):
        matchers.start_standing_by(nats_server, lease_seconds=LEASE_SECONDS)
    async with client_of(nats_server) as client:
        await client.submit(order())
        status = await client.status()
    assert (status["pid"], status["matcher_epoch"]) == (leader.process.pid, 1)


async def test_a_stopped_leader_lets_the_standby_go_on(nats_server: NatsServer, matchers: Matchers) -> None:
    leader = matchers.start_serving(nats_server)
    standby = matchers.start_standing_by(nats_server)
    async with client_of(nats_server) as client:
        leader.terminate()
        status = await client.until_served(epoch=2)
        assert await asyncio.to_thread(leader.exit_code) == 0
    assert status["pid"] == standby.process.pid


async def test_of_two_that_stand_by_one_goes_on_and_the_other_follows_it(
    nats_server: NatsServer, matchers: Matchers
) -> None:
    leader = matchers.start_serving(nats_server, lease_seconds=LEASE_SECONDS)
    one, other = (matchers.start_standing_by(nats_server, lease_seconds=LEASE_SECONDS) for _ in range(2))
    async with client_of(nats_server) as client:
        await client.submit(order())
        leader.kill()
        status = await client.until_served(epoch=2)
        await client.submit(order())
        last, follower = (one, other) if status["pid"] == one.process.pid else (other, one)
        last.kill()
        status = await client.until_served(epoch=3)
        journal = await client.journal()
    assert status["pid"] == follower.process.pid
    assert [commit.matcher_epoch for commit in journal.commits if commit.is_barrier] == [1, 2, 3]


async def test_a_handover_goes_on_from_exactly_there(nats_server: NatsServer, matchers: Matchers) -> None:
    leader = matchers.start_serving(nats_server, lease_seconds=LEASE_SECONDS)
    standby = matchers.start_standing_by(nats_server, lease_seconds=LEASE_SECONDS)
    async with client_of(nats_server) as client:
        (part,) = await client.submit(order())
        done = await ask(client, MATCHER_HANDOVER)
        assert await asyncio.to_thread(leader.exit_code) == 0
        status = await client.until_served(epoch=2)
        journal = await client.journal()
    assert (done["sequence"], done["to"]["pid"]) == (part.sequence, standby.process.pid)
    assert status["pid"] == standby.process.pid
    assert [commit.is_barrier for commit in journal.commits] == [True, False, False, True]


async def test_without_a_standby_nothing_is_handed_over(nats_server: NatsServer, matchers: Matchers) -> None:
    matchers.start_serving(nats_server)
    async with client_of(nats_server) as client:
        answer = await ask(client, MATCHER_HANDOVER)
        await client.submit(order())
        status = await client.status()
    assert answer["error"] == "no_standby"
    assert "--standby" in answer["detail"]
    assert status["matcher_epoch"] == 1


@asynccontextmanager
async def pretending(client: MatcherClient, **said: object) -> AsyncIterator[None]:
    """Somebody who says that it stands by, and does nothing when its turn comes: as one that dies just then."""

    async def answer(message: Msg) -> None:
        await message.respond(json.dumps({"id": "x", "host": "h", "pid": 1, "ready": True} | said).encode())

    subscription = await client.connection.subscribe(MATCHER_STANDBY, cb=answer)
    await client.connection.flush()
    yield
    await subscription.unsubscribe()


async def test_a_standby_that_is_far_behind_is_not_handed_to(nats_server: NatsServer, matchers: Matchers) -> None:
    matchers.start_serving(nats_server)
    async with client_of(nats_server) as client, pretending(client, sequence=2, ready=False):
        answer = await ask(client, MATCHER_HANDOVER)
        await client.submit(order())
    assert answer["error"] == "standby_behind"
    assert "is at commit 2" in answer["detail"]


async def test_a_standby_that_dies_when_its_turn_comes_leaves_the_leader_serving(
    nats_server: NatsServer, matchers: Matchers
) -> None:
    leader = matchers.start_serving(nats_server)
    async with client_of(nats_server) as client, pretending(client, sequence=2):
        for _ in range(2):  # it can be tried again
            answer = await ask(client, MATCHER_HANDOVER)
            assert answer["error"] == "not_taken_over"
            await client.submit(order())
        status = await client.status()
        journal, state_hash = await client.journal_and_hash()
    assert (status["matcher_epoch"], leader.is_running) == (1, True)
    assert len(journal.commits) == 4
    assert state_hash == journal.replay.engine.state_hash().hex()


async def test_another_one_goes_on_when_the_one_that_was_asked_does_not(
    nats_server: NatsServer, matchers: Matchers
) -> None:
    """The leader and the other standby both notice; either may be the one."""
    matchers.start_serving(nats_server)
    matchers.start_standing_by(nats_server)
    async with client_of(nats_server) as client, pretending(client, sequence=1_000_000):
        handing = asyncio.create_task(ask(client, MATCHER_HANDOVER, seconds=20))
        await client.until(lambda status: True)
        await handing
        (part,) = await client.submit(order())
        journal = await client.journal()
    assert journal.commits[part.sequence - 1].outcomes == part.results


async def test_two_handovers_at_once_are_one(nats_server: NatsServer, matchers: Matchers) -> None:
    matchers.start_serving(nats_server)
    async with client_of(nats_server) as client, pretending(client, sequence=2):
        answers = await asyncio.gather(*[ask(client, MATCHER_HANDOVER, seconds=20) for _ in range(2)])
    assert sorted(answer["error"] for answer in answers) == ["already_leaving", "not_taken_over"]


async def test_one_that_was_killed_is_missed_long_before_its_lease_is_over(
    nats_server: NatsServer, matchers: Matchers
) -> None:
    leader = matchers.start_serving(nats_server, lease_seconds=600)
    matchers.start_standing_by(nats_server, lease_seconds=600)
    async with client_of(nats_server) as client:
        leader.kill()
        await client.until_served(epoch=2)
