"""What people and their programs see: the JSON shapes, the same over REST, WebSocket and NATS.

Prices and quantities are plain decimal strings, times ISO 8601 UTC with microseconds, ids whole numbers.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from msgspec import UNSET, Struct, UnsetType

from contracts.candles import INTERVALS, Candle
from contracts.decimals import Step
from contracts.messages import (
    AnswerPart,
    CancelReason,
    Command,
    DefineInstrument,
    Event,
    InstrumentStatus,
    OrderAmended,
    OrderState,
    OrderStatus,
    OrderType,
    SelfTradePrevention,
    Side,
    Terms,
    TimeInForce,
    TradeExecuted,
)
from contracts.orders import order_after

_NO_TERMS = Terms()
_TermsShown = tuple[str | None, bool, str | None, str | None, str | None, str | None, SelfTradePrevention]
"""What an OrderView says from `stop_price` to `self_trade_prevention`."""
_NO_TERMS_SHOWN: _TermsShown = (None, False, None, None, None, None, SelfTradePrevention.NONE)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Instrument(Struct, frozen=True):
    """A symbol and its rules, quantities in lots, prices in ticks."""

    symbol: str
    tick_size: str
    lot_size: str
    min_quantity: int
    max_quantity: int
    status: InstrumentStatus = InstrumentStatus.TRADING
    lowest_price: int | None = None
    highest_price: int | None = None
    band_basis_points: int | None = None

    @property
    def tick(self) -> Step:
        return step_of(self.tick_size)

    @property
    def lot(self) -> Step:
        return step_of(self.lot_size)

    @property
    def notional(self) -> Step:
        """The step of price x quantity."""
        return _product(self.tick, self.lot)


@lru_cache(maxsize=4096)
def step_of(size: str) -> Step:
    return Step.of(size)


@lru_cache(maxsize=4096)
def _product(tick: Step, lot: Step) -> Step:
    return Step(tick.unit * lot.unit, tick.decimals + lot.decimals)


class InstrumentView(Struct, frozen=True):
    symbol: str
    tick_size: str
    lot_size: str
    min_quantity: str
    max_quantity: str
    status: InstrumentStatus
    lowest_price: str | None
    highest_price: str | None
    band_basis_points: int | None


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


class OrderView(Struct, frozen=True):
    """An order. `sequence` is the journal sequence of its last change; `reason` says why it was canceled.

    In the answer to a command only: `trades`, which it led to, and of an amendment whether the order kept its place.
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
    stop_price: str | None
    triggered: bool
    display_quantity: str | None
    protection_price: str | None
    notional: str | None
    expires_at: str | None
    self_trade_prevention: SelfTradePrevention
    trades: list[TradeView] | UnsetType = UNSET
    priority_kept: bool | UnsetType = UNSET


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


class CandleView(Struct, frozen=True):
    """The trades from `open_time` until just before `close_time`; an interval without trades has no candle.

    `is_complete`: no further trade can fall into it.
    """

    symbol: str
    interval: str
    open_time: str
    close_time: str
    open: str
    high: str
    low: str
    close: str
    volume: str
    trades: int
    is_complete: bool


@lru_cache(maxsize=1024)  # all that a commit says has its one time
def format_time(microseconds: int) -> str:
    """
    >>> format_time(1_430_438_404_518_000)
    '2015-05-01T00:00:04.518000Z'
    """
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def defined_instrument(command: DefineInstrument, before: Instrument | None = None) -> Instrument:
    """What a definition makes of an instrument: everything is as the command says, but the status stays."""
    return Instrument(
        symbol=command.symbol,
        tick_size=command.tick_size,
        lot_size=command.lot_size,
        min_quantity=command.min_quantity,
        max_quantity=command.max_quantity,
        status=InstrumentStatus.TRADING if before is None else before.status,
        lowest_price=command.lowest_price,
        highest_price=command.highest_price,
        band_basis_points=command.band_basis_points,
    )


