"""What the clients of a run want, as commands and as the JSON that asks for them. Pure: chance and time are given.

The command is made here from whole ticks and lots, apart from the exchange's own reading of the JSON, so that a body
that is read wrong is seen as a difference between the two.
"""

import random
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from chaos.records import Done, NotDone, Refused, Result
from contracts.decimals import Step
from contracts.messages import (
    AllOrNothing,
    AmendOrder,
    CancelAllAfter,
    CancelOrder,
    CancelOrders,
    ClientCommand,
    DefineInstrument,
    OrderCommand,
    OrderType,
    PlaceOrder,
    Side,
    Terms,
    TimeInForce,
)
from contracts.views import format_time

SYMBOLS = ("BTC-USD", "ETH-USD")
TICK_SIZE, LOT_SIZE = "0.01", "0.00000001"
TICK, LOT = Step.of(TICK_SIZE), Step.of(LOT_SIZE)
MIDDLE = 10_000
_UNIT = 10_000_000
"""Lots; quantities are multiples of it, so that orders fill one another."""
NOTHING_DONE = frozenset(
    {"overloaded", "matcher_unavailable", "no_responders", "too_many_deferred", "commands_unavailable"}
)
_UNKNOWN = frozenset({"result_unknown", "journal_unavailable", "internal_error"})


@dataclass(frozen=True, slots=True)
class Wish:
    """`action`: place, cancel, amend, batch, cancel_all or cancel_all_after. `items`: of a batch, one by one."""

    action: str
    command: ClientCommand
    body: dict[str, Any]
    items: tuple[OrderCommand, ...] = ()

    @property
    def is_safe_to_repeat(self) -> bool:
        return self.action in ("place", "cancel", "amend") or isinstance(self.command, AllOrNothing)


