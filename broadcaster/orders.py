"""Every open order, and what lately became of which: folded from the events of commits. Pure.

A change has two numbers, the journal sequence of its commit and its place among the changes of that commit: together
they order all changes of all accounts, so a reader can name the last one it has.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from contracts.messages import (
    AllOrNothing,
    CancelReason,
    Command,
    Event,
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
from contracts.orders import Standing, attributed, closed_status, concerned, follow, placed_order, resting_status

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


_TRADE = OrderEvent.TRADE


class _Filled(Struct, frozen=True, gc=False):
    """An order by its last whole state and the fills since: most orders are only ever filled."""

    base: OrderState
    filled: int
    notional: int

    @property
    def order(self) -> OrderState:
        if self.filled == self.base.filled_quantity:
            return self.base
        return replace(self.base, filled_quantity=self.filled, filled_notional=str(self.notional))


class OpenOrder(_Filled, frozen=True, gc=False):
    """An order that is open, as its last change left it."""

    sequence: int
    time: int

    @property
    def status(self) -> OrderStatus:
        return resting_status(self.base.quantity, self.filled)


class OrderChange(OpenOrder, frozen=True, gc=False):
    """One thing that happened to one order, and the order after it."""

    index: int
    """Counts the changes of the commit, from 0."""
    event: OrderEvent
    reason: CancelReason | None = None
    trade: TradeExecuted | None = None
    priority_kept: bool | None = None

    @property
    def status(self) -> OrderStatus:
        if self.reason is not None:
            return closed_status(self.reason)
        return resting_status(self.base.quantity, self.filled)

    @property
    def is_last(self) -> bool:
        """Nothing more will happen to this order."""
        return self.reason is not None or self.base.quantity == self.filled


class LiveOrders:
    """The fold of every outcome so far."""

    def __init__(self) -> None:
        self.recent: deque[OrderChange] = deque(maxlen=KEPT_CHANGES)
        self.last_order_id = 0
        self._open: dict[int, OpenOrder] = {}
        self._accounts: dict[str, dict[int, None]] = {}
        self._closed: OrderedDict[int, OrderChange] = OrderedDict()
        self._names: dict[tuple[str, str], int] = {}
        """The newest order of an account and client order id, of those above."""

    def __len__(self) -> int:
        return len(self._open)

    def get(self, order_id: int) -> OpenOrder | None:
        return self._open.get(order_id)

    def closed(self, order_id: int) -> OrderChange | None:
        """The last change of an order that was closed not long ago."""
        return self._closed.get(order_id)

    def named(self, account: str, client_order_id: str) -> int | None:
        """The account's newest order of this name, if it is open or was closed not long ago."""
        return self._names.get((account, client_order_id))

    def of(self, account: str) -> list[OpenOrder]:
        """The account's open orders, oldest first."""
        return [self._open[order_id] for order_id in self._accounts.get(account, ())]

    def all(self) -> list[OpenOrder]:
        return list(self._open.values())

    def apply(self, command: Command, outcome: Outcome, moment: "Moment") -> None:
        """Fold one outcome of the commit. After the last one: `remember`."""
        if type(command) is AllOrNothing:
            for origin, event in attributed(command, outcome.events):
                self._follow(origin, event, moment)
        else:
            for event in outcome.events:
                self._follow(command, event, moment)

    def remember(self, moment: "Moment") -> None:
        """The commit is folded: its changes are among the latest."""
        self.recent += moment.changes

    def _follow(self, origin: Command, event: Event, moment: "Moment") -> None:
        if type(event) is OrderAccepted:
            self._accept(origin, event, moment)
        elif type(event) is TradeExecuted:
            notional = event.quantity * event.price
            self._fill(event.maker_order_id, event, notional, moment)
            self._fill(event.taker_order_id, event, notional, moment)
        else:
            for order_id in concerned(event):
                self._change(order_id, event, moment)

    def _accept(self, command: Command, event: OrderAccepted, moment: "Moment") -> None:
        assert type(command) is PlaceOrder
        order_id = event.order_id
        order = placed_order(command, order_id, moment.time, event.quantity)
        self._accounts.setdefault(order.account, {})[order_id] = None
        if order.client_order_id is not None:
            self._names[order.account, order.client_order_id] = order_id
        self.last_order_id = order_id
        self._keep(OrderChange(order, 0, 0, moment.sequence, moment.time, moment.next, OrderEvent.ACCEPTED), moment)

    def _fill(self, order_id: int, trade: TradeExecuted, notional: int, moment: "Moment") -> None:
        """What most changes are, so without a detour."""
        before, changes = self._open.get(order_id), moment.changes
        assert before is not None, f"order {order_id} is not open, but {trade} happened to it"
        base, filled = before.base, before.filled + trade.quantity
        change = OrderChange(
            base, filled, before.notional + notional, moment.sequence, moment.time, len(changes), _TRADE, None, trade
        )
        changes.append(change)
        if base.quantity != filled:
            self._open[order_id] = change
        else:
            self._close(change)

    def _change(self, order_id: int, event: Event, moment: "Moment") -> None:
        """Whatever is not just a fill comes with the whole order, or changes what does not change otherwise."""
        before = self._before(order_id, event)
        order, status, reason = follow(Standing(before.order, before.status), event)
        kind, kept = _described(event, status)
        filled, notional = order.filled_quantity, int(order.filled_notional)
        sequence, time = moment.sequence, moment.time
        change = OrderChange(order, filled, notional, sequence, time, moment.next, kind, reason, None, kept)
        self._keep(change, moment)

    def _before(self, order_id: int, event: Event) -> OpenOrder:
        before = self._open.get(order_id)
        assert before is not None, f"order {order_id} is not open, but {event} happened to it"
        return before

    def _keep(self, change: OrderChange, moment: "Moment") -> None:
        moment.changes.append(change)
        base = change.base
        if change.reason is None and base.quantity != change.filled:
            self._open[base.order_id] = change
        else:
            self._close(change)

    def _close(self, change: OrderChange) -> None:
        order = change.base
        del self._open[order.order_id]
        orders = self._accounts[order.account]
        del orders[order.order_id]
        if not orders:
            del self._accounts[order.account]
        self._closed[order.order_id] = change
        if len(self._closed) > KEPT_CLOSED:
            self._forget(self._closed.popitem(last=False)[1].base)

    def _forget(self, order: OrderState) -> None:
        if order.client_order_id is None:
            return
        name = order.account, order.client_order_id
        if self._names.get(name) == order.order_id:  # not when it was used again since
            del self._names[name]

    @classmethod
    def restored(cls, last_order_id: int, orders: Iterable[OpenOrder], recent: Iterable[OrderChange]) -> "LiveOrders":
        """From what was saved."""
        live = cls()
        live.last_order_id = last_order_id
        for order in orders:
            live._open[order.base.order_id] = order
            live._accounts.setdefault(order.base.account, {})[order.base.order_id] = None
        live.recent.extend(recent)
        live._closed.update((change.base.order_id, change) for change in live.recent if change.is_last)
        known = [each.base for each in (*live._open.values(), *live._closed.values())]
        for base in sorted(known, key=lambda base: base.order_id):
            if base.client_order_id is not None:
                live._names[base.account, base.client_order_id] = base.order_id
        return live


class Moment:
    """The commit that is being folded, and its changes so far."""

    __slots__ = ("changes", "sequence", "time")

    def __init__(self, sequence: int, time: int) -> None:
        self.sequence = sequence
        self.time = time
        self.changes: list[OrderChange] = []

    @property
    def next(self) -> int:
        return len(self.changes)


def _described(event: Event, status: OrderStatus) -> tuple[OrderEvent, bool | None]:
    """What it was, and for an amendment whether the order kept its place."""
    match event:
        case OrderCanceled():
            return (OrderEvent.EXPIRED if status is OrderStatus.EXPIRED else OrderEvent.CANCELED), None
        case OrderAmended(priority_kept=kept):
            return OrderEvent.AMENDED, kept
        case OrderTriggered():
            return OrderEvent.TRIGGERED, None
        case OrderReduced():
            return OrderEvent.REDUCED, None
    raise AssertionError(f"{event} changes no order")
