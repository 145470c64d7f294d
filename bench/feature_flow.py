"""Seeded order flow that uses every feature of the engine, around the same prices and as many orders as the plain flow.

Every order has an account and its client's id; half of the accounts have limits, the instrument has a price band. Of
what makes the book larger, a tenth each is an iceberg, post-only, GTD and DAY, and a third prevents self-trades; stops
wait beside it. What makes it smaller are cancels, takers of every kind (IOC, FOK, market orders with a protection price
and by notional), amendments and all-or-nothing replacements; now and then somebody cancels everything, sets a limit,
uses the kill switch, or the instrument changes its status. The matcher's own commands come where a sequencer would put
them.
"""

from collections.abc import Iterator
from random import Random
from typing import Any

from msgspec.structs import replace

from bench.flow import SYMBOL
from contracts.messages import (
    AdvanceClock,
    AllOrNothing,
    AmendOrder,
    CancelAllAfter,
    CancelOrder,
    CancelOrders,
    Command,
    Continue,
    DefineInstrument,
    InstrumentStatus,
    OrderAccepted,
    OrderType,
    Outcome,
    PlaceOrder,
    SelfTradePrevention,
    SetAccountLimits,
    SetInstrumentStatus,
    SetKillSwitch,
    Side,
    SymbolLimits,
    Terms,
    TimeInForce,
)
from matcher.engine import Engine

BANDED = DefineInstrument(SYMBOL, "0.01", "0.00000001", band_basis_points=1_000)
START = 1_700_000_000_000_000
_ACCOUNTS = 100
_MIDDLE = 3_000_000
_NEAR = 20
_REACH = 50
_LOT = 1_000_000
_PACE = 200
"""Microseconds from one command to the next."""
_MODES = tuple(mode for mode in SelfTradePrevention if mode is not SelfTradePrevention.NONE)
_LIMITS = SymbolLimits(SYMBOL, 200 * _LOT, 10**17, 10**15)
"""Which are looked at for every order, and hardly ever met."""

_WISHES = {
    "cancel": 36.0,
    "immediate": 12.0,
    "fill_or_kill": 4.0,
    "protected": 3.0,
    "by_notional": 3.0,
    "stop": 9.0,
    "smaller": 9.0,
    "other_price": 7.0,
    "replacement": 7.0,
    "cancel_all_after": 3.0,
    "limits": 1.0,
    "cancel_all": 0.3,
    "kill_switch": 0.3,
    "post_only": 0.2,
}
"""How often each comes among the commands that do not simply let an order rest."""

Timed = tuple[Command, int]
"""A command and its time."""


