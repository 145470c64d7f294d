"""Which rows does a run of commits lead to? Pure: commits in, rows of the tables out.

A `Fold` grows commit by commit. An order placed within it is one row, already merged with all that happens to it
later. An order placed before it is only known by id, so what happens to it becomes an `OrderChange`: what to add to or
replace in the row that Postgres has. A Fold that begins with the journal's first commit therefore has every order's
final row, and no changes; `pricetime verify` compares such a one with the tables.

A plain order costs one row, whatever fills it: that it was placed, and how it ended, is in that row, and its fills are
the trades. Only what these cannot tell (amendments, triggers, reductions) is an `OrderEventRow` of its own.

Prices are ticks, quantities lots, times microseconds since 1970; the fields of each row are the columns of its table.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple, assert_never

from msgspec import Struct
from msgspec.structs import astuple, replace

from contracts.candles import INTERVALS, Candle, interval_start
from contracts.messages import (
    AccountLimitsSet,
    AllOrNothing,
    CancelAllElapsed,
    CancelAllScheduled,
    CancelReason,
    Command,
    Commit,
    DefineInstrument,
    Event,
    InstrumentDefined,
    InstrumentStatus,
    InstrumentStatusChanged,
    ItemStarted,
    KillSwitchSet,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderReduced,
    OrdersCanceled,
    OrderState,
    OrderStatus,
    OrderTriggered,
    OrderType,
    PlaceOrder,
    SelfTradePrevention,
    SetAccountLimits,
    Side,
    SymbolLimits,
    TimeInForce,
    TradeExecuted,
)
from contracts.orders import OPEN_STATUSES, attributed, closed_status, placed_order, resting_status

CANDLE_LENGTHS = tuple(INTERVALS[name] // 1_000_000 for name in ("1s", "1m", "1h"))
"""In seconds: the candles that are stored, of which all others are made."""


class CommitRow(NamedTuple):
    """`payload` is the journal message as it is, its hash in front."""

    sequence: int
    hash: bytes
    payload: bytes
    time: int


class TradeRow(NamedTuple):
    trade_id: int
    symbol: str
    price: int
    quantity: int
    taker_side: Side
    maker_order_id: int
    taker_order_id: int
    executed_at: int
    journal_sequence: int


class OrderEventRow(NamedTuple):
    """What neither an order's own row nor its trades tell. `number` counts such rows within their commit.

    Together with `after_trade_id`, the last trade of the exchange before it, it stands at its place among the fills.
    """

    order_id: int
    sequence: int
    number: int
    event: str
    price: int | None
    quantity: int | None
    stop_price: int | None
    priority_kept: bool | None
    trade_id: int | None
    after_trade_id: int
    time: int


class CandleRow(NamedTuple):
    symbol: str
    length_seconds: int
    open_time: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    trades: int


class PositionRow(NamedTuple):
    """`quantity`: bought less sold. In a Fold that does not begin at the beginning, what to add."""

    account: str
    symbol: str
    quantity: int


class AccountLimitsRow(NamedTuple):
    account: str
    max_open_orders: int | None
    updated_at: int
    sequence: int


class SymbolLimitsRow(NamedTuple):
    account: str
    symbol: str
    max_order_quantity: int | None
    max_order_notional: int | None
    max_position: int | None


class KillSwitchRow(NamedTuple):
    account: str
    engaged: bool
    updated_at: int
    sequence: int


class DeadMansSwitchRow(NamedTuple):
    """`deadline`: when all orders are canceled, None while it is not armed."""

    account: str
    deadline: int | None
    updated_at: int
    sequence: int


class OpenOrderRow(NamedTuple):
    """An order that is open or partially filled."""

    order_id: int


class InstrumentRow(Struct, gc=False):
    """`sequence` is the commit that last changed it. A `status` of None leaves the one it has."""

    symbol: str
    tick_size: str
    lot_size: str
    min_quantity: int
    max_quantity: int
    status: InstrumentStatus | None
    sequence: int
    lowest_price: int | None
    highest_price: int | None
    band_basis_points: int | None


class StatusRow(NamedTuple):
    """The new status of an instrument that is in Postgres already."""

    symbol: str
    status: InstrumentStatus
    sequence: int


class OrderRow(Struct, gc=False):
    """An order after the last commit folded. `sequence` is that of its last change, a fill as maker included.

    Its terms when it was placed: as they are, unless there is a `placed_quantity`; then all three are in `placed_...`.
    """

    order_id: int
    client_order_id: str | None
    account: str
    symbol: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    post_only: bool
    price: int | None
    quantity: int
    filled_quantity: int
    filled_notional: int
    status: OrderStatus
    reason: CancelReason | None
    created_at: int
    updated_at: int
    sequence: int
    placed_sequence: int
    triggered: bool = False
    stop_price: int | None = None
    display_quantity: int | None = None
    protection_price: int | None = None
    notional: int | None = None
    expires_at: int | None = None
    self_trade_prevention: SelfTradePrevention | None = None
    placed_price: int | None = None
    placed_quantity: int | None = None
    placed_stop_price: int | None = None

    def fill(self, quantity: int, notional: int) -> None:
        self.filled_quantity += quantity
        self.filled_notional += notional
        self.status = OrderStatus.FILLED if self.filled_quantity == self.quantity else OrderStatus.PARTIALLY_FILLED

    def amend(self, price: int | None, quantity: int, stop_price: int | None) -> None:
        if self.placed_quantity is None:
            self.placed_price = self.price
            self.placed_quantity = self.quantity
            self.placed_stop_price = self.stop_price
        self.price = price
        self.quantity = quantity
        self.stop_price = stop_price
        self.status = resting_status(quantity, self.filled_quantity)

    def trigger(self) -> None:
        self.triggered = True

    def cancel(self, reason: CancelReason) -> None:
        self.status = closed_status(reason)
        self.reason = reason


PLAIN_COLUMNS = OrderRow.__struct_fields__[: OrderRow.__struct_fields__.index("triggered")]
"""The columns of most orders; all others of theirs are as the table fills them in by itself."""


class OrderChange(Struct, gc=False):
    """What happened to an order that is in Postgres already. None leaves the column as it is.

    The new status follows: canceled or expired if there is a reason, else by comparing quantity and filled quantity.
    With a quantity, what the order was placed with is kept in the columns placed_..., unless it is there already.
    """

    order_id: int
    price: int | None = None
    quantity: int | None = None
    added_quantity: int = 0
    added_notional: int = 0
    reason: CancelReason | None = None
    updated_at: int = 0
    sequence: int = 0
    stop_price: int | None = None
    triggered: bool = False

    def fill(self, quantity: int, notional: int) -> None:
        self.added_quantity += quantity
        self.added_notional += notional

    def amend(self, price: int | None, quantity: int, stop_price: int | None) -> None:
        self.price = price
        self.quantity = quantity
        self.stop_price = stop_price

    def trigger(self) -> None:
        self.triggered = True

    def cancel(self, reason: CancelReason) -> None:
        self.reason = reason


class Fold:
    """The rows that the commits added so far lead to. `last_trade_id`: of the trades before the first of them."""

    def __init__(self, last_trade_id: int = 0) -> None:
        self.commits: list[CommitRow] = []
        self.orders: dict[int, OrderRow] = {}
        self.changes: dict[int, OrderChange] = {}
        self.order_events: list[OrderEventRow] = []
        self.trades: list[TradeRow] = []
        self.last_trade_id = last_trade_id
        self.instruments: dict[str, InstrumentRow] = {}
        self.statuses: dict[str, StatusRow] = {}
        self.account_limits: dict[str, AccountLimitsRow] = {}
        self.symbol_limits: dict[str, tuple[SymbolLimitsRow, ...]] = {}
        self.kill_switches: dict[str, KillSwitchRow] = {}
        self.dead_mans_switches: dict[str, DeadMansSwitchRow] = {}
        self.special: set[int] = set()
        """Which of `orders` have more than the columns of PLAIN_COLUMNS."""
        self._candles: dict[tuple[str, int], Candle] = {}
        self._second = -1
        self._candles_of_second: dict[str, Candle] = {}
        self._event_number = 0

    def add(self, commit: Commit, payload: bytes, digest: bytes) -> None:
        """Fold the next commit: `payload` is its journal message, `digest` its hash."""
        self.commits.append(CommitRow(commit.sequence, digest, payload, commit.time))
        self._event_number = 0
        second = interval_start(commit.time, 1_000_000)
        if second != self._second:
            self._second = second
            self._candles_of_second = {}
        for command, outcome in zip(commit.commands, commit.outcomes, strict=True):
            if type(command) is AllOrNothing:
                for item, event in attributed(command, outcome.events):
                    self._apply(item, event, commit)
            else:
                for event in outcome.events:
                    self._apply(command, event, commit)

    def candles(self) -> Iterator[CandleRow]:
        """Of every stored length; what these commits' trades make of them alone."""
        for length in CANDLE_LENGTHS:
            longer: dict[tuple[str, int], Candle] = {}
            for (symbol, second), candle in self._candles.items():
                key = (symbol, interval_start(second, length * 1_000_000))
                if key in longer:
                    longer[key].extend(candle)
                else:
                    longer[key] = candle.starting(key[1])
            for (symbol, _), candle in longer.items():
                yield CandleRow(symbol, length, *astuple(candle))

    def positions(self) -> list[PositionRow]:
        """What the fills of the orders placed within the fold amount to; those of the changes come on top."""
        totals: dict[tuple[str, str], int] = defaultdict(int)
        for order in self.orders.values():
            if filled := order.filled_quantity:
                totals[order.account, order.symbol] += filled if order.side is Side.BUY else -filled
        return [PositionRow(account, symbol, quantity) for (account, symbol), quantity in totals.items()]

    def open_orders(self) -> list[OpenOrderRow]:
        """Those of the orders placed within the fold that are still open at its end."""
        return [OpenOrderRow(order_id) for order_id, order in self.orders.items() if order.status in OPEN_STATUSES]

    def listed(self) -> list[InstrumentRow]:
        """Of a fold that begins with the first commit: every instrument as it is."""
        return [
            replace(row, status=row.status or InstrumentStatus.TRADING) for _, row in sorted(self.instruments.items())
        ]

    def _apply(self, command: Command, event: Event, commit: Commit) -> None:
        match event:
            case TradeExecuted():
                self._trade(event, commit)
            case OrderAccepted():
                assert isinstance(command, PlaceOrder)
                row = self.orders[event.order_id] = _placed(command, event, commit)
                if command.terms is not None or command.time_in_force is TimeInForce.DAY:
                    _add_terms(row, placed_order(command, event.order_id, commit.time, event.quantity))
                    self.special.add(event.order_id)
            case OrderCanceled():
                self._touch(event.order.order_id, commit).cancel(event.reason)
            case OrderAmended():
                self._amend("amended", event.order, event.priority_kept, commit)
            case OrderReduced():
                self._amend("reduced", event.order, True, commit)
            case OrderTriggered():
                self._touch(event.order_id, commit).trigger()
                self._order_event(event.order_id, "triggered", commit, trade_id=event.trade_id)
            case InstrumentDefined():
                assert isinstance(command, DefineInstrument)
                self._define(command, commit)
            case InstrumentStatusChanged():
                self._change_status(event, commit)
            case AccountLimitsSet():
                assert isinstance(command, SetAccountLimits)
                self._limit(command, commit)
            case KillSwitchSet(account=account, engaged=engaged):
                self.kill_switches[account] = KillSwitchRow(account, engaged, commit.time, commit.sequence)
            case CancelAllScheduled(account=account, deadline=deadline):
                self.dead_mans_switches[account] = DeadMansSwitchRow(account, deadline, commit.time, commit.sequence)
            case CancelAllElapsed(account=account):
                self.dead_mans_switches[account] = DeadMansSwitchRow(account, None, commit.time, commit.sequence)
            case OrdersCanceled() | ItemStarted():
                pass  # the cancelations follow one by one; items are attributed before they come here
            case _:
                assert_never(event)

    def _trade(self, trade: TradeExecuted, commit: Commit) -> None:
        self.trades.append(
            TradeRow(
                trade.trade_id,
                trade.symbol,
                trade.price,
                trade.quantity,
                trade.taker_side,
                trade.maker_order_id,
                trade.taker_order_id,
                commit.time,
                commit.sequence,
            )
        )
        self.last_trade_id = trade.trade_id
        notional = trade.price * trade.quantity
        self._touch(trade.maker_order_id, commit).fill(trade.quantity, notional)
        self._touch(trade.taker_order_id, commit).fill(trade.quantity, notional)
        if candle := self._candles_of_second.get(trade.symbol):
            candle.add(trade.price, trade.quantity)
        else:
            self._begin_candle(trade)

    def _begin_candle(self, trade: TradeExecuted) -> None:
        candle = Candle.of(self._second, trade.price, trade.quantity)
        self._candles_of_second[trade.symbol] = candle
        self._candles[trade.symbol, self._second] = candle

    def _amend(self, event: str, order: OrderState, priority_kept: bool, commit: Commit) -> None:
        stop_price = order.terms.stop_price if order.terms else None
        self._touch(order.order_id, commit).amend(order.price, order.quantity, stop_price)
        self._order_event(order.order_id, event, commit, order.price, order.quantity, stop_price, priority_kept)

    def _order_event(
        self,
        order_id: int,
        event: str,
        commit: Commit,
        price: int | None = None,
        quantity: int | None = None,
        stop_price: int | None = None,
        priority_kept: bool | None = None,
        trade_id: int | None = None,
    ) -> None:
        number, after = self._event_number, self.last_trade_id
        row = OrderEventRow(
            order_id,
            commit.sequence,
            number,
            event,
            price,
            quantity,
            stop_price,
            priority_kept,
            trade_id,
            after,
            commit.time,
        )
        self._event_number += 1
        self.special.add(order_id)
        self.order_events.append(row)

    def _touch(self, order_id: int, commit: Commit) -> OrderRow | OrderChange:
        """The row of an order placed within this fold, or the change to one placed before, marked as changed now."""
        row: OrderRow | OrderChange | None = self.orders.get(order_id) or self.changes.get(order_id)
        if row is None:
            row = self.changes[order_id] = OrderChange(order_id)
        row.updated_at = commit.time
        row.sequence = commit.sequence
        return row

    def _define(self, command: DefineInstrument, commit: Commit) -> None:
        known = self.instruments.get(command.symbol) or self.statuses.pop(command.symbol, None)
        self.instruments[command.symbol] = InstrumentRow(
            command.symbol,
            command.tick_size,
            command.lot_size,
            command.min_quantity,
            command.max_quantity,
            known.status if known else None,
            commit.sequence,
            command.lowest_price,
            command.highest_price,
            command.band_basis_points,
        )

    def _change_status(self, event: InstrumentStatusChanged, commit: Commit) -> None:
        if row := self.instruments.get(event.symbol):
            row.status = event.status
            row.sequence = commit.sequence
        else:
            self.statuses[event.symbol] = StatusRow(event.symbol, event.status, commit.sequence)

    def _limit(self, command: SetAccountLimits, commit: Commit) -> None:
        account = command.account
        row = AccountLimitsRow(account, command.max_open_orders, commit.time, commit.sequence)
        self.account_limits[account] = row
        self.symbol_limits[account] = tuple(_symbol_limits(account, each) for each in command.symbols)


def _placed(command: PlaceOrder, event: OrderAccepted, commit: Commit) -> OrderRow:
    return OrderRow(
        event.order_id,
        command.client_order_id,
        command.account,
        command.symbol,
        command.side,
        command.type,
        command.time_in_force,
        command.post_only,
        command.price,
        command.quantity if event.quantity is None else event.quantity,
        0,
        0,
        OrderStatus.OPEN,
        None,
        commit.time,
        commit.time,
        commit.sequence,
        commit.sequence,
    )


def _add_terms(row: OrderRow, order: OrderState) -> None:
    terms = order.terms
    assert terms is not None
    row.stop_price = terms.stop_price
    row.display_quantity = terms.display_quantity
    row.protection_price = terms.protection_price
    row.notional = terms.notional
    row.expires_at = terms.expires_at
    if terms.self_trade_prevention is not SelfTradePrevention.NONE:
        row.self_trade_prevention = terms.self_trade_prevention


def _symbol_limits(account: str, limits: SymbolLimits) -> SymbolLimitsRow:
    return SymbolLimitsRow(
        account, limits.symbol, limits.max_order_quantity, limits.max_order_notional, limits.max_position
    )
