"""Orders, trades and instruments as the recorder has put them into Postgres. Reading only."""

import asyncio
import logging
import math
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from contracts.candles import Candle
from contracts.messages import (
    CancelReason,
    InstrumentStatus,
    OrderState,
    OrderStatus,
    OrderType,
    SelfTradePrevention,
    Side,
    SymbolLimits,
    Terms,
    TimeInForce,
    TradeExecuted,
)
from contracts.orders import resting_status
from contracts.views import Instrument, OrderView, TradeView, format_time, order_view, trade_view
from entry.problems import Declined, declined
from entry.views import AccountLimitsView, SymbolLimitsView, symbol_limits_view
from gateway.candles import CandleRange
from gateway.pages import Page, cursor_after
from gateway.views import AccountView, OrderEventView

log = logging.getLogger(__name__)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER = datetime.max.replace(tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_CONNECTIONS = 8
_TIMEOUT_SECONDS = 2.0
_PAUSE_SECONDS = 0.5

_INSTRUMENT = (
    "i.symbol, i.tick_size, i.lot_size, i.min_quantity, i.max_quantity, i.status AS instrument_status, "
    "i.lowest_price, i.highest_price, i.band_basis_points"
)
_ORDER = """
o.order_id, o.client_order_id, o.account, o.side, o.type, o.time_in_force, o.post_only, o.price, o.quantity,
o.filled_quantity, o.filled_notional, o.status, o.reason, o.created_at, o.updated_at, o.sequence, o.triggered,
o.stop_price, o.display_quantity, o.protection_price, o.notional, o.expires_at, o.self_trade_prevention
"""
_ORDERS = f"SELECT {_ORDER}, {_INSTRUMENT} FROM orders o JOIN instruments i USING (symbol)"
_TRADES = f"SELECT t.*, {_INSTRUMENT} FROM trades t JOIN instruments i USING (symbol)"
_INSTRUMENTS = f"SELECT {_INSTRUMENT} FROM instruments i ORDER BY symbol"
_ORDER_HISTORY = f"""
SELECT h.*, {_INSTRUMENT}, t.price AS trade_price, t.quantity AS trade_quantity, t.taker_side, t.maker_order_id,
    t.taker_order_id, t.executed_at
FROM (SELECT * FROM order_history WHERE order_id = $1 AND number > $2 ORDER BY number LIMIT $3) h
JOIN orders o USING (order_id)
JOIN instruments i USING (symbol)
LEFT JOIN trades t ON t.trade_id = h.trade_id
ORDER BY h.number
"""
_CANDLES = """
SELECT
    date_bin($1, open_time, timestamptz 'epoch') AS open_time,
    (array_agg(open ORDER BY open_time))[1] AS open,
    max(high) AS high,
    min(low) AS low,
    (array_agg(close ORDER BY open_time DESC))[1] AS close,
    sum(volume) AS volume,
    sum(trades) AS trades
FROM (
    SELECT * FROM candles
    WHERE symbol = $2 AND length_seconds = $3 AND open_time >= $4 AND open_time < $5
    ORDER BY open_time {order} LIMIT $6
) AS stored
GROUP BY 1 ORDER BY 1 {order} LIMIT $7
"""
_POSITION = """
SELECT p.sequence, c.time FROM recorder_position p LEFT JOIN journal_commits c USING (sequence)
"""
_ACCOUNT = """
SELECT
    (SELECT max_open_orders FROM account_limits WHERE account = $1) AS max_open_orders,
    (SELECT engaged FROM kill_switches WHERE account = $1) AS kill_switch,
    (SELECT deadline FROM dead_mans_switches WHERE account = $1) AS deadline
"""
_ACCOUNT_SYMBOLS = f"""
SELECT {_INSTRUMENT}, p.quantity, l.symbol IS NOT NULL AS is_limited, l.max_order_quantity, l.max_order_notional,
    l.max_position
FROM (SELECT * FROM positions WHERE account = $1) p
FULL JOIN (SELECT * FROM symbol_limits WHERE account = $1) l USING (symbol)
JOIN instruments i USING (symbol)
ORDER BY symbol
"""

_CLOSED = {"canceled": OrderStatus.CANCELED, "expired": OrderStatus.EXPIRED}

DOWN = (
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
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
)
"""What asking a Postgres that is away, starting, full or not yet set up for this version can raise."""

Row = asyncpg.Record


class History:
    """Every method raises Declined (history_unavailable) while Postgres cannot be asked."""

    def __init__(self, pool: "asyncpg.Pool[Row]") -> None:
        self._pool = pool
        self._answered_at = -math.inf
        self._listening: asyncio.Task[None] | None = None

    @property
    def is_silent(self) -> bool:
        """Whether Postgres lately answered nobody in time. Until it does again, reads fail at once."""
        return self._listening is not None

    @property
    def connections(self) -> tuple[int, int, int]:
        """To Postgres: how many are at work, how many are not, and how many there may be."""
        size, idle = self._pool.get_size(), self._pool.get_idle_size()
        return size - idle, idle, self._pool.get_max_size()

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await close_pool(self._pool)

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
        return (await self.reached())[0]

    async def reached(self) -> tuple[int, int]:
        """The journal sequence that Postgres has reached, and the time of that commit."""
        rows = await self._fetch(_POSITION)
        if not rows:
            return 0, 0
        return rows[0]["sequence"], _microseconds(rows[0]["time"] or _EPOCH)

    async def order_history(self, order_id: int, page: Page) -> tuple[list[OrderEventView], str | None]:
        """Everything that happened to the order, in true order; the page's cursor says after which of it to go on."""
        rows = await self._fetch(_ORDER_HISTORY, order_id, page.before or 0, page.limit + 1)
        items = [_order_event(row) for row in rows[: page.limit]]
        return items, cursor_after(rows[page.limit - 1]["number"]) if len(rows) > page.limit else None

    async def candles(self, symbol: str, asked: CandleRange) -> list[Candle]:
        """Oldest first."""
        statement = _CANDLES.format(order="DESC" if asked.start is None else "ASC")
        rows = await self._fetch(
            statement,
            timedelta(seconds=asked.seconds),
            symbol,
            asked.stored_seconds,
            asked.start or _EPOCH,
            asked.end or _NEVER,
            asked.stored_limit,
            asked.limit,
        )
        candles = [_candle(row) for row in rows]
        return candles if asked.start is not None else candles[::-1]

    async def account(self, account: str) -> AccountView:
        """An account that nobody has used yet looks like one without limits, orders and trades."""
        (row,) = await self._fetch(_ACCOUNT, account)
        symbols = await self._fetch(_ACCOUNT_SYMBOLS, account)
        limits = {each["symbol"]: _symbol_limits(each) for each in symbols if each["is_limited"]}
        return AccountView(
            account=account,
            kill_switch=bool(row["kill_switch"]),
            deadline=None if row["deadline"] is None else format_time(_microseconds(row["deadline"])),
            limits=AccountLimitsView(account, row["max_open_orders"], limits),
            positions={each["symbol"]: _position(each) for each in symbols if each["quantity"]},
        )

    async def _fetch(self, statement: str, *arguments: object) -> list[Row]:
        """Asks a second time after a failure: a connection from before a restart of Postgres says nothing of now."""
        asked_at = time.monotonic()
        if self.is_silent:
            raise unavailable()
        try:
            return await self._ask(statement, arguments)
        except TimeoutError as error:
            log.warning("postgres: no answer in %g s", _TIMEOUT_SECONDS)
            if self._answered_at < asked_at and self._listening is None:
                self._listening = asyncio.create_task(self._listen())
            raise unavailable() from error
        except DOWN as error:
            log.warning("postgres: %s; asking again", error or type(error).__name__)
            await self._pool.expire_connections()
        try:
            return await self._ask(statement, arguments)
        except DOWN as error:
            log.warning("postgres: %s", error or type(error).__name__)
            raise unavailable() from error

    async def _ask(self, statement: str, arguments: tuple[object, ...]) -> list[Row]:
        async with self._pool.acquire(timeout=_TIMEOUT_SECONDS) as connection:
            rows: list[Row] = await connection.fetch(statement, *arguments, timeout=_TIMEOUT_SECONDS)
        self._answered_at = time.monotonic()
        return rows

    async def _listen(self) -> None:
        """Ask until there is an answer, so that no read has to wait to find out."""
        while True:
            await self._pool.expire_connections()
            await asyncio.sleep(_PAUSE_SECONDS)
            try:
                await self._ask("SELECT 1", ())
            except DOWN as error:
                log.debug("postgres: %s", error or type(error).__name__)
                continue
            self._listening = None
            return


def unavailable() -> Declined:
    return declined(
        "history_unavailable",
        "The history cannot be read now. Orders are still taken; read again after Retry-After seconds.",
    )


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
            "work_mem": "32MB",
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
        status=InstrumentStatus(row["instrument_status"]),
        lowest_price=row["lowest_price"],
        highest_price=row["highest_price"],
        band_basis_points=row["band_basis_points"],
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
        terms=_terms(row),
        triggered=row["triggered"],
    )
    return order_view(
        order,
        _instrument(row),
        status=OrderStatus(row["status"]),
        reason=None if row["reason"] is None else CancelReason(row["reason"]),
        updated_at=_microseconds(row["updated_at"]),
        sequence=row["sequence"],
    )


