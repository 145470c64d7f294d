"""Orders, trades and positions added up from the journal's events, by rules of its own: no engine, no book. Pure.

What the engine decides is taken as it is; what must hold whatever it decides is checked: no trade twice, nobody gets
more than was ordered, nobody trades at a worse price than the limit or after the end, every fill has two sides.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from chaos.records import Violation
from contracts.messages import (
    Command,
    Commit,
    Event,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderReduced,
    OrderState,
    OrderStatus,
    PlaceOrder,
    Side,
    TradeExecuted,
)
from contracts.orders import Standing, accepted, attributed, closed_status, concerned, follow

_EVENTS = {
    "OrderAccepted": "accepted",
    "TradeExecuted": "trade",
    "OrderAmended": "amended",
    "OrderReduced": "reduced",
    "OrderTriggered": "triggered",
}


@dataclass(slots=True)
class Entry:
    """One order; `history`: what it was after each commit that changed it, as (sequence, time, standing)."""

    account: str
    symbol: str
    side: Side
    limit: int | None
    quantity: int
    filled: int = 0
    status: OrderStatus = OrderStatus.OPEN
    closed_at: int | None = None
    history: list[tuple[int, int, Standing]] = field(default_factory=list)

    @property
    def remaining(self) -> int:
        return self.quantity - self.filled

    @property
    def is_open(self) -> bool:
        return self.closed_at is None


@dataclass
class Ledger:
    orders: dict[int, Entry] = field(default_factory=dict)
    trades: list[tuple[TradeExecuted, int, int]] = field(default_factory=list)
    """Each trade, the journal sequence of its commit and the commit's time."""
    updates: dict[str, list[tuple[int, int, int, str]]] = field(default_factory=lambda: defaultdict(list))
    """Per account each change of an order: sequence, index within the commit, order id, what happened."""
    positions: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    named: dict[tuple[str, str], int] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)
    _sequence: int = 0
    _time: int = 0
    _index: int = 0

    def add(self, commit: Commit) -> None:
        self._sequence, self._time, self._index = commit.sequence, commit.time, 0
        for command, outcome in zip(commit.commands, commit.outcomes, strict=True):
            for origin, event in attributed(command, outcome.events):
                self._follow(origin, event)

    def _wrong(self, detail: str) -> None:
        self.violations.append(
            Violation("conservation", f"journal sequence {self._sequence}: {detail}", self._sequence)
        )

    def _follow(self, command: Command, event: Event) -> None:
        match event:
            case OrderAccepted():
                assert isinstance(command, PlaceOrder)
                self._accept(command, event)
            case TradeExecuted():
                self._trade(event)
            case OrderAmended(order=order) | OrderReduced(order=order):
                self._change(order)
            case OrderCanceled(order=order):
                self._change(order)
        for order_id in concerned(event):
            self._note(order_id, event, command)

    def _accept(self, command: PlaceOrder, event: OrderAccepted) -> None:
        order_id = event.order_id
        if order_id != len(self.orders) + 1:
            self._wrong(f"order {order_id} is accepted as number {len(self.orders) + 1}")
        if command.client_order_id is not None:
            name = (command.account, command.client_order_id)
            if name in self.named:
                first = self.named[name]
                twice = f"order {order_id} has the client order id {'/'.join(name)} of order {first}"
                self.violations.append(Violation("once", twice, self._sequence))
            self.named[name] = order_id
        quantity = command.quantity if event.quantity is None else event.quantity
        self.orders[order_id] = Entry(command.account, command.symbol, command.side, command.price, quantity)

    def _trade(self, trade: TradeExecuted) -> None:
        if trade.trade_id != len(self.trades) + 1:
            self._wrong(f"trade {trade.trade_id} comes as number {len(self.trades) + 1}")
        self.trades.append((trade, self._sequence, self._time))
        maker, taker = self.orders.get(trade.maker_order_id), self.orders.get(trade.taker_order_id)
        if maker is None or taker is None or maker is taker or maker.side is taker.side:
            self._wrong(f"trade {trade.trade_id} is not between a buyer and a seller")
            return
        for entry in (maker, taker):
            self._fill(entry, trade)

    def _fill(self, entry: Entry, trade: TradeExecuted) -> None:
        if not entry.is_open or not 0 < trade.quantity <= entry.remaining or entry.symbol != trade.symbol:
            self._wrong(
                f"trade {trade.trade_id} fills {trade.quantity} of {entry.remaining} left ({entry.status.value})"
            )
        worse = entry.limit is not None and (
            trade.price > entry.limit if entry.side is Side.BUY else trade.price < entry.limit
        )
        if worse:
            self._wrong(f"trade {trade.trade_id} at {trade.price} is worse than the limit {entry.limit}")
        entry.filled += trade.quantity
        signed = trade.quantity if entry.side is Side.BUY else -trade.quantity
        self.positions[entry.account, entry.symbol] += signed

    def _change(self, order: OrderState) -> None:
        entry = self.orders.get(order.order_id)
        if entry is None or not entry.is_open:
            self._wrong(f"order {order.order_id} changes, but is not open")
            return
        if entry.filled != order.filled_quantity:
            self._wrong(f"order {order.order_id} has {order.filled_quantity} filled, its trades say {entry.filled}")
        entry.quantity, entry.limit = order.quantity, order.price

    def _note(self, order_id: int, event: Event, command: Command) -> None:
        entry = self.orders.get(order_id)
        if entry is None:
            return
        if isinstance(event, OrderAccepted):
            assert isinstance(command, PlaceOrder)
            standing = accepted(event, command, self._time)
        else:
            standing = follow(entry.history[-1][2], event)
        if entry.history and entry.history[-1][0] == self._sequence:
            entry.history.pop()
        entry.history.append((self._sequence, self._time, standing))
        entry.status = standing.status
        self.updates[entry.account].append((self._sequence, self._index, order_id, _named(event)))
        self._index += 1
        if isinstance(event, OrderCanceled) or entry.remaining == 0:
            entry.closed_at = self._sequence

    def check(self) -> Iterator[Violation]:
        """What has been found on the way, and what only the whole can tell."""
        yield from self.violations
        totals: dict[str, int] = defaultdict(int)
        for (_, symbol), position in self.positions.items():
            totals[symbol] += position
        for symbol, total in totals.items():
            if total:
                yield Violation("conservation", f"{symbol}: bought and sold differ by {total}")
        for order_id, entry in self.orders.items():
            told = entry.history[-1][2].order.filled_quantity if entry.history else 0
            if entry.filled > entry.quantity or told != entry.filled:
                yield Violation(
                    "conservation", f"order {order_id}: {entry.filled} of {entry.quantity} filled, {told} told"
                )


def _named(event: Event) -> str:
    if isinstance(event, OrderCanceled):
        return "expired" if closed_status(event.reason) is OrderStatus.EXPIRED else "canceled"
    return _EVENTS[type(event).__name__]
