"""What becomes of an order: its state and status, folded from the events of the journal. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from msgspec.structs import replace

from contracts.messages import (
    DAY,
    AllOrNothing,
    CancelReason,
    Command,
    Event,
    ItemStarted,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderReduced,
    OrderState,
    OrderStatus,
    OrderTriggered,
    PlaceOrder,
    Terms,
    TimeInForce,
    TradeExecuted,
)

_UNTIL_THE_DAY_ENDS = TimeInForce.DAY


class Standing(NamedTuple):
    """An order, its status, and why it was canceled if it was."""

    order: OrderState
    status: OrderStatus
    reason: CancelReason | None = None


def placed_order(command: PlaceOrder, order_id: int, time: int, quantity: int | None = None) -> OrderState:
    """The order as accepted at `time`, before any fill; `quantity` as in OrderAccepted."""
    return OrderState(
        order_id,
        command.client_order_id,
        command.account,
        command.symbol,
        command.side,
        command.type,
        command.time_in_force,
        command.post_only,
        command.price,
        command.quantity if quantity is None else quantity,
        0,
        "0",
        time,
        accepted_terms(command, time),
    )


def accepted_terms(command: PlaceOrder, time: int) -> Terms | None:
    """A DAY order expires when the UTC day of its acceptance ends."""
    if command.time_in_force is not _UNTIL_THE_DAY_ENDS:
        return command.terms
    expires_at = (time // DAY + 1) * DAY
    return _no_terms_until(expires_at) if command.terms is None else replace(command.terms, expires_at=expires_at)


@lru_cache(maxsize=16)
def _no_terms_until(expires_at: int) -> Terms:
    """One object for all orders of a day that have no terms else."""
    return Terms(expires_at=expires_at)


OPEN_STATUSES = (OrderStatus.OPEN, OrderStatus.PARTIALLY_FILLED)
"""Of orders that may still trade."""


def resting_status(quantity: int, filled_quantity: int) -> OrderStatus:
    """The status of an order that nobody canceled."""
    if filled_quantity == quantity:
        return OrderStatus.FILLED
    return OrderStatus.PARTIALLY_FILLED if filled_quantity else OrderStatus.OPEN


def closed_status(reason: CancelReason) -> OrderStatus:
    """The status of an order that is out of the book for this reason."""
    return OrderStatus.EXPIRED if reason is CancelReason.EXPIRED else OrderStatus.CANCELED


def accepted(event: OrderAccepted, command: PlaceOrder, time: int) -> Standing:
    """The standing of an order that was just accepted."""
    return Standing(placed_order(command, event.order_id, time, event.quantity), OrderStatus.OPEN)


def follow(standing: Standing, event: Event) -> Standing:
    """The standing after an event that concerns this order (see `concerned`)."""
    match event:
        case TradeExecuted(price=price, quantity=quantity):
            return _with_fill(standing.order, quantity, quantity * price)
        case OrderTriggered():
            return standing._replace(order=replace(standing.order, triggered=True))
        case OrderAmended(order=order) | OrderReduced(order=order):
            return Standing(order, resting_status(order.quantity, order.filled_quantity))
        case OrderCanceled(order=order, reason=reason):
            return Standing(order, closed_status(reason), reason)
    return standing


def _with_fill(order: OrderState, quantity: int, notional: int) -> Standing:
    filled = order.filled_quantity + quantity
    order = replace(order, filled_quantity=filled, filled_notional=str(int(order.filled_notional) + notional))
    return Standing(order, resting_status(order.quantity, filled))


def concerned(event: Event) -> tuple[int, ...]:
    """The ids of the orders that an event changes."""
    match event:
        case TradeExecuted(maker_order_id=maker, taker_order_id=taker):
            return (maker, taker)
        case OrderAccepted(order_id=order_id) | OrderTriggered(order_id=order_id):
            return (order_id,)
        case OrderAmended(order=order) | OrderReduced(order=order) | OrderCanceled(order=order):
            return (order.order_id,)
    return ()


def order_after(command: Command, events: Sequence[Event], time: int) -> Standing:
    """The order that a place, cancel or amend command is about, after its events and what they set off.

    `time` is the commit's. The commanded order may trade as taker, and later in the same events as maker.
    """
    first = events[0]
    if isinstance(first, OrderAccepted):
        assert isinstance(command, PlaceOrder)
        standing = accepted(first, command, time)
        if len(events) == 1:
            return standing
    else:
        assert isinstance(first, OrderAmended | OrderCanceled)
        standing = follow(Standing(first.order, OrderStatus.OPEN), first)
    order_id = standing.order.order_id
    quantity = notional = 0
    for event in events[1:]:
        if type(event) is TradeExecuted:  # nearly always; so they are added up before a new state is made of them
            if order_id in (event.taker_order_id, event.maker_order_id):
                quantity += event.quantity
                notional += event.quantity * event.price
        elif order_id in concerned(event):
            standing, quantity, notional = follow(standing, event), 0, 0
    return _with_fill(standing.order, quantity, notional) if quantity else standing


def attributed(command: Command, events: Iterable[Event]) -> Iterator[tuple[Command, Event]]:
    """Each event with the command that it follows from: in an all-or-nothing batch, the item."""
    origin = command
    for event in events:
        if isinstance(event, ItemStarted):
            assert isinstance(command, AllOrNothing)
            origin = command.items[event.item] if event.item < len(command.items) else command
        else:
            yield origin, event


def item_events(item: int, events: Sequence[Event]) -> Sequence[Event]:
    """What an item of an all-or-nothing batch led to, then everything after it.

    Empty if an earlier item had made it impossible.
    """
    start = events.index(ItemStarted(item)) + 1
    if start == len(events) or isinstance(events[start], ItemStarted):
        return ()
    return [event for event in events[start:] if not isinstance(event, ItemStarted)]
