"""Reading the journal on a real nats-server: in order, without loss, whatever happens to the server in between."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from contracts.commits import JournalBroken
from contracts.subjects import JOURNAL, JOURNAL_STREAM
from runtime.connection import close, connect
from runtime.journal import JournalReader, ensure_stream, journal_state, stream_config, wait_for_journal
from tests.support.proxy import proxy_to
from tests.support.servers import NatsServer, keep_a_stream

pytestmark = pytest.mark.stack

BATCH = 500


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    connection = await connect(url, "test")
    try:
        yield connection
    finally:
        await close(connection)


async def append(connection: Client, first: int, last: int) -> None:
    """Messages first..last, each holding its number."""
    await ensure_stream(connection, 1)
    stream = connection.jetstream()
    acknowledged = [stream.publish(JOURNAL, str(number).encode(), timeout=30) for number in range(first, last + 1)]
    for start in range(0, len(acknowledged), 200):
        await asyncio.gather(*acknowledged[start : start + 200])


async def read_up_to(reader: JournalReader, last: int) -> list[int]:
    """The sequences read until `last` has come. Each message holds its own number, or did until the test cut."""
    found: list[int] = []
    async with asyncio.timeout(60), aclosing(reader.__aiter__()) as batches:  # type: ignore[type-var]
        async for messages in batches:
            assert messages, "an empty batch"
            for sequence, payload in messages:
                assert payload == str(sequence).encode()
                found.append(sequence)
            if found[-1] >= last:
                break
    return found


async def test_everything_comes_once_and_in_order(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as connection:
        await append(connection, 1, 2_500)
        async with JournalReader(connection, 1) as reader:
            reading = asyncio.create_task(read_up_to(reader, 3_000))
            await append(connection, 2_501, 3_000)
            assert await reading == list(range(1, 3_001))


async def test_it_starts_anywhere_up_to_the_end(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as connection:
        await append(connection, 1, 20)
        async with JournalReader(connection, 15) as reader:
            assert await read_up_to(reader, 20) == list(range(15, 21))
        async with JournalReader(connection, 21) as reader:
            reading = asyncio.create_task(read_up_to(reader, 22))
            await append(connection, 21, 22)
            assert await reading == [21, 22]


async def test_several_readers_do_not_disturb_each_other(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as connection:
        await append(connection, 1, 1_500)
        async with JournalReader(connection, 1) as one, JournalReader(connection, 700) as other:
            found = tuple(await asyncio.gather(read_up_to(one, 1_500), read_up_to(other, 1_500)))
    assert found == (list(range(1, 1_501)), list(range(700, 1_501)))


async def test_a_reader_that_does_not_go_on_is_not_sent_more(nats_server: NatsServer) -> None:
    """The server keeps the rest: a slow reader costs nobody memory."""
    async with connected(nats_server.url) as connection:
        await append(connection, 1, 5 * BATCH)
        async with JournalReader(connection, 1) as reader:
            iterator = reader.__aiter__()
            first = await anext(iterator)
            (consumer,) = await connection.jsm().consumers_info(JOURNAL_STREAM)
            for _ in range(20):  # round trips: whatever the server would send, it has sent by then
                await connection.flush()
                (consumer,) = await connection.jsm().consumers_info(JOURNAL_STREAM)
            assert consumer.num_pending is not None
            assert consumer.num_pending >= 3 * BATCH
            rest = await read_up_to(reader, 5 * BATCH)
            await iterator.aclose()  # type: ignore[attr-defined]
    assert [sequence for sequence, _ in first] + rest == list(range(1, 5 * BATCH + 1))


async def test_a_killed_server_is_read_on_from_after_its_restart(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as connection:
        await append(connection, 1, 2_000)
        async with JournalReader(connection, 1) as reader:
            found = await read_up_to(reader, 600)
            await asyncio.to_thread(nats_server.kill)
            await asyncio.to_thread(nats_server.start)
            found += await read_up_to(reader, 2_000)
            await append(connection, 2_001, 2_100)
            found += await read_up_to(reader, 2_100)
    assert found == list(range(1, 2_101))


async def test_a_consumer_that_is_deleted_under_it_is_replaced(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as connection:
        await append(connection, 1, 1_200)
        async with JournalReader(connection, 1) as reader:
            found = await read_up_to(reader, 1_000)
            for consumer in await connection.jsm().consumers_info(JOURNAL_STREAM):
                await connection.jsm().delete_consumer(JOURNAL_STREAM, consumer.name)
            await append(connection, 1_201, 1_300)
            found += await read_up_to(reader, 1_300)
    assert found == list(range(1, 1_301))


async def test_a_message_lost_on_the_way_is_asked_for_again(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as writer, proxy_to(nats_server) as proxy:
        await append(writer, 1, 700)
        proxy.losing = lambda frame: proxy.lost < 3 and frame.endswith((b"\r\n350\r\n", b"\r\n351\r\n"))
        async with connected(proxy.url) as connection, JournalReader(connection, 1) as reader:
            assert await read_up_to(reader, 700) == list(range(1, 701))
        assert proxy.lost == 3


async def test_a_cut_connection_is_read_on_from(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as writer, proxy_to(nats_server) as proxy:
        await append(writer, 1, 1_000)
        async with connected(proxy.url) as connection, JournalReader(connection, 1) as reader:
            found = await read_up_to(reader, 300)
            proxy.cut()
            found += await read_up_to(reader, 1_000)
    assert found == list(range(1, 1_001))


async def test_a_start_beyond_the_end_is_a_broken_journal(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as connection:
        await append(connection, 1, 5)
        async with JournalReader(connection, 8) as reader:
            with pytest.raises(JournalBroken, match="ends at 5, but 7 has been read before") as caught:
                await read_up_to(reader, 8)
    assert caught.value.sequence == 6


async def test_a_journal_that_shrank_while_it_was_read_is_broken(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as connection:
        await append(connection, 1, 50)
        await keep_a_stream(connection)
        async with JournalReader(connection, 1) as reader:
            await read_up_to(reader, 50)
            await connection.jsm().delete_stream(JOURNAL_STREAM)
            await append(connection, 1, 30)
            with pytest.raises(JournalBroken) as caught:
                await read_up_to(reader, 51)
    assert caught.value.sequence == 31


async def test_a_journal_that_shrinks_just_before_it_is_followed_is_broken(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was long enough when it was asked how long it is; a consumer of what is beyond its end is then made."""
    create = JournalReader._create_consumer

    async def create_late(reader: JournalReader) -> None:
        await connection.jsm().delete_stream(JOURNAL_STREAM)
        await append(connection, 1, 30)
        await create(reader)

    async with connected(nats_server.url) as connection:
        await append(connection, 1, 50)
        await keep_a_stream(connection)
        monkeypatch.setattr(JournalReader, "_create_consumer", create_late)
        async with JournalReader(connection, 51) as reader:
            with pytest.raises(JournalBroken, match="ends at 30, but 50 has been read before"):
                await read_up_to(reader, 51)


