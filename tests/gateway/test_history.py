"""Orders, trades and instruments out of a real Postgres with the recorder's schema."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import psutil
import pytest

from contracts.messages import CancelReason, OrderStatus
from entry.problems import Declined
from gateway import history as history_module
from gateway.history import History, close_pool, open_pool
from gateway.pages import orders_page, trades_page
from recorder.schema import migrate
from tests.support.servers import PostgresServer, start_postgres, temporary_folder

pytestmark = pytest.mark.stack

NOON = datetime(2025, 1, 2, 12, 0, 0, 7, UTC)
ORDER: dict[str, Any] = {
    "order_id": 1,
    "client_order_id": "a-1",
    "account": "bob",
    "symbol": "TIN",
    "side": "buy",
    "type": "limit",
    "time_in_force": "GTC",
    "post_only": False,
    "price": 10010,
    "quantity": 1000,
    "filled_quantity": 300,
    "filled_notional": 3_003_001,
    "status": "partially_filled",
    "reason": None,
    "created_at": NOON,
    "updated_at": NOON + timedelta(seconds=1),
    "sequence": 5,
    "placed_sequence": 4,
}
TRADE: dict[str, Any] = {
    "trade_id": 1,
    "symbol": "TIN",
    "price": 10010,
    "quantity": 300,
    "taker_side": "sell",
    "maker_order_id": 1,
    "taker_order_id": 2,
    "executed_at": NOON,
    "journal_sequence": 5,
}


async def insert(writer: asyncpg.Connection, table: str, row: dict[str, Any]) -> None:
    values = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await writer.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({values})", *row.values())


@pytest.fixture
async def writer(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    await migrate(connection)
    tin = {"symbol": "TIN", "tick_size": "0.01", "lot_size": "0.001", "min_quantity": 1, "max_quantity": 10**6}
    await insert(connection, "instruments", tin | {"status": "trading", "sequence": 2})
    yield connection
    await connection.close()


@pytest.fixture
async def history(database: str, writer: asyncpg.Connection) -> AsyncIterator[History]:
    pool = await open_pool(database)
    yield History(pool)
    await close_pool(pool)


async def test_an_order_as_people_see_it(history: History, writer: asyncpg.Connection) -> None:
    await insert(writer, "orders", ORDER)
    found = await history.order(1)
    assert found is not None
    order, instrument = found
    assert (order.price, order.quantity, order.filled_quantity) == ("100.10", "1.000", "0.300")
    assert (order.remaining_quantity, order.average_price) == ("0.700", "100.1000333333")
    assert (order.status, order.reason) == (OrderStatus.PARTIALLY_FILLED, None)
    assert (order.created_at, order.updated_at) == ("2025-01-02T12:00:00.000007Z", "2025-01-02T12:00:01.000007Z")
    assert (instrument.symbol, instrument.max_quantity) == ("TIN", 10**6)
    assert await history.order(2) is None


async def test_a_canceled_market_order(history: History, writer: asyncpg.Connection) -> None:
    await insert(
        writer, "orders", ORDER | {"price": None, "type": "market", "status": "canceled", "reason": "no_liquidity"}
    )
    found = await history.order(1)
    assert found is not None
    assert (found[0].price, found[0].remaining_quantity) == (None, "0.000")
    assert found[0].reason is CancelReason.NO_LIQUIDITY


async def test_pages_newest_first(history: History, writer: asyncpg.Connection) -> None:
    for order_id in range(1, 8):
        account = "bob" if order_id % 2 else "eve"
        await insert(writer, "orders", ORDER | {"order_id": order_id, "account": account, "client_order_id": None})
    seen, cursor = [], None
    while True:
        query = {"account": "bob", "limit": "3"} | ({} if cursor is None else {"cursor": cursor})
        items, cursor = await history.orders(orders_page(query))
        seen.append([item.order_id for item in items])
        if cursor is None:
            break
    assert seen == [[7, 5, 3], [1]]
    assert [item.order_id for item in (await history.orders(orders_page({"limit": "7"})))[0]] == [7, 6, 5, 4, 3, 2, 1]
    assert (await history.orders(orders_page({"limit": "7"})))[1] is None


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"client_order_id": "a-1", "account": "bob"}, 1),
        ({"client_order_id": "a-1"}, 0),
        ({"symbol": "TIN", "status": "partially_filled", "side": "BUY"}, 1),
        ({"symbol": "GOLD"}, 0),
        ({"status": "open"}, 0),
        ({"status": "canceled"}, 0),
        ({"side": "-1"}, 0),
    ],
)
async def test_filters(history: History, writer: asyncpg.Connection, query: dict[str, str], count: int) -> None:
    await insert(writer, "orders", ORDER)
    await insert(writer, "open_orders", {"order_id": ORDER["order_id"]})
    assert len((await history.orders(orders_page(query)))[0]) == count


async def test_trades_and_those_of_an_order(history: History, writer: asyncpg.Connection) -> None:
    for trade_id, (maker, taker) in enumerate([(1, 2), (1, 3), (2, 4)], 1):
        await insert(writer, "trades", TRADE | {"trade_id": trade_id, "maker_order_id": maker, "taker_order_id": taker})
    items, cursor = await history.trades(trades_page({"limit": "2"}))
    assert [item.trade_id for item in items] == [3, 2]
    assert cursor is not None
    assert [item.trade_id for item in (await history.trades(trades_page({"cursor": cursor})))[0]] == [1]
    of_two, _ = await history.trades(trades_page({"order_id": "2", "symbol": "TIN"}))
    assert [(item.trade_id, item.price, item.sequence) for item in of_two] == [(3, "100.10", 3), (1, "100.10", 1)]


async def test_instruments_and_position(history: History) -> None:
    assert [instrument.symbol for instrument in await history.instruments()] == ["TIN"]
    assert await history.position() == 0


async def test_it_only_reads(database: str, writer: asyncpg.Connection) -> None:
    pool = await open_pool(database)
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await pool.execute("DELETE FROM orders")
    await close_pool(pool)


async def test_a_database_that_is_not_set_up_yet(database: str) -> None:
    pool = await open_pool(database)
    with pytest.raises(Declined) as caught:
        await History(pool).order(1)
    assert caught.value.problem.code == "history_unavailable"
    await close_pool(pool)


async def until_refused(history: History) -> None:
    """A process of Postgres may outlive its parent for a moment."""
    while True:
        await history.order(1)


async def test_a_restarted_postgres_is_asked_again_at_once() -> None:
    with temporary_folder() as folder:
        server: PostgresServer = start_postgres(folder)
        with server.fresh_database() as url:
            writer = await asyncpg.connect(url)
            await migrate(writer)
            await writer.close()
            pool = await open_pool(url)
            history = History(pool)
            assert await history.order(1) is None
            server.kill()
            with pytest.raises(Declined):
                await until_refused(history)
            server.start()
            assert await history.order(1) is None
            await close_pool(pool)
        server.stop()


async def test_a_postgres_that_answers_nobody_keeps_no_reader_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    with temporary_folder() as folder:
        server: PostgresServer = start_postgres(folder)
        with server.fresh_database() as url:
            writer = await asyncpg.connect(url)
            await migrate(writer)
            await writer.close()
            pool = await open_pool(url)
            history = History(pool)
            assert await history.order(1) is None
            processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
            for process in processes:
                process.suspend()
            with monkeypatch.context() as impatient:
                impatient.setattr(history_module, "_TIMEOUT_SECONDS", 0.3)
                with pytest.raises(Declined):
                    await history.order(1)
            assert history.is_silent
            turned_away = [history.order(number) for number in range(100)]
            failures = await asyncio.wait_for(asyncio.gather(*turned_away, return_exceptions=True), 20)
            assert all(isinstance(each, Declined) for each in failures), "all of them at once"
            for process in processes:
                process.resume()
            while history.is_silent:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.05)
            assert await history.order(1) is None
            await history.close()
        server.stop()
