"""A database of an earlier version: what its rows cannot tell is made anew from its copy of the journal."""

from collections.abc import Iterator, Sequence

import asyncpg
import pytest
from msgspec.structs import astuple

from recorder import schema
from recorder.schema import Migration, migrations
from recorder.store import Store
from recorder.tables import connect
from runtime.service import Refused
from tests.support.journals import Written
from tests.support.recorded import expected, fold, tables
from tests.support.rich_journals import rich_journal

pytestmark = pytest.mark.stack

_VERSION_1_ORDER_COLUMNS = 17
_VERSION_1_INSTRUMENT_COLUMNS = 7


async def record_as_version_1(database: str, written: Sequence[Written]) -> None:
    """The tables as the recorder of version 1 left them, orders and instruments without what came later."""
    rows, position = fold(written)
    connection = await connect(database)
    await schema.migrate(connection)
    for table, columns, records in (
        ("journal_commits", 4, [tuple(row) for row in rows.commits]),
        ("trades", 9, [tuple(row) for row in rows.trades]),
        ("orders", _VERSION_1_ORDER_COLUMNS, [astuple(row) for row in rows.orders.values()]),
        ("instruments", _VERSION_1_INSTRUMENT_COLUMNS, [astuple(row) for row in rows.listed()]),
    ):
        await connection.copy_records_to_table(table, records=[record[:columns] for record in records])
    await connection.execute("update recorder_position set sequence = $1, hash = $2, journal_epoch = $3", *position)
    await connection.close()


@pytest.fixture
def only_version_1(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    first: list[Migration] = migrations()[:1]
    with monkeypatch.context() as patch:
        patch.setattr(schema, "migrations", lambda: first)
        patch.setattr(schema, "_LAST_REBUILT", 0)
        yield patch


async def test_a_database_of_version_1_tells_all_of_the_past_and_goes_on(
    database: str, only_version_1: pytest.MonkeyPatch
) -> None:
    written = rich_journal(4, 3000)[0].written
    before = len(written) - 100
    assert before > 500, "more commits than are folded at once"
    await record_as_version_1(database, written[:before])
    only_version_1.undo()
    store = Store(database)
    await store.open()
    assert store.position == fold(written[:before])[1]
    assert await tables(database) == expected(written[:before])
    await store.record(*fold(written[before:], store.last_trade_id))
    assert await tables(database) == expected(written)
    store.close()


async def test_a_database_of_version_2_learns_what_is_open_and_goes_on(database: str) -> None:
    written = rich_journal(4, 3000)[0].written
    rows, position = fold(written[:-100])
    store = Store(database)
    await store.open()
    await store.record(rows, position)
    store.close()
    await back_to_version_2(database)
    await store.open()
    assert rows.open_orders()
    assert await tables(database) == expected(written[:-100])
    await store.record(*fold(written[-100:], store.last_trade_id))
    assert await tables(database) == expected(written)
    store.close()


async def back_to_version_2(database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute(
        "drop table open_orders; drop index orders_by_status; alter table orders reset (fillfactor);"
        "create index orders_by_status on orders (status, order_id); delete from schema_migrations where version > 2"
    )
    await connection.close()


async def test_a_migrated_database_is_not_rebuilt_again(database: str, only_version_1: pytest.MonkeyPatch) -> None:
    written = rich_journal(4)[0].written
    await record_as_version_1(database, written)
    only_version_1.undo()
    for _ in range(2):
        store = Store(database)
        await store.open()
        store.close()
    assert await tables(database) == expected(written)


async def test_a_damaged_copy_of_the_journal_changes_nothing(database: str, only_version_1: pytest.MonkeyPatch) -> None:
    written = rich_journal(4)[0].written
    await record_as_version_1(database, written)
    only_version_1.undo()
    admin = await asyncpg.connect(database)
    await admin.execute("update journal_commits set payload = set_byte(payload, 70, 255) where sequence = 9")
    with pytest.raises(Refused, match=r"copy of the journal is damaged.*journal sequence 9"):
        await Store(database).open()
    assert await admin.fetchval("select max(version) from schema_migrations") == 1
    assert await admin.fetchval("select count(*) from orders") == len(fold(written)[0].orders)
    await admin.close()