async def test_an_emptied_journal_is_broken(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as connection:
        await append(connection, 1, 50)
        await connection.jsm().purge_stream(JOURNAL_STREAM)
        async with JournalReader(connection, 20) as reader:
            with pytest.raises(JournalBroken, match="emptied") as caught:
                await read_up_to(reader, 50)
    assert caught.value.sequence == 20


async def test_a_gap_that_the_server_has_is_handed_on(nats_server: NatsServer) -> None:
    """contracts.commits.Chain names it; waiting for it would be waiting for ever."""
    config = stream_config(1)
    config.deny_delete = False
    async with connected(nats_server.url) as connection:
        await connection.jetstream().add_stream(config)
        await append(connection, 1, 10)
        await connection.jsm().delete_msg(JOURNAL_STREAM, 5)
        async with JournalReader(connection, 1) as reader:
            assert await read_up_to(reader, 10) == [1, 2, 3, 4, 6, 7, 8, 9, 10]


async def test_a_reader_that_ends_leaves_nothing_behind(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as connection:
        await append(connection, 1, 3)
        async with JournalReader(connection, 1) as reader:
            await read_up_to(reader, 3)
        assert await connection.jsm().consumers_info(JOURNAL_STREAM) == []


async def test_a_reader_ends_without_a_server(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as connection:
        await append(connection, 1, 3)
        async with JournalReader(connection, 1) as reader:
            await read_up_to(reader, 3)
            await asyncio.to_thread(nats_server.kill)


async def test_readers_wait_for_the_journal_to_be_made(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as connection:
        with pytest.raises(NotFoundError):
            await journal_state(connection)
        waiting = asyncio.create_task(wait_for_journal(connection))
        await connection.flush()
        assert not waiting.done()
        assert await ensure_stream(connection, 1) == []
        await asyncio.wait_for(waiting, 30)


async def test_a_stream_made_once_is_left_as_it_is(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as connection:
        await append(connection, 1, 3)
        assert await ensure_stream(connection, 1) == []
        assert (await journal_state(connection)).messages == 3
