"""Real matchers with snapshots: taken while it serves, gone on from after kill -9, by it or by another.

Goal: with snapshots a matcher is the same as without, only sooner there.
Method: orders, kill -9, and the next matcher says where it went on from; its state's hash is that of the journal
replayed from its first commit, and what a client sends again gets its first answer, also from before the snapshot.
"""

import asyncio
import shutil
from pathlib import Path

import pytest

from contracts.messages import Repeated, Side
from matcher.snapshots import snapshot_files
from runtime.snapshot_files import SnapshotFiles
from tests.support.matchers import MatcherClient, Matchers, client_of, order, order_id_of
from tests.support.servers import NatsServer, wait_until

pytestmark = pytest.mark.stack

OFTEN = 20
"""Commits from one snapshot to the next."""


def files_of(matchers: Matchers) -> SnapshotFiles:
    return snapshot_files(matchers.folder / "data" / "matcher")


async def place(client: MatcherClient, first: int, count: int) -> dict[str, int]:
    """Orders one by one, each a commit. Returns the ids that they got, by the client's."""
    placed = {}
    for number in range(first, first + count):
        name = f"order-{number}"
        side = Side.BUY if number % 3 else Side.SELL
        (part,) = await client.submit(order(side, 100 - number % 7, 1 + number % 5, name))
        placed[name] = order_id_of(part.results[0])
    return placed


async def until_taken(files: SnapshotFiles, count: int) -> None:
    assert await asyncio.to_thread(wait_until, lambda: len(files.newest_first()) >= count)


async def is_as_the_journal_says(client: MatcherClient) -> None:
    found, journal = await client.state_hash(), await client.journal()
    assert found["sequence"] == journal.replay.chain.sequence
    assert found["hash"] == journal.replay.engine.state_hash().hex()


async def test_a_killed_matcher_goes_on_from_its_snapshot(nats_server: NatsServer, matchers: Matchers) -> None:
    files = files_of(matchers)
    first = matchers.start(nats_server, snapshot_commits=OFTEN)
    async with client_of(nats_server) as client:
        await client.until_served()
        placed = await place(client, 0, 30)
        await until_taken(files, 1)
        (newest,) = files.sequences()
        assert newest >= OFTEN
        assert (await client.status())["snapshot"] == newest
        placed |= await place(client, 30, 5)
        first.kill()

        second = matchers.start(nats_server, snapshot_commits=OFTEN)
        await client.until_served(epoch=2)
        assert f"going on after commit {newest}" in second.output
        await is_as_the_journal_says(client)
        for name in ("order-0", "order-29", "order-34"):
            number = int(name.removeprefix("order-"))
            side = Side.BUY if number % 3 else Side.SELL
            (part,) = await client.submit(order(side, 100 - number % 7, 1 + number % 5, name))
            (again,) = part.results
            assert isinstance(again, Repeated)
            assert again.order_id == placed[name]


async def test_what_is_damaged_is_passed_over_and_said(nats_server: NatsServer, matchers: Matchers) -> None:
    files = files_of(matchers)
    first = matchers.start(nats_server, snapshot_commits=OFTEN)
    async with client_of(nats_server) as client:
        await client.until_served()
        await place(client, 0, 25)
        await until_taken(files, 1)
        first.kill()
        (before,) = files.newest_first()
        newest = files.folder / f"state-{files.sequences()[0] + 1:020d}.snapshot"
        shutil.copy(before, newest)
        flip_a_bit(newest)
        second = matchers.start(nats_server, snapshot_commits=0)
        await client.until_served(epoch=2)
        assert f"snapshot {newest.name} is not used: its bytes do not match its hash" in second.output
        assert f"snapshot {before.name}: going on" in second.output
        await is_as_the_journal_says(client)


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 8
    file.write_bytes(content)


async def test_a_journal_that_was_put_back_is_not_served_from(
    nats_server: NatsServer, matchers: Matchers, tmp_path: Path
) -> None:
    """The snapshot has seen commits that are gone: the next ones would get their numbers."""
    matcher = matchers.start_serving(nats_server, snapshot_commits=OFTEN)
    nats_server.stop()
    shutil.copytree(nats_server.plan.store, tmp_path / "older")
    nats_server.start()
    async with client_of(nats_server) as client:
        await client.until_served()
        await place(client, 0, 25)
        await until_taken(files_of(matchers), 1)
    matcher.kill()
    nats_server.stop()
    shutil.rmtree(nats_server.plan.store)
    shutil.copytree(tmp_path / "older", nats_server.plan.store)
    nats_server.start()
    refused = matchers.start(nats_server)
    assert await asyncio.to_thread(refused.exit_code) == 3
    assert "but the journal ends at" in refused.output
    assert "Traceback" not in refused.output


@pytest.mark.parametrize("who", ["leader", "standby"])
async def test_snapshots_go_on_while_matchers_take_over(nats_server: NatsServer, matchers: Matchers, who: str) -> None:
    """Leader and standby on the same folder; whoever goes on takes them."""
    files = files_of(matchers)
    leader = matchers.start_serving(nats_server, snapshot_commits=OFTEN)
    standby = matchers.start_standing_by(nats_server, snapshot_commits=OFTEN)
    async with client_of(nats_server) as client:
        await client.until_served()
        await place(client, 0, 30)
        await until_taken(files, 1)
        (leader if who == "leader" else standby).kill()
        await client.until_served(epoch=2 if who == "leader" else 1)
        await place(client, 100, 30)
        await until_taken(files, 2)
        await is_as_the_journal_says(client)
