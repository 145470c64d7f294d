"""The recorder as a process, against a real nats-server and a real Postgres: exactly once, whoever dies."""

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from contracts.subjects import JOURNAL, JOURNAL_STREAM, RECORDER_POSITION, RECORDER_STATUS
from runtime.journal import ensure_stream
from tests.support.journals import Journal, Written, extend, publish, random_journal
from tests.support.recorded import Recorders, expected, fold, tables, until_recorded
from tests.support.rich_journals import rich_journal
from tests.support.servers import NatsServer, PostgresServer, remove_stream

pytestmark = pytest.mark.stack


@pytest.fixture
async def connection(nats_server: NatsServer) -> AsyncIterator[Client]:
    connection = await nats.connect(nats_server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.05)
    yield connection
    await connection.close()


@pytest.fixture
async def recorders(nats_server: NatsServer, database: str, tmp_path: Path) -> AsyncIterator[Recorders]:
    environment = {
        "PRICETIME_NATS_URL": nats_server.url,
        "PRICETIME_POSTGRES_URL": database,
        "PRICETIME_RECORDER_WAIT_SECONDS": "0.1",
    }
    recorders = Recorders(environment, tmp_path / "recorder.log")
    yield recorders
    await recorders.kill()


async def status(connection: Client) -> dict[str, Any]:
    """Of the recorder, as soon as it answers."""
    async with asyncio.timeout(60):
        while True:
            try:
                return dict(json.loads((await connection.request(RECORDER_STATUS, b"{}", timeout=1)).data))
            except nats.errors.Error:
                await asyncio.sleep(0.02)


async def replace_journal(connection: Client, written: list[Written]) -> None:
    await remove_stream(connection, JOURNAL_STREAM)
    await publish(connection, written)


async def test_it_records_what_is_there_and_what_comes(connection: Client, recorders: Recorders, database: str) -> None:
    journal = random_journal(1, commits=30, commands_per_commit=10)
    await publish(connection, journal.written)
    process = await recorders.start()
    await until_recorded(database, len(journal.written))
    await publish(connection, extend(journal, 2, commits=30, commands_per_commit=10))
    await until_recorded(database, len(journal.written))
    assert await tables(database) == expected(journal.written)
    assert await status(connection) == {
        "sequence": len(journal.written),
        "hash": journal.written[-1].hash.hex(),
        "journal_epoch": "test-journal",
        "last_sequence": len(journal.written),
        "pid": process.pid,
    }
    process.terminate()
    assert await process.wait() == 0, recorders.log


async def test_after_a_restart_it_knows_the_last_trade(connection: Client, recorders: Recorders, database: str) -> None:
    """What happens to an order first of all in a new process still stands behind the fills before it."""
    written = rich_journal(1)[0].written
    alone = [fold([each])[0] for each in written]
    amended = next(number for number, rows in enumerate(alone) if number > 50 and rows.order_events and not rows.trades)
    await publish(connection, written[:amended])
    process = await recorders.start()
    await until_recorded(database, amended)
    process.terminate()
    await process.wait()
    await publish(connection, written[amended:])
    await recorders.start()
    await until_recorded(database, len(written))
    assert await tables(database) == expected(written)


async def test_it_announces_how_far_it_is(connection: Client, recorders: Recorders) -> None:
    journal = random_journal(1, commits=5, commands_per_commit=2)
    announced: asyncio.Queue[int] = asyncio.Queue()

    async def on_position(message: Msg) -> None:
        announced.put_nowait(json.loads(message.data)["sequence"])

    await connection.subscribe(RECORDER_POSITION, cb=on_position)
    await publish(connection, journal.written)
    await recorders.start()
    async with asyncio.timeout(60):
        while await announced.get() < len(journal.written):
            pass
        assert await announced.get() == len(journal.written), "not said again while idle"


async def test_it_says_where_postgres_is_before_there_is_a_journal(connection: Client, recorders: Recorders) -> None:
    await recorders.start()
    assert (await status(connection))["sequence"] == 0


