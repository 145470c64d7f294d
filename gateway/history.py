"""Orders, trades and instruments as the recorder has put them into Postgres. Reading only."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from contracts.messages import (
    CancelReason,
    OrderState,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
    TradeExecuted,
)
from contracts.views import Instrument, OrderView, TradeView, order_view, trade_view
from entry.problems import declined
from gateway.pages import Page, cursor_after

log = logging.getLogger(__name__)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_CONNECTIONS = 8
_TIMEOUT_SECONDS = 2.0

_INSTRUMENT = "i.symbol, i.tick_size, i.lot_size, i.min_quantity, i.max_quantity, i.status AS instrument_status"
_ORDERS = f"SELECT o.*, {_INSTRUMENT} FROM orders o JOIN instruments i USING (symbol)"
_TRADES = f"SELECT t.*, {_INSTRUMENT} FROM trades t JOIN instruments i USING (symbol)"
_INSTRUMENTS = f"SELECT {_INSTRUMENT} FROM instruments i ORDER BY symbol"

_DOWN = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that broke in the middle of a statement
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.UndefinedTableError,
)
"""What asking a Postgres that is away, starting, full or not yet set up can raise."""

Row = asyncpg.Record


class History:
    """Every method raises Declined (history_unavailable) while Postgres cannot be asked."""

    def __init__(self, pool: "asyncpg.Pool[Row]") -> None:
        self._pool = pool

    async def order(self, order_id: int) -> tuple[OrderView, Instrument] | None:
        rows = await self._fetch(f"{_ORDERS} WHERE o.order_id = $1", order_id)
        return (_order(rows[0]), _instrument(rows[0])) if rows else None

    async def orders(self, page: Page) -> tuple[list[OrderView], str | None]:
        where, arguments = page.where("o.order_id")
        rows = await self._fetch(f"{_ORDERS} {where} ORDER BY o.order_id DESC LIMIT {page.limit + 1}", *arguments)
        items = [_order(row) for row in rows[: page.limit]]
        return items, cursor_after(items[-1].order_id) if len(rows) > page.limit else None

    async def trades(self, page: Page) -> tuple[list[TradeView], str | None]:
        where, arguments = page.where("t.trade_id")
        rows = await self._fetch(f"{_TRADES} {where} ORDER BY t.trade_id DESC LIMIT {page.limit + 1}", *arguments)
        items = [_trade(row) for row in rows[: page.limit]]
        return items, cursor_after(items[-1].trade_id) if len(rows) > page.limit else None

    async def instruments(self) -> list[Instrument]:
        return [_instrument(row) for row in await self._fetch(_INSTRUMENTS)]

    async def position(self) -> int:
        """The journal sequence that Postgres has reached."""
        rows = await self._fetch("SELECT sequence FROM recorder_position")
        return int(rows[0]["sequence"]) if rows else 0

    async def _fetch(self, statement: str, *arguments: object) -> list[Row]:
        """Asks a second time after a failure: a connection from before a restart of Postgres says nothing of now."""
        try:
            return await self._ask(statement, arguments)
        except _DOWN as error:
            log.warning("postgres: %s; asking again", error or type(error).__name__)
            await self._pool.expire_connections()
        try:
            return await self._ask(statement, arguments)
        except _DOWN as error:
            log.warning("postgres: %s", error or type(error).__name__)
            raise declined(
                "history_unavailable",
                "The history cannot be read now. Orders are still taken; read again after Retry-After seconds.",
            ) from error

    async def _ask(self, statement: str, arguments: tuple[object, ...]) -> list[Row]:
        async with self._pool.acquire(timeout=_TIMEOUT_SECONDS) as connection:
            return await connection.fetch(statement, *arguments, timeout=_TIMEOUT_SECONDS)


async def open_pool(url: str) -> "asyncpg.Pool[Row]":
    """Connects when first used: the gateway starts, and takes orders, without Postgres."""
    return await asyncpg.create_pool(
        url,
        min_size=0,
        max_size=_CONNECTIONS,
        timeout=_TIMEOUT_SECONDS,
        command_timeout=_TIMEOUT_SECONDS,
        reset=_keep,
        server_settings={
            "application_name": "pricetime gateway",
            "default_transaction_read_only": "on",
            # A plan for any value walks the newest rows in the hope of a match: for rare ones, the whole table.
            "plan_cache_mode": "force_custom_plan",
        },
    )


async def close_pool(pool: "asyncpg.Pool[Row]") -> None:
    try:
        await asyncio.wait_for(pool.close(), 1)
    except TimeoutError:
        pool.terminate()


async def _keep(_: Any) -> None:
    """Between two reads nothing has to be reset; asyncpg's own way costs a round trip."""


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _instrument(row: Row) -> Instrument:
    return Instrument(
        symbol=row["symbol"],
        tick_size=row["tick_size"],
        lot_size=row["lot_size"],
        min_quantity=row["min_quantity"],
        max_quantity=row["max_quantity"],
        status=row["instrument_status"],
    )


def _order(row: Row) -> OrderView:
    order = OrderState(
        order_id=row["order_id"],
        client_order_id=row["client_order_id"],
        account=row["account"],
        symbol=row["symbol"],
        side=Side(row["side"]),
        type=OrderType(row["type"]),
        time_in_force=TimeInForce(row["time_in_force"]),
        post_only=row["post_only"],
        price=row["price"],
        quantity=row["quantity"],
        filled_quantity=row["filled_quantity"],
        filled_notional=str(int(row["filled_notional"])),
        created_at=_microseconds(row["created_at"]),
    )
    return order_view(
        order,
        _instrument(row),
        status=OrderStatus(row["status"]),
        reason=None if row["reason"] is None else CancelReason(row["reason"]),
        updated_at=_microseconds(row["updated_at"]),
        sequence=row["sequence"],
    )


def _trade(row: Row) -> TradeView:
    trade = TradeExecuted(
        trade_id=row["trade_id"],
        symbol=row["symbol"],
        price=row["price"],
        quantity=row["quantity"],
        taker_side=Side(row["taker_side"]),
        maker_order_id=row["maker_order_id"],
        taker_order_id=row["taker_order_id"],
    )
    return trade_view(trade, _instrument(row), _microseconds(row["executed_at"]))
