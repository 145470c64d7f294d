"""The journal handed out from Postgres: the same bytes, in bounded answers, and the proof asked for before trimming."""

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import msgspec
import pytest

from recorder import archive as archive_module
from recorder.archive import Archive
from recorder.store import Store
from runtime.micro import Failure
from tests.support.journals import random_journal
from tests.support.recorded import fold

pytestmark = pytest.mark.stack

RECORDED = random_journal(23, commits=60, commands_per_commit=5).written
"""62 commits."""
SIZES = [len(each.payload) for each in RECORDED]


@pytest.fixture
async def archive(database: str) -> AsyncIterator[Archive]:
    store = Store(database)
    await store.open()
    await store.record(*fold(RECORDED))
    store.close()
    archive = Archive(database)
    yield archive
    archive.close()


async def commits(archive: Archive, **question: int) -> list[tuple[int, bytes]]:
    answer = await archive.commits(json.dumps(question).encode())
    assert isinstance(answer, bytes)
    return msgspec.msgpack.decode(answer, type=list[tuple[int, bytes]])


async def holds(archive: Archive, **question: int) -> dict[str, Any]:
    answer = await archive.holds(json.dumps(question).encode())
    assert isinstance(answer, bytes)
    return dict(msgspec.json.decode(answer))


async def change(database: str, statement: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute(statement)
    await connection.close()


async def test_the_same_bytes_in_order(archive: Archive) -> None:
    written = [(each.commit.sequence, each.payload) for each in RECORDED]
    assert await commits(archive, **{"from": 1}) == written
    assert await commits(archive, **{"from": 60, "to": 61}) == written[59:61]
    assert await commits(archive, **{"from": 63}) == []


async def test_an_answer_is_bounded_and_never_empty(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, expected in ((sum(SIZES[:7]), 7), (sum(SIZES[:7]) - 1, 6), (1, 1)):
        query = archive_module._COMMITS.replace(str(archive_module.MAX_BYTES), str(limit))
        with monkeypatch.context() as patch:
            patch.setattr(archive_module, "_COMMITS", query)
            assert [sequence for sequence, _ in await commits(archive, **{"from": 1})] == list(range(1, expected + 1))


@pytest.mark.parametrize("question", [b"", b"{}", b'{"from":0}', b'{"from":"1"}', b'{"from":1.5}', b"[1]", b"\xff"])
async def test_nonsense_is_refused(archive: Archive, question: bytes) -> None:
    for answer in (await archive.commits(question), await archive.holds(question)):
        assert isinstance(answer, Failure)
        assert answer.code == 400


async def test_what_is_whole(archive: Archive) -> None:
    proof = await holds(archive, **{"from": 1, "to": 62})
    assert proof == {"whole": True, "hash": RECORDED[-1].hash.hex(), "durable": True}
    for first, last in ((1, 63), (63, 63), (70, 80), (62, 1)):
        assert not (await holds(archive, **{"from": first, "to": last}))["whole"]


@pytest.mark.parametrize(
    "damage",
    [
        "delete from journal_commits where sequence = 30",
        "update journal_commits set payload = set_byte(payload, 40, get_byte(payload, 40) # 1) where sequence = 30",
        "update journal_commits set payload = set_byte(payload, 5, get_byte(payload, 5) # 1) where sequence = 30",
        "update journal_commits set payload = substring(payload for 50) where sequence = 30",
        "update journal_commits set hash = set_byte(hash, 0, get_byte(hash, 0) # 1) where sequence = 30",
        "update journal_commits set (hash, payload) = "
        "(select hash, payload from journal_commits where sequence = 40) where sequence = 30",
    ],
)
async def test_damage_is_seen(archive: Archive, database: str, damage: str) -> None:
    await change(database, damage)
    assert (await holds(archive, **{"from": 1, "to": 29}))["whole"]
    assert not (await holds(archive, **{"from": 30, "to": 30}))["whole"]
    assert (await holds(archive, **{"from": 32, "to": 62}))["whole"]
    assert not (await holds(archive, **{"from": 1, "to": 62}))["whole"]


async def test_a_database_that_may_forget(archive: Archive, database: str) -> None:
    name = database.rpartition("/")[2]
    await change(database, f"alter database {name} set synchronous_commit = off")
    archive.close()
    assert not (await holds(archive, **{"from": 1, "to": 62}))["durable"]


async def test_while_postgres_is_away_it_is_refused(database: str) -> None:
    away = Archive(f"{database}_that_is_not_there")
    answer = await away.commits(b'{"from":1}')
    assert isinstance(answer, Failure)
    assert answer.code == 503
    assert isinstance(await away.holds(b'{"from":1,"to":1}'), Failure)


async def test_a_lost_connection_is_made_anew(archive: Archive, database: str) -> None:
    assert await commits(archive, **{"from": 62})
    name = "pricetime-archive"
    await change(database, f"select pg_terminate_backend(pid) from pg_stat_activity where application_name = '{name}'")
    await archive.commits(b'{"from":62}')  # may be the one that finds it lost
    assert await commits(archive, **{"from": 62})


async def test_it_cannot_write(archive: Archive) -> None:
    connection = await archive._connected()
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await connection.execute("delete from journal_commits")
