"""How do the rows of a fold get into Postgres's tables? By about one statement per table, however many they are."""

import struct
from collections.abc import Sequence

import asyncpg
from msgspec.structs import astuple

from contracts.messages import CancelReason, OrderStatus
from contracts.orders import OPEN_STATUSES
from recorder.rows import (
    PLAIN_COLUMNS,
    AccountLimitsRow,
    CandleRow,
    CommitRow,
    DeadMansSwitchRow,
    Fold,
    InstrumentRow,
    KillSwitchRow,
    OpenOrderRow,
    OrderChange,
    OrderEventRow,
    OrderRow,
    PositionRow,
    SymbolLimitsRow,
    TradeRow,
)
from runtime.service import Refused

COMPARE = ". Somebody else has written to it; `pricetime verify` shows what differs"

_CONNECT_SECONDS = 5
_POSTGRES_EPOCH = 946_684_800_000_000
"""2000-01-01, where Postgres's times begin, in microseconds since 1970."""
_NEGATIVE = 0x4000
_ZERO = struct.pack("!hhhh", 0, -1, 0, 0)

_OPEN = ", ".join(f"'{status.value}'" for status in OPEN_STATUSES)

# One statement, as a run of few commits costs about as much as its statements. What an order was placed with is kept
# when it changes for the first time. Positions move by the fills of changed orders and of those placed in the run.
_CHANGE_ORDERS = f"""
with change as (
    select * from unnest(
        $1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::numeric[], $6::text[], $7::timestamptz[],
        $8::bigint[], $9::bigint[], $10::boolean[]
    ) as change ({", ".join(OrderChange.__struct_fields__)})
), changed as (
    update orders set
        placed_price = case
            when orders.placed_quantity is null and change.quantity is not null then orders.price
            else orders.placed_price
        end,
        placed_stop_price = case
            when orders.placed_quantity is null and change.quantity is not null then orders.stop_price
            else orders.placed_stop_price
        end,
        placed_quantity = case
            when change.quantity is not null then coalesce(orders.placed_quantity, orders.quantity)
            else orders.placed_quantity
        end,
        price = coalesce(change.price, orders.price),
        quantity = coalesce(change.quantity, orders.quantity),
        stop_price = coalesce(change.stop_price, orders.stop_price),
        triggered = orders.triggered or change.triggered,
        filled_quantity = orders.filled_quantity + change.added_quantity,
        filled_notional = orders.filled_notional + change.added_notional,
        status = case
            when change.reason = '{CancelReason.EXPIRED.value}' then '{OrderStatus.EXPIRED.value}'
            when change.reason is not null then '{OrderStatus.CANCELED.value}'
            when orders.filled_quantity + change.added_quantity = coalesce(change.quantity, orders.quantity)
                then '{OrderStatus.FILLED.value}'
            when orders.filled_quantity + change.added_quantity > 0 then '{OrderStatus.PARTIALLY_FILLED.value}'
            else '{OrderStatus.OPEN.value}'
        end,
        reason = change.reason,
        updated_at = change.updated_at,
        sequence = change.sequence
    from change
    where orders.order_id = change.order_id
    returning orders.order_id, orders.account, orders.symbol, orders.side, orders.status, change.added_quantity
), closed as (
    delete from open_orders using changed
    where open_orders.order_id = changed.order_id and changed.status not in ({_OPEN})
), opened as (
    insert into open_orders select * from unnest($11::bigint[])
), moved as (
    insert into positions (account, symbol, quantity)
    select account, symbol, sum(quantity) from (
        select account, symbol, case side when 'buy' then added_quantity else -added_quantity end from changed
        where added_quantity > 0
        union all select * from unnest($12::text[], $13::text[], $14::numeric[])
    ) as fills (account, symbol, quantity)
    group by account, symbol
    on conflict (account, symbol) do update set quantity = positions.quantity + excluded.quantity
)
select count(*) from changed
"""

_ADD_CANDLES = """
insert into candles (symbol, length_seconds, open_time, open, high, low, close, volume, trades)
select * from unnest(
    $1::text[], $2::int[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::numeric[],
    $9::bigint[]
)
on conflict (symbol, length_seconds, open_time) do update set
    high = greatest(candles.high, excluded.high), low = least(candles.low, excluded.low), close = excluded.close,
    volume = candles.volume + excluded.volume, trades = candles.trades + excluded.trades
"""

_DEFINE_INSTRUMENTS = f"""
insert into instruments ({", ".join(InstrumentRow.__struct_fields__)})
values ($1, $2, $3, $4, $5, coalesce($6, 'trading'), $7, $8, $9, $10)
on conflict (symbol) do update set
    tick_size = excluded.tick_size, lot_size = excluded.lot_size, min_quantity = excluded.min_quantity,
    max_quantity = excluded.max_quantity, status = coalesce($6, instruments.status), sequence = excluded.sequence,
    lowest_price = excluded.lowest_price, highest_price = excluded.highest_price,
    band_basis_points = excluded.band_basis_points
"""

_CHANGE_STATUSES = "update instruments set status = $2, sequence = $3 where symbol = $1"


async def connect(url: str, session: dict[str, str] | None = None) -> asyncpg.Connection:
    """A connection on which times are ints (microseconds since 1970) and a numeric without a fraction is an int.

    That is how recorder/rows.py has them, and it halves the time that COPY needs on our side.
    """
    connection = await asyncpg.connect(url, timeout=_CONNECT_SECONDS, server_settings=session)
    await connection.set_type_codec(
        "timestamptz", schema="pg_catalog", encoder=_encode_time, decoder=_decode_time, format="tuple"
    )
    await connection.set_type_codec(
        "numeric", schema="pg_catalog", encoder=encode_numeric, decoder=decode_numeric, format="binary"
    )
    return connection


