"""Going on only where the journal continues what Postgres holds; otherwise the first sequence that differs is named."""

from collections.abc import AsyncIterator

import asyncpg
import nats
import pytest
from nats.aio.client import Client

from contracts.subjects import JOURNAL_STREAM
from recorder.resume import check_journal
from recorder.store import Store
from runtime.journal import ensure_stream
from runtime.service import Refused
from tests.support.journals import Journal, extend, publish, random_journal
from tests.support.recorded import fold
from tests.support.servers import NatsServer, remove_stream

pytestmark = pytest.mark.stack

RECORDED = random_journal(14, commits=40, commands_per_commit=5).written
"""42 commits."""


@pytest.fixture
async def connection(module_nats_server: NatsServer) -> AsyncIterator[Client]:
    """With an empty journal, whatever the test before left."""
    connection = await nats.connect(module_nats_server.url)
    await remove_stream(connection, JOURNAL_STREAM)
    await ensure_stream(connection, 1)
    yield connection
    await connection.close()


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    """At commit 42."""
    store = Store(database)
    await store.open()
    await store.record(*fold(RECORDED))
    yield store
    store.close()


async def test_an_empty_database_begins_at_the_beginning(connection: Client, database: str) -> None:
    store = Store(database)
    await store.open()
    assert (await check_journal(connection, store)).sequence == 0
    store.close()


async def test_the_chain_goes_on_where_postgres_is(connection: Client, store: Store) -> None:
    journal = random_journal(14, commits=40, commands_per_commit=5)
    (following,) = extend(journal, 1, commits=1, commands_per_commit=5)
    await publish(connection, journal.written)
    chain = await check_journal(connection, store)
    assert (chain.sequence, chain.hash) == (42, RECORDED[-1].hash)
    assert chain.follow(43, following.payload) == following.commit


@pytest.mark.parametrize("end", [0, 1, 2, 30, 41])
async def test_a_cut_journal(connection: Client, store: Store, end: int) -> None:
    await publish(connection, RECORDED[:end])
    with pytest.raises(Refused, match=rf"sequence {end + 1} is missing: the journal ends at {end}.* up to 42"):
        await check_journal(connection, store)


@pytest.mark.parametrize("common", [1, 2, 20, 41])
@pytest.mark.parametrize("beyond", [-1, 0, 10])
async def test_a_journal_that_was_cut_and_has_grown_again(
    connection: Client, store: Store, common: int, beyond: int
) -> None:
    other = Journal()
    other.barrier()
    if common > 1:
        other = random_journal(14, commits=common - 2, commands_per_commit=5)
    while len(other.written) < max(42 + beyond, common + 1):
        other.barrier()
    await publish(connection, other.written)
    with pytest.raises(Refused, match=rf"sequence {common + 1} is not the commit that Postgres holds"):
        await check_journal(connection, store)


async def test_another_journal(connection: Client, store: Store) -> None:
    other = Journal("other-journal")
    for _ in RECORDED:
        other.barrier()
    await publish(connection, other.written)
    with pytest.raises(Refused, match="recorded from journal test-journal, but NATS holds journal other-journal"):
        await check_journal(connection, store)


async def test_an_emptied_journal(connection: Client, store: Store) -> None:
    await publish(connection, RECORDED)
    await connection.jsm().purge_stream(JOURNAL_STREAM)
    with pytest.raises(Refused, match="sequence 42 is missing: the journal begins only at 43"):
        await check_journal(connection, store)


async def test_a_damaged_copy_in_postgres(connection: Client, store: Store, database: str) -> None:
    await publish(connection, RECORDED)
    admin = await asyncpg.connect(database)
    await admin.execute("update journal_commits set payload = 'x' where sequence = 42")
    with pytest.raises(Refused, match="Postgres's own copy of the journal is damaged"):
        await check_journal(connection, store)
    await admin.execute("update journal_commits set payload = $1 where sequence = 42", RECORDED[40].payload)
    with pytest.raises(Refused, match="disagree about commit 42"):
        await check_journal(connection, store)
    await admin.close()


async def test_a_trimmed_journal_that_reaches_back_to_postgres(connection: Client, store: Store) -> None:
    await publish(connection, RECORDED)
    await connection.jsm().purge_stream(JOURNAL_STREAM, seq=42)
    assert (await check_journal(connection, store)).sequence == 42


async def test_a_postgres_older_than_what_is_trimmed(connection: Client, store: Store) -> None:
    journal = random_journal(14, commits=40, commands_per_commit=5)
    extend(journal, 1, commits=3, commands_per_commit=5)
    await publish(connection, journal.written)
    await connection.jsm().purge_stream(JOURNAL_STREAM, seq=44)
    with pytest.raises(Refused, match=r"begins only at 44, and Postgres ends at 42.* too old a copy of Postgres"):
        await check_journal(connection, store)


async def test_an_empty_postgres_and_a_trimmed_journal(connection: Client, database: str) -> None:
    await publish(connection, RECORDED)
    await connection.jsm().purge_stream(JOURNAL_STREAM, seq=10)
    store = Store(database)
    await store.open()
    with pytest.raises(Refused, match="begins only at 10, and Postgres is empty"):
        await check_journal(connection, store)
    store.close()
