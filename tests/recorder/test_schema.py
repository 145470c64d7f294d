"""Migrations: each once, whoever starts at the same time, and never backwards."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from recorder.schema import migrate, migrations
from runtime.service import Refused

pytestmark = pytest.mark.stack


@pytest.fixture
async def connection(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


def test_they_are_numbered_from_one_without_gaps() -> None:
    assert [migration.version for migration in migrations()] == list(range(1, len(migrations()) + 1))
    assert migrations()[0].name == "initial"


async def test_each_is_applied_once(connection: asyncpg.Connection) -> None:
    await migrate(connection)
    await migrate(connection)
    applied = await connection.fetch("select version, name from schema_migrations order by version")
    assert [tuple(row) for row in applied] == [(each.version, each.name) for each in migrations()]
    assert await connection.fetchval("select count(*) from recorder_position") == 1


async def test_every_table_and_view_is_documented(connection: asyncpg.Connection) -> None:
    await migrate(connection)
    rows = await connection.fetch("select table_name from information_schema.tables where table_schema = 'public'")
    page = (Path(__file__).parents[2] / "docs/history.md").read_text()
    assert rows
    assert [name for (name,) in rows if f"`{name}`" not in page] == []


async def test_two_at_the_same_moment(connection: asyncpg.Connection, database: str) -> None:
    other = await asyncpg.connect(database)
    await asyncio.gather(migrate(connection), migrate(other))
    assert await connection.fetchval("select count(*) from schema_migrations") == len(migrations())
    await other.close()


async def test_a_database_of_a_newer_version_is_refused(connection: asyncpg.Connection) -> None:
    await migrate(connection)
    await connection.execute("insert into schema_migrations (version, name) values (9999, 'of_the_future')")
    with pytest.raises(Refused, match="schema version 9999"):
        await migrate(connection)


async def test_a_failure_leaves_nothing_half_done(
    connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = migrations()[-1]._replace(version=len(migrations()) + 1, sql="create table half (a int); select 1 / 0")
    monkeypatch.setattr("recorder.schema.migrations", lambda: [*migrations(), broken])
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(connection)
    tables = await connection.fetch("select table_name from information_schema.tables where table_schema = 'public'")
    assert not tables