async def test_killed_again_and_again_it_records_everything_once(
    connection: Client, recorders: Recorders, database: str
) -> None:
    """Goal: exactly once under kill -9. Method: kill the recorder at random positions of a journal that keeps growing,
    start it anew, and compare every table with the journal at the end."""
    chance = random.Random(11)
    written = rich_journal(11, 6000)[0].written
    end = len(written) // 6
    await publish(connection, written[:end])
    for _ in range(4):
        process = await recorders.start()
        await until_recorded(database, chance.randint(end // 2, end - 10))
        start, end = end, end + len(written) // 6
        more = asyncio.create_task(publish(connection, written[start:end]))
        await asyncio.sleep(chance.uniform(0, 0.05))
        process.kill()
        await process.wait()
        await more
    await recorders.start()
    await publish(connection, written[end:])
    await until_recorded(database, len(written))
    assert await tables(database) == expected(written)


async def test_of_two_recorders_one_ends(connection: Client, recorders: Recorders, database: str) -> None:
    journal = random_journal(12, commits=10, commands_per_commit=20)
    await publish(connection, journal.written)
    processes = [await recorders.start(), await recorders.start()]
    ended = [asyncio.create_task(process.wait()) for process in processes]
    async with asyncio.timeout(60):
        while not any(end.done() for end in ended):  # two that have nothing to do do not notice one another
            await publish(connection, extend(journal, len(journal.written), commits=1, commands_per_commit=20))
    (refused,) = [process for process, end in zip(processes, ended, strict=True) if end.done()]
    assert "another recorder" in await recorders.refusal(refused)
    await until_recorded(database, len(journal.written))
    assert await tables(database) == expected(journal.written)
    await recorders.kill()
    await asyncio.gather(*ended)


async def test_it_outlives_postgres_and_nats(
    connection: Client, recorders: Recorders, database: str, postgres: PostgresServer, nats_server: NatsServer
) -> None:
    journal = random_journal(13, commits=50, commands_per_commit=20)
    await publish(connection, journal.written)
    process = await recorders.start()
    await until_recorded(database, 1)
    postgres.kill()
    await publish(connection, extend(journal, 1, commits=100, commands_per_commit=20))
    await recorders.until_said("cannot use Postgres")
    postgres.start()
    await until_recorded(database, len(journal.written))
    nats_server.kill()
    nats_server.start()
    again = await nats.connect(nats_server.url)
    await publish(again, extend(journal, 2, commits=100, commands_per_commit=20))
    await again.close()
    await until_recorded(database, len(journal.written))
    assert await tables(database) == expected(journal.written)
    assert process.returncode is None


async def test_it_stops_at_once_while_postgres_is_away(
    connection: Client, recorders: Recorders, postgres: PostgresServer
) -> None:
    await ensure_stream(connection, 1)
    process = await recorders.start()
    await status(connection)
    postgres.stop()
    try:
        await publish(connection, random_journal(1, commits=1, commands_per_commit=1).written)
        await recorders.until_said("cannot use Postgres")
        process.terminate()
        assert await process.wait() == 0, recorders.log
    finally:
        postgres.start()


# A journal that is no longer the one recorded


@pytest.fixture
async def recorded(connection: Client, recorders: Recorders, database: str) -> Journal:
    """A journal of 42 commits that is in Postgres; its recorder is stopped."""
    journal = random_journal(14, commits=40, commands_per_commit=5)
    await publish(connection, journal.written)
    process = await recorders.start()
    await until_recorded(database, 42)
    process.terminate()
    await process.wait()
    return journal


async def test_a_cut_journal_is_refused(connection: Client, recorders: Recorders, recorded: Journal) -> None:
    await replace_journal(connection, recorded.written[:30])
    refusal = await recorders.refusal(await recorders.start())
    assert "journal sequence 31 is missing: the journal ends at 30, but Postgres holds commits up to 42" in refusal


async def test_a_damaged_commit_stops_it_after_the_ones_before(
    connection: Client, recorders: Recorders, database: str
) -> None:
    written = random_journal(15, commits=10, commands_per_commit=5).written
    await publish(connection, written[:8])
    damaged = written[8].payload[:-1] + bytes([written[8].payload[-1] ^ 1])
    await connection.jetstream().publish(JOURNAL, damaged)
    refusal = await recorders.refusal(await recorders.start())
    assert "journal sequence 9: its bytes do not match its hash" in refusal
    assert await tables(database) == expected(written[:8])


async def test_a_journal_cut_while_it_runs_is_refused(
    connection: Client, recorders: Recorders, recorded: Journal, database: str
) -> None:
    process = await recorders.start()
    await status(connection)
    await recorders.until_said("recording from journal sequence 43")
    await replace_journal(connection, recorded.written[:20])
    # It may notice before all 20 are back.
    pattern = r"journal sequence \d+: is missing: the journal ends at \d+, but 42 has been read before"
    assert re.search(pattern, await recorders.refusal(process))
    assert await tables(database) == expected(recorded.written)
