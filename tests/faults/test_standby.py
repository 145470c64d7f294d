"""Goal: with a matcher standing by, the loss of the one that serves costs a moment and nothing that was answered; and
whatever is killed or paused in whatever order, one serves in the end and nothing stale was ever answered.

Method: clients place orders without pause while real matchers are killed (kill -9), paused and woken (SIGSTOP, SIGCONT)
or told to hand over. Then the journal is read commit by commit, replayed, and compared with what the clients were told.
"""

import asyncio

import pytest

from tests.support.flows import flowing
from tests.support.matchers import Matchers, client_of
from tests.support.servers import NatsServer

pytestmark = pytest.mark.stack

KILLS = 3


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
        journal = await client.journal()
        state = await client.state_hash()
    flow.assert_all_in(journal)
    assert journal.commits[-1].matcher_epoch == KILLS + 1
    assert state["hash"] == journal.replay.engine.state_hash().hex()