def _terms(row: Row) -> Terms:
    expires_at, prevention = row["expires_at"], row["self_trade_prevention"]
    return Terms(
        stop_price=row["stop_price"],
        display_quantity=row["display_quantity"],
        protection_price=row["protection_price"],
        notional=row["notional"],
        expires_at=None if expires_at is None else _microseconds(expires_at),
        self_trade_prevention=SelfTradePrevention.NONE if prevention is None else SelfTradePrevention(prevention),
    )


def _order_event(row: Row) -> OrderEventView:
    instrument = _instrument(row)
    tick, lot = instrument.tick, instrument.lot
    event, quantity, filled = row["event"], row["quantity"], int(row["filled_quantity"])
    closed = _CLOSED.get(event)
    return OrderEventView(
        order_id=row["order_id"],
        sequence=row["sequence"],
        time=format_time(_microseconds(row["time"])),
        event=event,
        status=closed or resting_status(quantity, filled),
        price=None if row["price"] is None else tick.format(row["price"]),
        stop_price=None if row["stop_price"] is None else tick.format(row["stop_price"]),
        quantity=lot.format(quantity),
        filled_quantity=lot.format(filled),
        remaining_quantity=lot.format(0 if closed else quantity - filled),
        priority_kept=row["priority_kept"],
        reason=None if row["reason"] is None else CancelReason(row["reason"]),
        trade=None if row["trade_id"] is None else _event_trade(row, instrument),
    )


def _event_trade(row: Row, instrument: Instrument) -> TradeView:
    trade = TradeExecuted(
        trade_id=row["trade_id"],
        symbol=instrument.symbol,
        price=row["trade_price"],
        quantity=row["trade_quantity"],
        taker_side=Side(row["taker_side"]),
        maker_order_id=row["maker_order_id"],
        taker_order_id=row["taker_order_id"],
    )
    return trade_view(trade, instrument, _microseconds(row["executed_at"]))


def _candle(row: Row) -> Candle:
    return Candle(
        _microseconds(row["open_time"]),
        row["open"],
        row["high"],
        row["low"],
        row["close"],
        int(row["volume"]),
        int(row["trades"]),
    )


def _symbol_limits(row: Row) -> SymbolLimitsView:
    limits = SymbolLimits(row["symbol"], row["max_order_quantity"], row["max_order_notional"], row["max_position"])
    return symbol_limits_view(limits, _instrument(row))


def _position(row: Row) -> str:
    return _instrument(row).lot.format(int(row["quantity"]))


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
