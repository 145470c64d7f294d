"""What an all-or-nothing batch means while its items are checked, before any of them is carried out. Pure.

Why nothing has to be taken back: docs/decisions/0012.
"""

from collections.abc import Iterator, Mapping

from contracts.messages import (
    AmendOrder,
    CancelOrder,
    OrderCommand,
    PlaceOrder,
    Refusal,
    RejectReason,
    Side,
)
from matcher.book import BUY, LIMIT, Holding, Order

_GROUPS = {CancelOrder: 0, AmendOrder: 1, PlaceOrder: 2}
"""Carried out in this order: room is made before it is used."""


def _group(numbered: tuple[int, OrderCommand]) -> int:
    return _GROUPS[type(numbered[1])]


class Batch:
    """The items, and of those checked so far how they change what the later ones are judged by."""

    def __init__(self, items: tuple[OrderCommand, ...], open_orders: Mapping[int, Order]) -> None:
        self.items = items
        self._canceled = {item.order_id for item in items if isinstance(item, CancelOrder)} & open_orders.keys()
        self._open = open_orders
        self._placed: list[tuple[PlaceOrder, int]] = []
        self._resting = list(self._prices())

    def _prices(self) -> Iterator[tuple[str, Side, int]]:
        """Symbol, side and price of everything that the batch may leave in the book."""
        for item in self.items:
            if isinstance(item, PlaceOrder):
                if item.type is LIMIT and item.price is not None:
                    yield item.symbol, item.side, item.price
            elif isinstance(item, AmendOrder) and item.price is not None:
                order = self._open.get(item.order_id)
                if order is not None and not order.waits_for_trigger:
                    yield order.symbol, order.side, item.price

    def place(self, item: PlaceOrder, quantity: int) -> None:
        """A place item has passed its checks; `quantity` is what it may fill."""
        self._placed.append((item, quantity))

    def canceled_quantity(self, holding: Holding, side: Side) -> int:
        """What may still be filled of the orders that it cancels, of one holding and side."""
        orders = [self._open[order_id] for order_id in self._canceled]
        return sum(order.remaining for order in orders if order.holding is holding and order.side is side)

    def change_in_open_orders(self, account: str) -> int:
        canceled = sum(self._open[order_id].holding.account.name == account for order_id in self._canceled)
        return sum(item.account == account for item, _ in self._placed) - canceled

    def placed_quantity(self, account: str, symbol: str, side: Side) -> int:
        of_interest = (account, symbol, side)
        return sum(quantity for item, quantity in self._placed if (item.account, item.symbol, item.side) == of_interest)

    def crosses_itself(self, symbol: str, side: Side, price: int) -> bool:
        """Would an order at this price meet another one of the batch?"""
        for other_symbol, other_side, other_price in self._resting:
            crosses = other_price <= price if side is BUY else other_price >= price
            if crosses and other_side is not side and other_symbol == symbol:
                return True
        return False

    def in_order(self) -> list[tuple[int, OrderCommand]]:
        """The items as they are carried out, each with its number."""
        return sorted(enumerate(self.items), key=_group)


def refuse_conflicts(items: tuple[OrderCommand, ...]) -> Refusal | None:
    """Items that are in each other's way whatever the exchange holds."""
    named: set[object] = set()
    for number, item in enumerate(items):
        if not isinstance(item, PlaceOrder):
            name: object = item.order_id
        elif item.client_order_id is None:
            continue
        else:
            name = item.account, item.client_order_id
        if name in named:
            return _conflict(item, number)
        named.add(name)
    return None


def _conflict(item: OrderCommand, number: int) -> Refusal:
    if isinstance(item, PlaceOrder):
        return Refusal(RejectReason.DUPLICATE_CLIENT_ORDER_ID, "client_order_id", item=number)
    return Refusal(RejectReason.SAME_ORDER_TWICE, "order_id", item=number)
