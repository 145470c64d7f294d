"""The journal's beginning leaves the stream only when a snapshot and Postgres make it needless, and never all of it.

A real nats-server and a real Postgres; the recorder's half that answers runs in the test.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise

import asyncpg
import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import StreamState

from contracts.subjects import JOURNAL as JOURNAL_SUBJECT
from contracts.subjects import JOURNAL_STREAM, RECORDER_HOLDS, RECORDER_STATUS
from matcher import trimming
from matcher.trimming import CannotTrim, first_kept, trim
from recorder.archive import Archive
from recorder.store import Store
from runtime.connection import close, connect, respond
from runtime.journal import JournalReader, ensure_stream, journal_state
from runtime.service import Refused
from tests.support.journals import publish, random_journal
from tests.support.recorded import fold
from tests.support.servers import NatsServer, remove_stream

pytestmark = pytest.mark.stack

JOURNAL = random_journal(5, commits=98, commands_per_commit=3).written
"""100 commits."""
RECORDED = 90
KEEP = 20


@dataclass
class Exchange:
    connection: Client
    database: str
    confirmed: list[int] = field(default_factory=list)

    async def first(self) -> int:
        return (await journal_state(self.connection)).first_seq

    async def confirm(self) -> None:
        self.confirmed.append(await self.first())

    async def trim(self, snapshot: int | None, keep: int = KEEP) -> int:
        await trim(self.connection, keep, snapshot, self.confirm)
        return await self.first()

    async def change(self, statement: str) -> None:
        connection = await asyncpg.connect(self.database)
        await connection.execute(statement)
        await connection.close()


@pytest.fixture
async def exchange(module_nats_server: NatsServer, database: str) -> AsyncIterator[Exchange]:
    """A journal of 100 commits, the first 90 of them in Postgres."""
    connection = await connect(module_nats_server.url, "test")
    await remove_stream(connection, JOURNAL_STREAM)
    await publish(connection, JOURNAL)
    store, archive = Store(database), Archive(database)
    await store.open()
    await store.record(*fold(JOURNAL[:RECORDED]))

    async def status(_: bytes) -> bytes:
        return json.dumps({"sequence": store.position.sequence}).encode()

    await respond(connection, RECORDER_STATUS, status)
    await archive.serve(connection)
    yield Exchange(connection, database)
    archive.close()
    store.close()
    await close(connection)


@pytest.mark.parametrize(
    ("snapshot", "recorded", "keep", "expected"),
    [
        (50, 90, 20, 50),
        (90, 90, 20, 81),
        (90, 40, 20, 40),
        (100, 100, 1, 100),
        (50, 90, 100, 1),
        (50, 90, 5_000, 1),
        (0, 90, 20, 1),
        (50, 0, 20, 1),
    ],
)
def test_the_lowest_of_all_reasons_to_keep(snapshot: int, recorded: int, keep: int, expected: int) -> None:
    state = StreamState(messages=100, bytes=100_000, first_seq=1, last_seq=100, consumer_count=0)
    assert first_kept(state, keep, snapshot=snapshot, recorded=recorded) == expected


async def test_up_to_the_snapshot_and_its_own_commit_stays(exchange: Exchange) -> None:
    assert await exchange.trim(50) == 50
    assert (await journal_state(exchange.connection)).last_seq == 100
    assert exchange.confirmed == [1], "the leadership is confirmed before each purge"


async def test_up_to_what_postgres_holds(exchange: Exchange) -> None:
    assert await exchange.trim(100, 5) == RECORDED


async def test_the_tail_stays(exchange: Exchange) -> None:
    assert await exchange.trim(100, 60) == 41
    assert await exchange.trim(100, 60) == 41


async def test_without_a_snapshot_everything_stays(exchange: Exchange) -> None:
    assert await exchange.trim(None) == 1


async def test_not_for_a_few(exchange: Exchange) -> None:
    assert await exchange.trim(3, 30) == 1


async def test_in_steps(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (await journal_state(exchange.connection)).bytes // 100
    monkeypatch.setattr(trimming, "STEP_BYTES", 10 * size + size // 2)
    monkeypatch.setattr(trimming, "_STEP_PAUSE_SECONDS", 0)
    assert await exchange.trim(45) == 45
    assert exchange.confirmed == [1, 11, 21, 31, 41]


@pytest.mark.parametrize(
    "damage",
    [
        "delete from journal_commits where sequence = 30",
        "update journal_commits set payload = set_byte(payload, 40, get_byte(payload, 40) # 1) where sequence = 30",
        "update journal_commits set (hash, payload) = "
        "(select hash, payload from journal_commits where sequence = 3) where sequence = 30",
    ],
)
async def test_nothing_goes_that_postgres_does_not_have(exchange: Exchange, damage: str) -> None:
    await exchange.change(damage)
    with pytest.raises(CannotTrim, match="undamaged"):
        await exchange.trim(50)
    assert await exchange.first() == 1


async def test_nothing_goes_while_postgres_has_another_journal(exchange: Exchange) -> None:
    other = random_journal(6, commits=98, commands_per_commit=3).written
    rows = [(each.payload, each.hash, each.commit.sequence) for each in other]
    connection = await asyncpg.connect(exchange.database)
    await connection.executemany("update journal_commits set payload = $1, hash = $2 where sequence = $3", rows)
    await connection.close()
    with pytest.raises(CannotTrim, match="is another one in Postgres"):
        await exchange.trim(50)
    assert await exchange.first() == 1


async def test_nothing_goes_that_postgres_may_forget(exchange: Exchange) -> None:
    name = exchange.database.rpartition("/")[2]
    await exchange.change(f"alter database {name} set synchronous_commit = off")
    with pytest.raises(CannotTrim, match="synchronous_commit"):
        await exchange.trim(50)
    assert await exchange.first() == 1


async def test_who_is_no_longer_the_matcher_purges_nothing(exchange: Exchange) -> None:
    async def refuse() -> None:
        raise Refused("another matcher took over")

    with pytest.raises(Refused):
        await trim(exchange.connection, KEEP, 50, refuse)
    assert await exchange.first() == 1


async def test_without_a_recorder_nothing_goes(nats_server: NatsServer) -> None:
    connection = await connect(nats_server.url, "test")
    await publish(connection, JOURNAL)

    async def confirm() -> None:
        raise AssertionError

    with pytest.raises(CannotTrim, match="recorder does not answer"):
        await trim(connection, KEEP, 50, confirm)
    assert (await journal_state(connection)).first_seq == 1
    await close(connection)


async def test_what_a_power_cut_brings_back_is_trimmed_again(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nats-server removes files without syncing that: the first one is there again, what was trimmed behind it is not.

    Until the next round the stream has a hole, which a reader hands on, so that the chain refuses it.
    """
    messages, bound = 200, 100  # two files and a half
    connection = await connect(nats_server.url, "test")
    await ensure_stream(connection, 1)
    for number in range(1, messages + 1):
        await connection.jetstream().publish(JOURNAL_SUBJECT, b"%032d" % number + bytes(100_000))

    async def holds(question: bytes) -> bytes:
        digest = b"%032d" % json.loads(question)["to"]
        return json.dumps({"durable": True, "whole": True, "hash": digest.hex()}).encode()

    async def status(_: bytes) -> bytes:
        return b'{"sequence": 200}'

    async def confirm() -> None:
        pass

    await respond(connection, RECORDER_HOLDS, holds)
    await respond(connection, RECORDER_STATUS, status)
    files = next(nats_server.plan.store.rglob("msgs"))
    first = (files / "1.blk").read_bytes()
    monkeypatch.setattr(trimming, "STEP_BYTES", 1 << 30)
    await trim(connection, KEEP, bound, confirm)
    assert not (files / "1.blk").exists()
    nats_server.kill()
    (files / "1.blk").write_bytes(first)
    (files / "index.db").unlink()
    nats_server.start()

    state = await until_connected(connection)
    assert (state.first_seq, state.last_seq) == (1, messages)
    assert state.messages < messages, "there is no hole"
    async with asyncio.timeout(60), JournalReader(connection, 1) as reader:
        async for batch in reader:
            if any(after - before > 1 for (before, _), (after, _) in pairwise(batch)) or batch[0][0] > 1:
                break
    await trim(connection, KEEP, bound, confirm)
    state = await journal_state(connection)
    assert (state.first_seq, state.messages) == (bound, messages - bound + 1)
    await close(connection)


async def until_connected(connection: Client) -> StreamState:
    async with asyncio.timeout(60):
        while True:
            try:
                return await journal_state(connection)
            except (NatsError, TimeoutError):
                await asyncio.sleep(0.05)
