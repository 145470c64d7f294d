"""Reading a journal that has been trimmed: what is missing comes from the recorder, whatever happens meanwhile.

A stand-in answers for the recorder from a list; tests/recorder/test_archive.py has the real one.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator

import msgspec
import pytest
from nats.aio.client import Client

from contracts.commits import JournalBroken
from contracts.subjects import JOURNAL, JOURNAL_STREAM, RECORDER_COMMITS
from runtime import archive
from runtime.archive import ArchiveUnavailable, ask_archive, journal_message
from runtime.connection import close, connect, respond
from runtime.journal import JournalReader, ensure_stream, journal_state
from runtime.micro import Failure, failure
from tests.support.servers import NatsServer, remove_stream, wait_until

pytestmark = pytest.mark.stack

BATCH = 400


@pytest.fixture
async def connection(nats_server: NatsServer) -> AsyncIterator[Client]:
    connection = await connect(nats_server.url, "test")
    await ensure_stream(connection, 1)
    yield connection
    await close(connection)


class Recorder:
    """Holds messages 1 to `last`, each holding its number, and hands out at most BATCH at once."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.asked: list[int] = []
        self.away = 0

    async def answer(self, question: bytes) -> bytes | Failure:
        asked = json.loads(question)
        self.asked.append(asked["from"])
        if self.away:
            self.away -= 1
            return failure(503, "archive_unavailable")
        last = min(asked["to"], self.last, asked["from"] + BATCH - 1)
        return msgspec.msgpack.encode([(n, b"%d" % n) for n in range(asked["from"], last + 1)])


async def recording(connection: Client, last: int) -> Recorder:
    recorder = Recorder(last)
    await respond(connection, RECORDER_COMMITS, recorder.answer)
    await connection.flush()
    return recorder


async def append(connection: Client, first: int, last: int) -> None:
    stream = connection.jetstream()
    for start in range(first, last + 1, 200):
        await asyncio.gather(*[stream.publish(JOURNAL, b"%d" % n) for n in range(start, min(start + 200, last + 1))])


async def trim(connection: Client, first_left: int) -> None:
    await connection.jsm().purge_stream(JOURNAL_STREAM, seq=first_left)
    assert (await journal_state(connection)).first_seq == first_left


async def batches(
    connection: Client, start: int, last: int, *, archived: bool = True
) -> AsyncIterator[list[tuple[int, bytes]]]:
    """What the reader gives, each time, until `last` has come."""
    async with asyncio.timeout(60), JournalReader(connection, start, archived=archived) as reader:
        async for messages in reader:
            yield messages
            if messages[-1][0] >= last:
                return


async def read(connection: Client, start: int, last: int, *, archived: bool = True) -> list[int]:
    found: list[int] = []
    async for messages in batches(connection, start, last, archived=archived):
        assert all(payload == b"%d" % sequence for sequence, payload in messages)
        found += [sequence for sequence, _ in messages]
    return found


async def test_what_is_trimmed_comes_from_the_archive(connection: Client) -> None:
    await append(connection, 1, 1_500)
    recorder = await recording(connection, 1_400)
    await trim(connection, 1_001)
    assert await read(connection, 1, 1_500) == list(range(1, 1_501))
    assert recorder.asked == [1, 401, 801]
    assert await read(connection, 990, 1_500) == list(range(990, 1_501))


async def test_what_is_not_trimmed_is_not_asked_for(connection: Client) -> None:
    await append(connection, 1, 50)
    recorder = await recording(connection, 50)
    await trim(connection, 20)
    assert await read(connection, 20, 50) == list(range(20, 51))
    assert recorder.asked == []


async def test_trimmed_while_it_is_read(connection: Client) -> None:
    """The reader stands still while more than it has asked for is trimmed."""
    await append(connection, 1, 3_000)
    await recording(connection, 3_000)
    found: list[int] = []
    async for messages in batches(connection, 1, 3_000):
        found += [sequence for sequence, _ in messages]
        if (await journal_state(connection)).first_seq == 1:
            await asyncio.sleep(0.1)  # what was pulled before is on its way already
            await trim(connection, 2_500)
    assert found == list(range(1, 3_001))


async def test_it_waits_for_the_recorder_and_says_so(connection: Client, caplog: pytest.LogCaptureFixture) -> None:
    await append(connection, 1, 20)
    await trim(connection, 11)
    with caplog.at_level(logging.WARNING):
        reading = asyncio.create_task(read(connection, 1, 20))
        await asyncio.to_thread(wait_until, lambda: "waiting for Postgres" in caplog.text)
    assert "commits 1 to 10 are trimmed from the journal; waiting for Postgres" in caplog.text
    recorder = await recording(connection, 20)
    recorder.away = 2
    assert await reading == list(range(1, 21))
    assert len(recorder.asked) == 3


async def test_what_nobody_has_is_missing(connection: Client) -> None:
    await append(connection, 1, 20)
    await trim(connection, 11)
    await recording(connection, 5)
    with pytest.raises(JournalBroken, match="sequence 6: is trimmed from the journal, and Postgres lacks it"):
        await read(connection, 1, 20)


async def test_a_hole_in_the_stream_is_handed_on(connection: Client) -> None:
    """It is damage, not trimming: the chain names it. The archive must not hide it."""
    await append(connection, 1, 20)
    recorder = await recording(connection, 20)
    await remove_stream(connection, JOURNAL_STREAM)
    await connection.jsm().add_stream(name=JOURNAL_STREAM, subjects=[JOURNAL])
    await append(connection, 1, 20)
    await connection.jsm().delete_msg(JOURNAL_STREAM, 12)
    found = await read(connection, 5, 20)
    assert found == [*range(5, 12), *range(13, 21)]
    assert recorder.asked == []


async def test_without_the_archive_the_gap_is_handed_on(connection: Client) -> None:
    await append(connection, 1, 20)
    recorder = await recording(connection, 20)
    await trim(connection, 11)
    assert await read(connection, 1, 20, archived=False) == list(range(11, 21))
    assert recorder.asked == []


async def test_one_message_wherever_it_is(connection: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    await append(connection, 1, 20)
    await trim(connection, 11)
    assert await journal_message(connection, 15) == b"15"
    assert await journal_message(connection, 21) is None, "beyond the end the archive is not asked"
    monkeypatch.setattr(archive, "_ANSWER_SECONDS", 0.1)
    with pytest.raises(ArchiveUnavailable):
        await journal_message(connection, 10)
    recorder = await recording(connection, 9)
    assert await journal_message(connection, 9) == b"9"
    assert await journal_message(connection, 10) is None
    recorder.away = 1
    with pytest.raises(ArchiveUnavailable, match="archive_unavailable"):
        await ask_archive(connection, 1, 2)