class FeatureFlow:
    """Commands that a new engine accepts, every one, when it is given all of them in this order."""

    def __init__(self, seed: int, *, resting: int = 1_000) -> None:
        self._random = Random(seed)
        self._resting = resting
        self._engine = Engine()
        self._time = START
        self._order_ids: list[int] = []
        self._placed = 0
        commands: list[Command] = [BANDED, *(_limited(number) for number in range(0, _ACCOUNTS, 2))]
        self.opening: list[Timed] = [timed for command in commands for timed in self._apply(command)]
        """The listing, and the limits of every other account: to be sent before all others."""

    def next_commands(self, count: int) -> list[Timed]:
        """At least so many: what belongs together stays together."""
        found: list[Timed] = []
        while len(found) < count:
            found += self._next()
        return found

    def _next(self) -> list[Timed]:
        while True:
            if applied := self._apply(self._wish()):
                return applied + [timed for command in self._undoing(applied[-1][0]) for timed in self._apply(command)]

    def _apply(self, command: Command) -> list[Timed]:
        """It and what the matcher puts before and behind it; nothing when it is refused, which leaves no trace."""
        self._time += _PACE
        applied: list[Timed] = []
        if (due := self._engine.next_due) is not None and due <= self._time:
            applied += self._carry_out(AdvanceClock())
        return applied + self._carry_out(command)

    def _carry_out(self, command: Command) -> list[Timed]:
        outcome = self._engine.apply(command, self._time)
        if not isinstance(outcome, Outcome):
            return []
        self._remember(outcome)
        applied: list[Timed] = [(command, self._time)]
        while self._engine.unfinished:
            self._engine.apply(Continue(), self._time)
            applied.append((Continue(), self._time))
        return applied

    def _remember(self, outcome: Outcome) -> None:
        self._order_ids += [event.order_id for event in outcome.events if isinstance(event, OrderAccepted)]

    def _undoing(self, command: Command) -> Iterator[Command]:
        """What must not last, or there would soon be no flow."""
        match command:
            case SetKillSwitch(account, True):
                yield SetKillSwitch(account, False)
            case SetInstrumentStatus(_, InstrumentStatus.POST_ONLY):
                yield SetInstrumentStatus(SYMBOL, InstrumentStatus.TRADING)

    def _wish(self) -> Command:
        resting = self._engine.resting_orders
        if resting < self._resting or (resting < 2 * self._resting and self._random.random() < 0.5):
            return self._resting_order()
        kind = self._random.choices(tuple(_WISHES), tuple(_WISHES.values()))[0]
        command: Command = getattr(self, f"_{kind}")()
        return command

    # Orders

    def _order(self, type: OrderType, side: Side, price: int | None, **fields: Any) -> PlaceOrder:
        self._placed += 1
        terms = fields.pop("terms", None)
        if self._random.random() < 0.3:
            terms = replace(terms or Terms(), self_trade_prevention=self._random.choice(_MODES))
        quantity = fields.pop("quantity", _LOT * self._random.randint(1, 100))
        names: dict[str, Any] = {"account": self._account(), "client_order_id": f"order-{self._placed}"}
        return PlaceOrder(SYMBOL, side, type, quantity, price, terms=terms, **names, **fields)

    def _resting_order(self) -> PlaceOrder:
        side = self._side()
        price = _beyond(side, -1 - int(self._random.expovariate(1 / _NEAR)))
        chosen, quantity = self._random.random(), _LOT * self._random.randint(2, 100)
        more: dict[str, Any] = {}
        if chosen < 0.1:
            more = {"terms": Terms(display_quantity=quantity // 2)}
        elif chosen < 0.2:
            more = {"post_only": True}
        elif chosen < 0.3:
            more = {"time_in_force": TimeInForce.GTD, "terms": Terms(expires_at=self._time + 10_000 * _PACE)}
        elif chosen < 0.4:
            more = {"time_in_force": TimeInForce.DAY}
        return self._order(OrderType.LIMIT, side, price, quantity=quantity, **more)

    def _immediate(self) -> PlaceOrder:
        side = self._side()
        return self._order(OrderType.LIMIT, side, _beyond(side, _REACH), time_in_force=TimeInForce.IOC)

    def _fill_or_kill(self) -> PlaceOrder:
        side = self._side()
        return self._order(OrderType.LIMIT, side, _beyond(side, _REACH), time_in_force=TimeInForce.FOK)

    def _protected(self) -> PlaceOrder:
        side = self._side()
        return self._order(OrderType.MARKET, side, None, terms=Terms(protection_price=_beyond(side, _REACH)))

    def _by_notional(self) -> PlaceOrder:
        notional = _MIDDLE * _LOT * self._random.randint(1, 100)
        return self._order(OrderType.MARKET, self._side(), None, quantity=0, terms=Terms(notional=notional))

    def _stop(self) -> PlaceOrder:
        """Half of them with a limit; they wait where trades come now and then."""
        side = self._side()
        terms = Terms(stop_price=_beyond(side, self._random.randint(2, 40)))
        if self._random.random() < 0.5:
            return self._order(OrderType.STOP, side, None, terms=terms)
        return self._order(OrderType.STOP_LIMIT, side, _beyond(side, _REACH), terms=terms)

    def _cancel(self) -> CancelOrder:
        return CancelOrder(self._any_order())

    def _smaller(self) -> AmendOrder:
        return AmendOrder(self._any_order(), quantity=_LOT)

    def _other_price(self) -> AmendOrder:
        return AmendOrder(self._any_order(), price=_beyond(self._side(), -1 - int(self._random.expovariate(1 / _NEAR))))

    def _replacement(self) -> AllOrNothing:
        return AllOrNothing((CancelOrder(self._any_order()), self._resting_order()))

    # Accounts and instrument

    def _cancel_all_after(self) -> CancelAllAfter:
        return CancelAllAfter(self._account(), 10_000 * _PACE)

    def _limits(self) -> SetAccountLimits:
        return _limited(2 * self._random.randrange(_ACCOUNTS // 2))

    def _cancel_all(self) -> CancelOrders:
        return CancelOrders((self._account(),))

    def _kill_switch(self) -> SetKillSwitch:
        return SetKillSwitch(self._account(), True)

    def _post_only(self) -> SetInstrumentStatus:
        return SetInstrumentStatus(SYMBOL, InstrumentStatus.POST_ONLY)

    # Choices

    def _any_order(self) -> int:
        """An open one, each as likely."""
        while True:
            number = self._random.randrange(len(self._order_ids))
            order_id = self._order_ids[number]
            if self._engine.symbol_of(order_id) is not None:
                return order_id
            self._order_ids[number] = self._order_ids[-1]
            self._order_ids.pop()

    def _account(self) -> str:
        return f"account-{self._random.randrange(_ACCOUNTS)}"

    def _side(self) -> Side:
        return Side.BUY if self._random.random() < 0.5 else Side.SELL


def _beyond(side: Side, ticks: int) -> int:
    """So far beyond the middle, as seen by somebody who buys or sells."""
    return _MIDDLE + (ticks if side is Side.BUY else -ticks)


def _limited(number: int) -> SetAccountLimits:
    return SetAccountLimits(f"account-{number}", 10_000, (_LIMITS,))
