"""What the recorder tells of Postgres itself, tried on a real one: sizes, sessions, and who holds up whom."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from recorder import postgres_server as postgres_server_module
from recorder.postgres_server import STATES
from recorder.postgres_server import PostgresServer as Watched
from runtime.metrics import Measure
from runtime.metrics_server import Exposition
from tests.support.servers import PostgresServer, until

pytestmark = pytest.mark.stack


def told(measures: Iterable[Measure]) -> dict[Any, Any]:
    return {
        " ".join((each.metric.name.removeprefix("pricetime_postgres_"), *each.labels)): each.value for each in measures
    }


@asynccontextmanager
async def watching(url: str) -> AsyncIterator[Watched]:
    server = Watched(url, Exposition(is_on=True))
    running = asyncio.create_task(server.run())
    await until(lambda: told(server.measures()))
    yield server
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_server_module, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(postgres_server_module, "_ANSWER_SECONDS", 60)


async def test_size_connections_and_transactions(database: str) -> None:
    async with watching(database) as server:
        found = told(server.measures())
        assert found["up"] is True
        assert found["database_bytes"] > 1_000_000
        assert found["connections active"] >= 1, "its own"
        assert {f"connections {state}" for state in STATES} <= found.keys()
        await until(lambda: told(server.measures())["oldest_transaction_seconds"] == 0)  # its own does not count
        assert found["start_time_seconds"] > 1_700_000_000
        assert 0 < found["transaction_ids_used"] < 2**31
        connection = await asyncpg.connect(database)
        settings = ("max_connections", "superuser_reserved_connections", "reserved_connections")
        most, *reserved = [int(await connection.fetchval(f"show {name}")) for name in settings]
        assert found["connections_room"] == most - sum(reserved) < most
        await connection.execute("create table filled as select generate_series(1, 20000) as number")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.execute("select 1 / 0")
        await connection.close()  # what it did is counted by now
        await until(lambda: told(server.measures())["database_bytes"] > found["database_bytes"])
        names = [f"transactions_total {outcome}" for outcome in ("committed", "rolled back")]
        await until(lambda: all(told(server.measures())[name] > found[name] for name in names))


async def test_an_open_transaction_and_who_waits_for_it(database: str) -> None:
    async with watching(database) as server:
        first, second = await asyncpg.connect(database), await asyncpg.connect(database)
        await first.execute("create table held (number int)")
        await first.execute("begin; lock table held")
        waiting = asyncio.create_task(second.execute("select * from held"))
        await until(lambda: told(server.measures())["waiting_for_locks"] == 1)
        seen = told(server.measures())["oldest_transaction_seconds"]
        assert told(server.measures())["connections idle in transaction"] >= 1
        await until(lambda: told(server.measures())["oldest_transaction_seconds"] > seen > 0)
        await first.execute("commit")
        await waiting
        await until(lambda: told(server.measures())["waiting_for_locks"] == 0)
        await first.close()
        await second.close()


async def test_a_deadlock_counts(database: str) -> None:
    quick = {"deadlock_timeout": "10ms"}
    async with watching(database) as server:
        assert told(server.measures())["deadlocks_total"] == 0
        first, second = [await asyncpg.connect(database, server_settings=quick) for _ in range(2)]
        await first.execute("select pg_advisory_lock(1)")
        await second.execute("select pg_advisory_lock(2)")
        crossing = (first.execute("select pg_advisory_lock(2)"), second.execute("select pg_advisory_lock(1)"))
        ended = [asyncio.create_task(each) for each in crossing]
        done, _ = await asyncio.wait(ended, return_when=asyncio.FIRST_EXCEPTION)
        assert [type(each.exception()) for each in done if each.exception()] == [asyncpg.DeadlockDetectedError]
        for connection, task in ((first, ended[0]), (second, ended[1])):
            if task.done() and task.exception():
                await connection.close()
        await asyncio.gather(*ended, return_exceptions=True)
        await first.close()
        await second.close()
        await until(lambda: told(server.measures())["deadlocks_total"] == 1)


async def test_one_that_cannot_be_reached_is_away_and_no_more_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async with watching("postgresql://nobody:secret@127.0.0.1:1/none") as server:
        assert told(server.measures()) == {"up": False}
    assert "Postgres does not say how it is" in caplog.text
    assert "secret" not in caplog.text


async def test_one_that_goes_away_is_told_by_nothing_that_was_seen_before(postgres: PostgresServer) -> None:
    with postgres.fresh_database() as gone:
        async with asyncio.timeout(60), watching(gone) as server:
            assert told(server.measures())["database_bytes"] > 0
            name = gone.rpartition("/")[2]
            await asyncio.to_thread(postgres.execute, f"drop database {name} with (force)")
            await until(lambda: told(server.measures()) == {"up": False})


async def test_a_connection_that_is_lost_is_made_anew(database: str) -> None:
    async with watching(database) as server:
        other = await asyncpg.connect(database)
        ours = "from pg_stat_activity where application_name = 'pricetime-watch' and datname = current_database()"
        before = await other.fetchval(f"select pid {ours}")
        await other.execute("select pg_terminate_backend($1)", before)
        async with asyncio.timeout(30):
            while not await other.fetchval(f"select count(*) {ours} and pid <> $1", before):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await until(lambda: told(server.measures())["up"])
        await other.close()


async def test_where_nobody_reads_metrics_it_is_not_asked(database: str) -> None:
    server = Watched(database, Exposition(is_on=False))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await server.run()
    assert told(server.measures()) == {}
