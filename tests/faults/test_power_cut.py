"""Goal: an answered order survives the power being cut at any moment.

Method: nats-server works on a disk whose power can be cut (chaos/disks.py) while clients place orders without
pause. At random moments the server is paused, the disk is taken as a power cut would leave it, and a fresh nats-server
and a fresh matcher start on it: every order that had been answered by then must be in the journal. The same is done
without `sync_interval: always`, where acknowledged messages must be lost, or this test could not see a loss.
"""

import asyncio
import dataclasses
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from nats.js.errors import NotFoundError

from chaos.disks import Disk, best_disk, recorded_syncs
from cli.servers import nats_executable, nats_plan, nats_program
from contracts.subjects import JOURNAL, JOURNAL_STREAM
from runtime.journal import stream_config
from tests.support.flows import Flow, flowing
from tests.support.matchers import MatcherClient, Matchers, client_of
from tests.support.servers import NatsServer, temporary_folder

pytestmark = pytest.mark.stack

CUTS = 3
SEED = int(os.environ.get("PRICETIME_CHAOS_SEED", random.SystemRandom().randrange(10**6)))


@pytest.fixture(params=[best_disk, recorded_syncs], ids=["best disk", "recorded syncs"])
def disk(request: pytest.FixtureRequest) -> Iterator[Disk]:
    make: Callable[[Path], AbstractContextManager[Disk]] = request.param
    with temporary_folder() as folder, make(folder) as disk:
        yield disk


@contextmanager
def nats_on(store: Path, disk: Disk | None = None, *, synced: bool = True) -> Iterator[NatsServer]:
    """A nats-server on `store`, and killed afterwards. `synced=False`: with nats-server's default sync interval."""
    plan = nats_plan(store / "nats")
    program = nats_program(plan)
    log = store.with_name(f"{store.name}.log")
    if not synced:
        configuration = store.with_name(f"{store.name}.conf")
        configuration.write_text(
            f'server_name: "{plan.name}"\nlisten: "{plan.host}:{plan.port}"\nhttp: "127.0.0.1:{plan.monitor_port}"\n'
            f'jetstream {{ store_dir: "{plan.store}" }}\n'
        )
        program = dataclasses.replace(program, command=(nats_executable(), "-c", str(configuration)))
    server = NatsServer(program if disk is None else disk.attach(program), log, plan)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@asynccontextmanager
async def power_cut(server: NatsServer, disk: Disk) -> AsyncIterator[Path]:
    """The server's store as a power cut at this moment would leave it."""
    with temporary_folder() as folder:
        os.kill(server.pid, signal.SIGSTOP)
        try:
            after = disk.cut(folder / "after")
            store = await asyncio.to_thread(after.__enter__)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        try:
            yield store
        finally:
            after.__exit__(None, None, None)


async def test_every_answered_order_survives_a_power_cut(disk: Disk, matchers: Matchers) -> None:
    print(f"PRICETIME_CHAOS_SEED={SEED}")
    chance = random.Random(SEED)
    with nats_on(disk.folder, disk) as server:
        matchers.start_serving(server)
        async with client_of(server) as client, flowing(client) as flow:
            for _ in range(CUTS):
                await flow.until_answered(chance.randint(1, 300))
                answered = dict(flow.answered)
                async with power_cut(server, disk) as store:
                    await check_survivors(store, dataclasses.replace(flow, answered=answered), matchers)


async def check_survivors(store: Path, flow: Flow, matchers: Matchers) -> None:
    with nats_on(store) as server:
        matcher = matchers.start(server)
        async with client_of(server) as client:
            await client.until_served()
            journal, state_hash = await client.journal_and_hash()
        matcher.kill()
    flow.assert_all_in(journal)
    assert state_hash == journal.replay.engine.state_hash().hex()


async def test_without_synced_writes_acknowledged_messages_are_lost(disk: Disk) -> None:
    """The negative control. The matcher refuses such a server, so a plain client writes here."""
    messages = 500
    with nats_on(disk.folder, disk, synced=False) as server:
        async with client_of(server) as client:
            await fill(client, messages)
            async with power_cut(server, disk) as store:
                with nats_on(store, synced=False) as survivor:
                    async with client_of(survivor) as other:
                        left = await count(other)
    print(f"{messages - left} of {messages} acknowledged messages are lost")
    assert left < messages, "nothing was lost: a cut of this disk proves nothing"


async def fill(client: MatcherClient, messages: int) -> None:
    stream = client.connection.jetstream()
    await stream.add_stream(stream_config(1))
    for number in range(messages):
        await stream.publish(JOURNAL, f"acknowledged {number}".encode())


async def count(client: MatcherClient) -> int:
    try:
        return (await client.connection.jetstream().stream_info(JOURNAL_STREAM)).state.messages
    except NotFoundError:
        return 0  # the stream itself is gone