def instrument_view(instrument: Instrument) -> InstrumentView:
    lot = instrument.lot
    return InstrumentView(
        symbol=instrument.symbol,
        tick_size=instrument.tick_size,
        lot_size=instrument.lot_size,
        min_quantity=lot.format(instrument.min_quantity),
        max_quantity=lot.format(instrument.max_quantity),
        status=instrument.status,
        lowest_price=_format(instrument.lowest_price, instrument.tick),
        highest_price=_format(instrument.highest_price, instrument.tick),
        band_basis_points=instrument.band_basis_points,
    )


def _format(steps: int | None, step: Step) -> str | None:
    return None if steps is None else step.format(steps)


def trade_view(trade: TradeExecuted, instrument: Instrument, time: int) -> TradeView:
    return TradeView(  # in their order, as in order_view
        trade.trade_id,
        trade.symbol,
        instrument.tick.format(trade.price),
        instrument.lot.format(trade.quantity),
        trade.taker_side,
        trade.maker_order_id,
        trade.taker_order_id,
        format_time(time),
        trade.trade_id,
    )


def candle_view(candle: Candle, interval: str, instrument: Instrument, *, is_complete: bool) -> CandleView:
    """`interval` is the name of the candle's interval."""
    tick = instrument.tick
    return CandleView(
        symbol=instrument.symbol,
        interval=interval,
        open_time=format_time(candle.open_time),
        close_time=format_time(candle.open_time + INTERVALS[interval]),
        open=tick.format(candle.open),
        high=tick.format(candle.high),
        low=tick.format(candle.low),
        close=tick.format(candle.close),
        volume=instrument.lot.format(candle.volume),
        trades=candle.trades,
        is_complete=is_complete,
    )


def answer_view(part: AnswerPart, command: Command, events: Sequence[Event], instrument: Instrument) -> OrderView:
    """What a client is told of its place, cancel or amend command."""
    order, status, reason = order_after(command, events, part.time)
    order_id = order.order_id
    return order_view(
        order,
        instrument,
        status=status,
        reason=reason,
        updated_at=part.time,
        sequence=part.sequence,
        trades=[
            trade_view(event, instrument, part.time)
            for event in events
            if type(event) is TradeExecuted and order_id in (event.taker_order_id, event.maker_order_id)
        ],
        priority_kept=events[0].priority_kept if type(events[0]) is OrderAmended else UNSET,
    )


def order_view(
    order: OrderState,
    instrument: Instrument,
    *,
    status: OrderStatus,
    reason: CancelReason | None,
    updated_at: int,
    sequence: int,
    trades: list[TradeView] | UnsetType = UNSET,
    priority_kept: bool | UnsetType = UNSET,
) -> OrderView:
    tick, lot = instrument.tick, instrument.lot
    filled, quantity = order.filled_quantity, lot.format(order.quantity)
    is_over = status is OrderStatus.CANCELED or status is OrderStatus.EXPIRED
    return OrderView(  # in their order: so many arguments by name take ten times as long
        order.order_id,
        order.client_order_id,
        order.account,
        order.symbol,
        order.side,
        order.type,
        order.time_in_force,
        order.post_only,
        None if order.price is None else tick.format(order.price),
        quantity,
        lot.format(filled),
        lot.format(0 if is_over else order.quantity - filled) if filled or is_over else quantity,
        tick.format_ratio(int(order.filled_notional), filled) if filled else None,
        status,
        reason,
        format_time(order.created_at),
        format_time(updated_at),
        sequence,
        *(_NO_TERMS_SHOWN if order.terms is None and not order.triggered else _terms_shown(order, instrument)),
        trades,
        priority_kept,
    )


def _terms_shown(order: OrderState, instrument: Instrument) -> _TermsShown:
    terms, tick, lot = order.terms or _NO_TERMS, instrument.tick, instrument.lot
    return (
        None if terms.stop_price is None else tick.format(terms.stop_price),
        order.triggered,
        None if terms.display_quantity is None else lot.format(terms.display_quantity),
        None if terms.protection_price is None else tick.format(terms.protection_price),
        None if terms.notional is None else instrument.notional.format(terms.notional),
        None if terms.expires_at is None else format_time(terms.expires_at),
        terms.self_trade_prevention,
    )
