"""Every open order, and what lately became of which: folded from the events of commits. Pure.

A change has two numbers, the journal sequence of its commit and its place among the changes of that commit: together
they order all changes of all accounts, so a reader can name the last one it has.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from enum import Enum

from contracts.messages import (
    CancelReason,
    Command,
    Event,
    Message,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderReduced,
    OrderState,
    OrderStatus,
    OrderTriggered,
    Outcome,
    PlaceOrder,
    TradeExecuted,
)
from contracts.orders import Standing, accepted, attributed, closed_status, concerned, follow, resting_status

KEPT_CHANGES = 10_000
"""How many of the latest changes outlive a restart."""
KEPT_CLOSED = 50_000
"""How many closed orders are remembered as such."""


class OrderEvent(str, Enum):
    """What happened to an order."""

    ACCEPTED = "accepted"
    TRADE = "trade"
    CANCELED = "canceled"
    EXPIRED = "expired"
    AMENDED = "amended"
    TRIGGERED = "triggered"
    REDUCED = "reduced"
    """Self-trade prevention took from its quantity."""


class OrderChange(Message, frozen=True):
    """One thing that happened to one order, and the order after it."""

    sequence: int
    index: int
    """Counts the changes of the commit, from 0."""
    time: int
    event: OrderEvent
    order: OrderState
    reason: CancelReason | None = None
    trade: TradeExecuted | None = None
    priority_kept: bool | None = None

    @property
    def status(self) -> OrderStatus:
        if self.reason is not None:
            return closed_status(self.reason)
        return resting_status(self.order.quantity, self.order.filled_quantity)

    @property
    def is_last(self) -> bool:
        """Nothing more will happen to this order."""
        return self.reason is not None or self.order.quantity == self.order.filled_quantity


class OpenOrder(Message, frozen=True):
    """An order that is open, as its last change left it."""

    order: OrderState
    sequence: int
    time: int

    @property
    def status(self) -> OrderStatus:
        return resting_status(self.order.quantity, self.order.filled_quantity)


class LiveOrders:
    """The fold of every outcome so far."""

    def __init__(self) -> None:
        self.recent: deque[OrderChange] = deque(maxlen=KEPT_CHANGES)
        self.last_order_id = 0
        self._open: dict[int, OpenOrder] = {}
        self._accounts: dict[str, dict[int, None]] = {}
        self._closed: dict[int, OrderChange] = {}

    def __len__(self) -> int:
        return len(self._open)

    def get(self, order_id: int) -> OpenOrder | None:
        return self._open.get(order_id)

    def closed(self, order_id: int) -> OrderChange | None:
        """The last change of an order that was closed not long ago."""
        return self._closed.get(order_id)

    def named(self, account: str, client_order_id: str) -> int | None:
        """The account's newest order of this name, if it is open or was closed not long ago."""
        ours = (self._open[order_id].order for order_id in reversed(self._accounts.get(account, {})))
        closed = (change.order for change in reversed(self._closed.values()) if change.order.account == account)
        found = [
            next((order.order_id for order in orders if order.client_order_id == client_order_id), 0)
            for orders in (ours, closed)
        ]
        return max(found) or None

    def of(self, account: str) -> list[OpenOrder]:
        """The account's open orders, oldest first."""
        return [self._open[order_id] for order_id in self._accounts.get(account, ())]

    def all(self) -> list[OpenOrder]:
        return list(self._open.values())

    def apply(self, command: Command, outcome: Outcome, sequence: int, time: int, index: int) -> Iterator[OrderChange]:
        """Fold one outcome of a commit; `index` numbers its first change. Must be read to its end."""
        for origin, event in attributed(command, outcome.events):
            for order_id in concerned(event):
                change = self._change(order_id, origin, event, sequence, time, index)
                self._keep(change)
                index += 1
                yield change

    def _change(
        self, order_id: int, origin: Command, event: Event, sequence: int, time: int, index: int
    ) -> OrderChange:
        standing = self._after(order_id, origin, event, time)
        kind, trade, kept = _described(event, standing.status)
        return OrderChange(sequence, index, time, kind, standing.order, standing.reason, trade, kept)

    def _after(self, order_id: int, origin: Command, event: Event, time: int) -> Standing:
        if type(event) is OrderAccepted:
            assert type(origin) is PlaceOrder
            return accepted(event, origin, time)
        before = self._open.get(order_id)
        if before is None:  # a limit order that is canceled in the commit that took it is open in between
            raise AssertionError(f"order {order_id} is not open, but {event} happened to it")
        return follow(Standing(before.order, before.status), event)

    def _keep(self, change: OrderChange) -> None:
        self.recent.append(change)
        order = change.order
        order_id = order.order_id
        if change.is_last:
            self._close(change)
            return
        if change.event is OrderEvent.ACCEPTED:
            self._accounts.setdefault(order.account, {})[order_id] = None
            self.last_order_id = max(self.last_order_id, order_id)
        self._open[order_id] = OpenOrder(order, change.sequence, change.time)

    def _close(self, change: OrderChange) -> None:
        order = change.order
        del self._open[order.order_id]
        orders = self._accounts[order.account]
        del orders[order.order_id]
        if not orders:
            del self._accounts[order.account]
        self._closed[order.order_id] = change
        if len(self._closed) > KEPT_CLOSED:
            del self._closed[next(iter(self._closed))]

    @classmethod
    def restored(cls, last_order_id: int, orders: Iterable[OpenOrder], recent: Iterable[OrderChange]) -> "LiveOrders":
        """From what was saved."""
        live = cls()
        live.last_order_id = last_order_id
        for order in orders:
            live._open[order.order.order_id] = order
            live._accounts.setdefault(order.order.account, {})[order.order.order_id] = None
        live.recent.extend(recent)
        live._closed = {change.order.order_id: change for change in live.recent if change.is_last}
        return live


def _described(event: Event, status: OrderStatus) -> tuple[OrderEvent, TradeExecuted | None, bool | None]:
    """What it was, the trade if it was one, and for an amendment whether the order kept its place."""
    match event:
        case OrderAccepted():
            return OrderEvent.ACCEPTED, None, None
        case TradeExecuted():
            return OrderEvent.TRADE, event, None
        case OrderCanceled():
            return (OrderEvent.EXPIRED if status is OrderStatus.EXPIRED else OrderEvent.CANCELED), None, None
        case OrderAmended(priority_kept=kept):
            return OrderEvent.AMENDED, None, kept
        case OrderTriggered():
            return OrderEvent.TRIGGERED, None, None
        case OrderReduced():
            return OrderEvent.REDUCED, None, None
    raise AssertionError(f"{event} changes no order")