@dataclass
class Wishes:
    """One account's. `open`: its orders that may still be open."""

    account: str
    chance: random.Random
    open: list[int] = field(default_factory=list)
    _number: int = 0

    def next(self, now: int) -> Wish:
        """`now`: microseconds."""
        dice = self.chance.random()
        if self.open and dice < 0.20:
            return self.cancel(self._forget())
        if self.open and dice < 0.28:
            return self.amend(self.chance.choice(self.open[-20:]))
        if dice < 0.32:
            return self.all_or_nothing(now)
        if dice < 0.35:
            return self.one_by_one(now)
        if dice < 0.355:
            return Wish("cancel_all", CancelOrders((self.account,)), {"account": self.account})
        if dice < 0.36:
            seconds = self.chance.choice([2, 30, 600])
            return Wish("cancel_all_after", CancelAllAfter(self.account, seconds * 1_000_000), {"seconds": seconds})
        return self.place(now)

    def _forget(self) -> int:
        return self.open.pop(self.chance.randrange(max(0, len(self.open) - 20), len(self.open)))

    def cancel(self, order_id: int) -> Wish:
        return Wish("cancel", CancelOrder(order_id), {"order_id": order_id})

    def amend(self, order_id: int) -> Wish:
        price, quantity = self._price(), self._quantity()
        match self.chance.randrange(3):
            case 0:
                return Wish("amend", AmendOrder(order_id, price), {"order_id": order_id, "price": TICK.format(price)})
            case 1:
                body = {"order_id": order_id, "quantity": LOT.format(quantity)}
                return Wish("amend", AmendOrder(order_id, quantity=quantity), body)
        body = {"order_id": order_id, "price": TICK.format(price), "quantity": LOT.format(quantity)}
        return Wish("amend", AmendOrder(order_id, price, quantity), body)

    def all_or_nothing(self, now: int) -> Wish:
        places = [self.place(now) for _ in range(self.chance.randint(2, 4))]
        items: list[Any] = [each.command for each in places]
        bodies: list[dict[str, Any]] = [{"place": each.body} for each in places]
        if self.open and self.chance.random() < 0.5:
            order_id = self._forget()
            items.append(CancelOrder(order_id))
            bodies.append({"cancel": {"order_id": order_id}})
        return Wish("batch", AllOrNothing(tuple(items)), {"items": bodies, "all_or_nothing": True})

    def one_by_one(self, now: int) -> Wish:
        places = [self.place(now) for _ in range(self.chance.randint(2, 5))]
        commands: tuple[Any, ...] = tuple(each.command for each in places)
        return Wish("batch", commands[0], {"items": [{"place": each.body} for each in places]}, commands)

    def place(self, now: int) -> Wish:
        return placing(self._order(now))

    def resting(self) -> Wish:
        """Far from the market: it is only to be accepted."""
        order = PlaceOrder(SYMBOLS[0], Side.BUY, OrderType.LIMIT, _UNIT, 1, account=self.account)
        return placing(self._named(order))

    def _named(self, order: PlaceOrder, **others: Any) -> PlaceOrder:
        self._number += 1
        return replace(order, client_order_id=f"{self.account}-{self._number}", **others)

    def _order(self, now: int) -> PlaceOrder:
        limit = PlaceOrder(
            self.chance.choice(SYMBOLS),
            self.chance.choice((Side.BUY, Side.SELL)),
            OrderType.LIMIT,
            self._quantity(),
            self._price(),
            account=self.account,
        )
        dice = self.chance.randrange(25)
        if dice == 0:
            return self._named(limit, time_in_force=TimeInForce.IOC)
        if dice == 1:
            return self._named(limit, type=OrderType.MARKET, price=None, time_in_force=TimeInForce.IOC)
        if dice == 2:
            return self._named(limit, post_only=True)
        if dice == 3:
            return self._named(limit, terms=Terms(display_quantity=_UNIT), quantity=limit.quantity + 5 * _UNIT)
        if dice == 4:
            return self._named(limit, type=OrderType.STOP_LIMIT, terms=Terms(stop_price=self._price()))
        if dice == 5:
            return self._named(limit, type=OrderType.STOP, price=None, terms=Terms(stop_price=self._price()))
        if dice == 6:
            expires = now + self.chance.randint(200_000, 20_000_000)
            return self._named(limit, time_in_force=TimeInForce.GTD, terms=Terms(expires_at=expires))
        if dice == 7:
            return self._named(limit, time_in_force=TimeInForce.FOK)
        return self._named(limit)

    def _price(self) -> int:
        return MIDDLE + self.chance.randint(-8, 8)

    def _quantity(self) -> int:
        return self.chance.randint(1, 9) * _UNIT


def placing(order: PlaceOrder) -> Wish:
    return Wish("place", order, _body(order))


def _body(order: PlaceOrder) -> dict[str, Any]:
    terms = order.terms or Terms()
    body = {
        "symbol": order.symbol,
        "side": order.side.value,
        "type": order.type.value,
        "quantity": LOT.format(order.quantity),
        "price": None if order.price is None else TICK.format(order.price),
        "time_in_force": None if order.type in (OrderType.MARKET, OrderType.STOP) else order.time_in_force.value,
        "post_only": order.post_only or None,
        "account": order.account,
        "client_order_id": order.client_order_id,
        "stop_price": None if terms.stop_price is None else TICK.format(terms.stop_price),
        "display_quantity": None if terms.display_quantity is None else LOT.format(terms.display_quantity),
        "expires_at": None if terms.expires_at is None else format_time(terms.expires_at),
    }
    return {name: value for name, value in body.items() if value is not None}


def listing(symbol: str) -> Wish:
    return Wish("list", DefineInstrument(symbol, TICK_SIZE, LOT_SIZE), {"tick_size": TICK_SIZE, "lot_size": LOT_SIZE})


def result_of(status: int, body: dict[str, Any], *, replayed: bool = False) -> Result:
    """What an answer means, over whichever interface; `body` is the view or the problem."""
    if status < 400:
        return Done(body["sequence"], body, replayed)
    code = body.get("code", "")
    if code in NOTHING_DONE:
        return NotDone(code)
    if status >= 500 or code in _UNKNOWN:
        return None
    return Refused(code, body.get("sequence"), body.get("order_id"))
