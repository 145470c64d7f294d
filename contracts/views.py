"""What people and their programs see: the JSON shapes, the same over REST, WebSocket and NATS.

Prices and quantities are plain decimal strings, times ISO 8601 UTC with microseconds, ids whole numbers.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from contracts.decimals import Step
from contracts.messages import (
    AnswerPart,
    CancelReason,
    Command,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderState,
    OrderStatus,
    OrderType,
    Outcome,
    PlaceOrder,
    Side,
    TimeInForce,
    TradeExecuted,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Instrument(Struct, frozen=True):
    """A symbol and its rules, limits in lots."""

    symbol: str
    tick_size: str
    lot_size: str
    min_quantity: int
    max_quantity: int
    status: str = "trading"

    @property
    def tick(self) -> Step:
        return _step(self.tick_size)

    @property
    def lot(self) -> Step:
        return _step(self.lot_size)


@lru_cache(maxsize=4096)
def _step(size: str) -> Step:
    return Step.of(size)


class InstrumentView(Struct, frozen=True):
    symbol: str
    tick_size: str
    lot_size: str
    min_quantity: str
    max_quantity: str
    status: str


class TradeView(Struct, frozen=True):
    """A trade. `sequence` counts all trades from 1 without gaps, so a reader sees at once when one is missing."""

    trade_id: int
    symbol: str
    price: str
    quantity: str
    taker_side: Side
    maker_order_id: int
    taker_order_id: int
    executed_at: str
    sequence: int


class OrderView(Struct, frozen=True, kw_only=True):
    """An order. `sequence` is the journal sequence of its last change; `reason` says why it was canceled.

    `trades` is there in the answer to a command only: the trades that the command led to.
    """

    order_id: int
    client_order_id: str | None
    account: str
    symbol: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    post_only: bool
    price: str | None
    quantity: str
    filled_quantity: str
    remaining_quantity: str
    average_price: str | None
    status: OrderStatus
    reason: CancelReason | None
    created_at: str
    updated_at: str
    sequence: int
    trades: list[TradeView] | UnsetType = UNSET


class DepthView(Struct, frozen=True):
    """Price levels, best first, as [price, quantity], after the commit `sequence`."""

    symbol: str
    sequence: int
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]


class MarketView(Struct, frozen=True):
    """`sequence`: the commit it was taken after. Volume and trade count cover the last 24 hours, to the minute."""

    symbol: str
    sequence: int
    best_bid: str | None
    best_ask: str | None
    last_price: str | None
    last_quantity: str | None
    last_trade_at: str | None
    volume_24h: str
    trades_24h: int


@lru_cache(maxsize=1024)  # all that a commit says has its one time
def format_time(microseconds: int) -> str:
    """
    >>> format_time(1_430_438_404_518_000)
    '2015-05-01T00:00:04.518000Z'
    """
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def instrument_view(instrument: Instrument) -> InstrumentView:
    lot = instrument.lot
    return InstrumentView(
        symbol=instrument.symbol,
        tick_size=instrument.tick_size,
        lot_size=instrument.lot_size,
        min_quantity=lot.format(instrument.min_quantity),
        max_quantity=lot.format(instrument.max_quantity),
        status=instrument.status,
    )


def trade_view(trade: TradeExecuted, instrument: Instrument, time: int) -> TradeView:
    return TradeView(
        trade_id=trade.trade_id,
        symbol=trade.symbol,
        price=instrument.tick.format(trade.price),
        quantity=instrument.lot.format(trade.quantity),
        taker_side=trade.taker_side,
        maker_order_id=trade.maker_order_id,
        taker_order_id=trade.taker_order_id,
        executed_at=format_time(time),
        sequence=trade.trade_id,
    )


def answer_view(part: AnswerPart, command: Command, outcome: Outcome, instrument: Instrument) -> OrderView:
    """What a client is told of its place, cancel or amend command."""
    order, status, reason = order_after(command, outcome, part.time)
    return order_view(
        order,
        instrument,
        status=status,
        reason=reason,
        updated_at=part.time,
        sequence=part.sequence,
        trades=[trade_view(event, instrument, part.time) for event in outcome.events if type(event) is TradeExecuted],
    )


def order_after(command: object, outcome: Outcome, time: int) -> tuple[OrderState, OrderStatus, CancelReason | None]:
    """The commanded order after its outcome. `time` is the commit's.

    Trades in the outcome of a command are the commanded order's own fills, as taker.
    """
    first = outcome.events[0]
    if isinstance(command, PlaceOrder):
        assert isinstance(first, OrderAccepted)
        order = placed_order(command, first.order_id, time)
    else:
        assert isinstance(first, OrderAmended | OrderCanceled)
        order = first.order
    last = outcome.events[-1]
    if isinstance(last, OrderCanceled):
        return last.order, OrderStatus.CANCELED, last.reason
    order = _with_fills(order, outcome)
    return order, resting_status(order.quantity, order.filled_quantity), None


def placed_order(command: PlaceOrder, order_id: int, time: int) -> OrderState:
    """The order as accepted, before any fill."""
    return OrderState(
        order_id=order_id,
        client_order_id=command.client_order_id,
        account=command.account,
        symbol=command.symbol,
        side=command.side,
        type=command.type,
        time_in_force=command.time_in_force,
        post_only=command.post_only,
        price=command.price,
        quantity=command.quantity,
        filled_quantity=0,
        filled_notional="0",
        created_at=time,
    )


def resting_status(quantity: int, filled_quantity: int) -> OrderStatus:
    """The status of an order that nobody canceled."""
    if filled_quantity == quantity:
        return OrderStatus.FILLED
    return OrderStatus.PARTIALLY_FILLED if filled_quantity else OrderStatus.OPEN


def _with_fills(order: OrderState, outcome: Outcome) -> OrderState:
    filled, notional = order.filled_quantity, int(order.filled_notional)
    for event in outcome.events:
        if type(event) is TradeExecuted:
            filled += event.quantity
            notional += event.quantity * event.price
    return replace(order, filled_quantity=filled, filled_notional=str(notional))


def order_view(
    order: OrderState,
    instrument: Instrument,
    *,
    status: OrderStatus,
    reason: CancelReason | None,
    updated_at: int,
    sequence: int,
    trades: list[TradeView] | UnsetType = UNSET,
) -> OrderView:
    tick, lot = instrument.tick, instrument.lot
    filled = order.filled_quantity
    remaining = 0 if status is OrderStatus.CANCELED else order.quantity - filled
    return OrderView(
        order_id=order.order_id,
        client_order_id=order.client_order_id,
        account=order.account,
        symbol=order.symbol,
        side=order.side,
        type=order.type,
        time_in_force=order.time_in_force,
        post_only=order.post_only,
        price=None if order.price is None else tick.format(order.price),
        quantity=lot.format(order.quantity),
        filled_quantity=lot.format(filled),
        remaining_quantity=lot.format(remaining),
        average_price=tick.format_ratio(int(order.filled_notional), filled) if filled else None,
        status=status,
        reason=reason,
        created_at=format_time(order.created_at),
        updated_at=format_time(updated_at),
        sequence=sequence,
        trades=trades,
    )
