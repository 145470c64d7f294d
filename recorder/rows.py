"""Which rows does a run of commits lead to? Pure: commits in, rows of the tables out.

A `Fold` grows commit by commit. An order placed within it is one row, already merged with all that happens to it
later. An order placed before it is only known by id, so what happens to it becomes an `OrderChange`: what to add to or
replace in the row that Postgres has. A Fold that begins with the journal's first commit therefore has every order's
final row, and no changes; `pricetime verify` compares such a one with the tables.

Prices are ticks, quantities lots, times microseconds since 1970; the fields of each row are the columns of its table.
"""

from collections.abc import Iterable
from typing import NamedTuple, assert_never

from msgspec import Struct

from contracts.messages import (
    CancelReason,
    Command,
    Commit,
    DefineInstrument,
    Event,
    InstrumentDefined,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderStatus,
    OrderType,
    PlaceOrder,
    Side,
    TimeInForce,
    TradeExecuted,
)
from contracts.orders import resting_status


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


class InstrumentRow(NamedTuple):
    """`sequence` is the commit that last defined it."""

    symbol: str
    tick_size: str
    lot_size: str
    min_quantity: int
    max_quantity: int
    status: str
    sequence: int


class OrderRow(Struct, gc=False):
    """An order after the last commit folded. `sequence` is that of its last change, a fill as maker included."""

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

    def fill(self, quantity: int, notional: int) -> None:
        self.filled_quantity += quantity
        self.filled_notional += notional
        self.status = OrderStatus.FILLED if self.filled_quantity == self.quantity else OrderStatus.PARTIALLY_FILLED

    def amend(self, price: int | None, quantity: int) -> None:
        self.price = price
        self.quantity = quantity
        self.status = resting_status(quantity, self.filled_quantity)

    def cancel(self, reason: CancelReason) -> None:
        self.status = OrderStatus.CANCELED
        self.reason = reason


class OrderChange(Struct, gc=False):
    """What happened to an order that is in Postgres already. None leaves the column as it is.

    The new status follows: canceled if there is a reason, else by comparing quantity and filled quantity.
    """

    order_id: int
    price: int | None = None
    quantity: int | None = None
    added_quantity: int = 0
    added_notional: int = 0
    reason: CancelReason | None = None
    updated_at: int = 0
    sequence: int = 0

    def fill(self, quantity: int, notional: int) -> None:
        self.added_quantity += quantity
        self.added_notional += notional

    def amend(self, price: int | None, quantity: int) -> None:
        self.price = price
        self.quantity = quantity

    def cancel(self, reason: CancelReason) -> None:
        self.reason = reason


class Fold:
    """The rows that the commits added so far lead to."""

    def __init__(self) -> None:
        self.commits: list[CommitRow] = []
        self.orders: dict[int, OrderRow] = {}
        self.changes: dict[int, OrderChange] = {}
        self.trades: list[TradeRow] = []
        self.instruments: dict[str, InstrumentRow] = {}

    def add(self, commit: Commit, payload: bytes, digest: bytes) -> None:
        """Fold the next commit: `payload` is its journal message, `digest` its hash."""
        self.commits.append(CommitRow(commit.sequence, digest, payload, commit.time))
        for command, outcome in zip(commit.commands, commit.outcomes, strict=True):
            self._apply(command, outcome.events, commit)

    def _apply(self, command: Command, events: Iterable[Event], commit: Commit) -> None:
        for event in events:
            match event:
                case TradeExecuted():
                    self._trade(event, commit)
                case OrderAccepted():
                    assert isinstance(command, PlaceOrder)
                    self.orders[event.order_id] = _placed(command, event.order_id, commit)
                case OrderCanceled():
                    self._touch(event.order.order_id, commit).cancel(event.reason)
                case OrderAmended():
                    self._touch(event.order.order_id, commit).amend(event.order.price, event.order.quantity)
                case InstrumentDefined():
                    assert isinstance(command, DefineInstrument)
                    self.instruments[command.symbol] = _defined(command, commit)
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
        notional = trade.price * trade.quantity
        self._touch(trade.maker_order_id, commit).fill(trade.quantity, notional)
        self._touch(trade.taker_order_id, commit).fill(trade.quantity, notional)

    def _touch(self, order_id: int, commit: Commit) -> OrderRow | OrderChange:
        """The row of an order placed within this fold, or the change to one placed before, marked as changed now."""
        row: OrderRow | OrderChange | None = self.orders.get(order_id) or self.changes.get(order_id)
        if row is None:
            row = self.changes[order_id] = OrderChange(order_id)
        row.updated_at = commit.time
        row.sequence = commit.sequence
        return row


def _placed(command: PlaceOrder, order_id: int, commit: Commit) -> OrderRow:
    return OrderRow(
        order_id,
        command.client_order_id,
        command.account,
        command.symbol,
        command.side,
        command.type,
        command.time_in_force,
        command.post_only,
        command.price,
        command.quantity,
        0,
        0,
        OrderStatus.OPEN,
        None,
        commit.time,
        commit.time,
        commit.sequence,
    )


def _defined(command: DefineInstrument, commit: Commit) -> InstrumentRow:
    return InstrumentRow(
        command.symbol,
        command.tick_size,
        command.lot_size,
        command.min_quantity,
        command.max_quantity,
        "trading",
        commit.sequence,
    )