async def write_commits(connection: asyncpg.Connection, fold: Fold) -> None:
    await _copy(connection, "journal_commits", CommitRow._fields, fold.commits)


async def write_rows(connection: asyncpg.Connection, fold: Fold) -> None:
    """Everything that the commits lead to. Raises Refused when Postgres lacks what they build upon."""
    await _copy(connection, "trades", TradeRow._fields, fold.trades)
    await _copy_orders(connection, fold)
    await _copy(connection, "order_events", OrderEventRow._fields, fold.order_events)
    await _change_orders(connection, fold)
    await _add_candles(connection, list(fold.candles()))
    await _write_instruments(connection, fold)
    await _write_accounts(connection, fold)


async def _copy(
    connection: asyncpg.Connection, table: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]
) -> None:
    if rows:
        await connection.copy_records_to_table(table, columns=columns, records=rows)


async def _copy_orders(connection: asyncpg.Connection, fold: Fold) -> None:
    special, count = fold.special, len(PLAIN_COLUMNS)
    plain = [astuple(row)[:count] for order_id, row in fold.orders.items() if order_id not in special]
    await _copy(connection, "orders", PLAIN_COLUMNS, plain)
    others = [astuple(fold.orders[order_id]) for order_id in special & fold.orders.keys()]
    await _copy(connection, "orders", OrderRow.__struct_fields__, others)


async def _change_orders(connection: asyncpg.Connection, fold: Fold) -> None:
    """And what follows from that, and from the orders placed: which are open, and the positions."""
    changes, opened, positions = list(map(astuple, fold.changes.values())), fold.open_orders(), fold.positions()
    if not (changes or opened or positions):
        return
    columns = [
        *_columns(changes, len(OrderChange.__struct_fields__)),
        *_columns(opened, len(OpenOrderRow._fields)),
        *_columns(positions, len(PositionRow._fields)),
    ]
    done = await connection.fetchval(_CHANGE_ORDERS, *columns)
    if done != len(changes):
        raise Refused(f"the journal changes {len(changes)} orders, but Postgres has only {done}{COMPARE}")


async def _add_candles(connection: asyncpg.Connection, candles: Sequence[CandleRow]) -> None:
    if candles:
        await connection.execute(_ADD_CANDLES, *_columns(candles, len(CandleRow._fields)))


def _columns(rows: Sequence[tuple[object, ...]], count: int) -> list[tuple[object, ...]]:
    """The same values column by column, for unnest."""
    return list(zip(*rows, strict=True)) if rows else [()] * count


async def _write_instruments(connection: asyncpg.Connection, fold: Fold) -> None:
    if fold.instruments:
        await connection.executemany(_DEFINE_INSTRUMENTS, [astuple(row) for row in fold.instruments.values()])
    for status in fold.statuses.values():
        if await connection.execute(_CHANGE_STATUSES, *status) != "UPDATE 1":
            raise Refused(f"the journal changes the status of {status.symbol}, but Postgres has no such row{COMPARE}")


async def _write_accounts(connection: asyncpg.Connection, fold: Fold) -> None:
    await _replace(connection, "account_limits", AccountLimitsRow._fields, list(fold.account_limits.values()))
    await _replace(connection, "kill_switches", KillSwitchRow._fields, list(fold.kill_switches.values()))
    await _replace(connection, "dead_mans_switches", DeadMansSwitchRow._fields, list(fold.dead_mans_switches.values()))
    if fold.symbol_limits:
        await connection.execute("delete from symbol_limits where account = any($1)", list(fold.symbol_limits))
        limits = [row for rows in fold.symbol_limits.values() for row in rows]
        await _copy(connection, "symbol_limits", SymbolLimitsRow._fields, limits)


async def _replace(
    connection: asyncpg.Connection, table: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]
) -> None:
    """Each row in the place of the one with the same first column."""
    if not rows:
        return
    values = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    changes = ", ".join(f"{column} = excluded.{column}" for column in columns[1:])
    insert = f"insert into {table} ({', '.join(columns)}) values ({values})"
    await connection.executemany(f"{insert} on conflict ({columns[0]}) do update set {changes}", rows)


# How ints travel


def _encode_time(microseconds: int) -> tuple[int]:
    return (microseconds - _POSTGRES_EPOCH,)


def _decode_time(wire: tuple[int]) -> int:
    return wire[0] + _POSTGRES_EPOCH


def encode_numeric(value: int) -> bytes:
    """Postgres's binary numeric: number of digits, weight of the first, sign, scale; then digits to the base 10000."""
    if not value:  # most orders have not been filled
        return _ZERO
    sign, value = (0, value) if value > 0 else (_NEGATIVE, -value)
    digits = []
    while value:
        digits.append(value % 10_000)
        value //= 10_000
    digits.reverse()
    count = len(digits)
    return struct.pack(f"!hhhh{count}h", count, count - 1, sign, 0, *digits)


def decode_numeric(wire: bytes) -> int:
    count, weight, sign, scale = struct.unpack_from("!hhHh", wire)
    assert sign in (0, _NEGATIVE), "only numbers are read here"
    assert scale == 0, "only whole numbers are read here"
    value = 0
    for digit in struct.unpack_from(f"!{count}h", wire, 8):
        value = value * 10_000 + digit
    value = int(value * 10_000 ** (weight + 1 - count))
    return -value if sign else value
