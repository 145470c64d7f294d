"""What the engine must do, written so that it can be checked by reading.

The reference keeps one list of open orders. To match, it sorts those in the book; for the levels of an outcome it adds
all of them up again. It shares nothing with matcher/ but the vocabulary of contracts/. Orders and instruments are in
reference_orders.py, all refusals in reference_checks.py.
"""

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, field

from contracts.messages import (
    MAX_QUANTITY,
    AccountLimitsSet,
    AdvanceClock,
    AllOrNothing,
    AmendOrder,
    CancelAllAfter,
    CancelAllElapsed,
    CancelAllScheduled,
    CancelOrder,
    CancelOrders,
    CancelReason,
    Command,
    Continue,
    DefineInstrument,
    Event,
    InstrumentDefined,
    InstrumentStatus,
    InstrumentStatusChanged,
    ItemStarted,
    KillSwitchSet,
    LevelChanged,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderCommand,
    OrderReduced,
    OrdersCanceled,
    OrderTriggered,
    Outcome,
    PlaceOrder,
    Result,
    SelfTradePrevention,
    SetAccountLimits,
    SetInstrumentStatus,
    SetKillSwitch,
    Side,
    TimeInForce,
    TradeExecuted,
)
from tests.matcher.reference_checks import amended, refuse
from tests.matcher.reference_orders import (
    LIMIT_TYPES,
    STOP_TYPES,
    Instrument,
    Level,
    Limits,
    Order,
    Where,
    crosses,
    is_reached,
    terms_of,
    tighter,
)

RestingOrder = tuple[Side, int, int, int]
Depth = tuple[list[tuple[int, int]], list[tuple[int, int]]]
Step = tuple[Order, CancelReason] | CancelAllElapsed
"""A cancelation, or the word that a dead-man's switch went off, that waits for its turn."""


@dataclass(frozen=True)
class Remembered:
    """What is known of a client order id."""

    order_id: int
    sequence: int
    command: PlaceOrder


@dataclass
class ReferenceEngine:
    limits: Limits = field(default_factory=Limits)
    instruments: dict[str, Instrument] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    """Every open order, wherever it is."""
    triggered: list[tuple[Order, int]] = field(default_factory=list)
    """Stop orders whose turn comes, each with the trade that was the latest when it was reached."""
    steps: list[Step] = field(default_factory=list)
    client_order_ids: dict[tuple[str, str], Remembered] = field(default_factory=dict)
    account_limits: dict[str, SetAccountLimits] = field(default_factory=dict)
    killed: set[str] = field(default_factory=set)
    deadlines: dict[str, int] = field(default_factory=dict)
    positions: dict[tuple[str, str], int] = field(default_factory=dict)
    last_order_id: int = 0
    last_trade_id: int = 0
    arrivals: int = 0

    # Of the command that is being carried out
    time: int = 0
    sequence: int = 0
    events: list[Event] = field(default_factory=list)
    touched: list[Level] = field(default_factory=list)
    fills_left: int = 0
    traded: dict[str, list[int]] = field(default_factory=dict)
    """The prices of the trades of this execution, by symbol."""
    reached_at_once: list[Order] = field(default_factory=list)

    def apply(self, command: Command, time: int, sequence: int = 0) -> Result:
        assert isinstance(command, Continue) or not self.unfinished
        if refusal := refuse(self, command, time):
            return refusal
        before = self.totals()
        self.time, self.sequence, self.events, self.touched = time, sequence, [], []
        self.fills_left = self.limits.max_fills
        self.carry_out(command)
        self.finish(command)
        return Outcome(tuple(self.events), self.levels_changed(before))

    def carry_out(self, command: Command) -> None:
        match command:
            case PlaceOrder():
                self.place(command)
            case CancelOrder():
                self.cancel(self.order(command.order_id), CancelReason.REQUESTED)
            case AmendOrder():
                self.amend(command)
            case AllOrNothing():
                self.carry_out_items(command.items)
            case CancelOrders():
                self.cancel_orders(command)
            case CancelAllAfter():
                self.schedule(command)
            case AdvanceClock():
                self.advance_clock()
            case SetKillSwitch():
                self.set_kill_switch(command)
            case SetInstrumentStatus():
                self.set_status(command)
            case SetAccountLimits():
                self.account_limits[command.account] = command
                self.events.append(AccountLimitsSet(command.account))
            case DefineInstrument():
                self.define(command)

    def finish(self, command: Command) -> None:
        """What the command sets off: stop orders; and cancelations, as many as there is room for."""
        self.find_reached_stops()
        if isinstance(command, AllOrNothing) and self.triggered:
            self.events.append(ItemStarted(len(command.items)))
        while self.unfinished and len(self.events) < self.limits.max_events:
            if self.steps:
                self.take_step(self.steps.pop(0))
            else:
                self.activate(*self.triggered.pop(0))

    @property
    def unfinished(self) -> bool:
        return bool(self.steps or self.triggered)

    # What it can be asked

    @property
    def next_due(self) -> int | None:
        expiries = [order.expires_at for order in self.orders if order.expires_at is not None]
        return min([*expiries, *self.deadlines.values()], default=None)

    def depth(self, symbol: str) -> Depth:
        bids: dict[int, int] = {}
        asks: dict[int, int] = {}
        for side, price, _, shown in self.resting(symbol):
            half = bids if side is Side.BUY else asks
            half[price] = half.get(price, 0) + shown
        return list(bids.items()), list(asks.items())

    def resting(self, symbol: str) -> list[RestingOrder]:
        queue = self.queue(symbol, Side.BUY) + self.queue(symbol, Side.SELL)
        return [(order.side, order.book_price, order.order_id, order.shown) for order in queue]

    def stops(self, symbol: str) -> list[RestingOrder]:
        return [(order.side, order.stop_price or 0, order.order_id, order.remaining) for order in self.waiting(symbol)]

    def position(self, account: str, symbol: str) -> int:
        return self.positions.get((account, symbol), 0)

    def open_orders(self, account: str) -> list[int]:
        return sorted(order.order_id for order in self.orders_of(account))

    def waiting(self, symbol: str) -> list[Order]:
        """The stop orders that no trade has reached: buyers, the lowest first; then sellers, the highest first."""
        stops = [order for order in self.orders if order.symbol == symbol and order.where is Where.STOPS]
        buyers = [order for order in stops if order.side is Side.BUY]
        sellers = [order for order in stops if order.side is Side.SELL]
        buyers.sort(key=lambda order: (order.stop_price or 0, order.arrived))
        sellers.sort(key=lambda order: (-(order.stop_price or 0), order.arrived))
        return buyers + sellers

    def queue(self, symbol: str, side: Side) -> list[Order]:
        """The resting orders of one half of a book: the best price first, then the earliest."""
        orders = [
            order
            for order in self.orders
            if order.symbol == symbol and order.side is side and order.where is Where.BOOK
        ]
        return in_priority(orders)

    def totals(self) -> dict[Level, int]:
        totals: dict[Level, int] = {}
        for order in self.orders:
            if order.where is Where.BOOK:
                totals[order.level] = totals.get(order.level, 0) + order.shown
        return totals

    def levels_changed(self, before: dict[Level, int]) -> tuple[LevelChanged, ...]:
        after = self.totals()
        changed = {level for level in before.keys() | after.keys() if before.get(level) != after.get(level)}
        assert changed <= set(self.touched), "a level changed that no order touched"
        return tuple(LevelChanged(*level, after.get(level, 0)) for level in dict.fromkeys(self.touched))

    def find(self, order_id: int) -> Order | None:
        return next((order for order in self.orders if order.order_id == order_id), None)

    def order(self, order_id: int) -> Order:
        order = self.find(order_id)
        assert order
        return order

    def orders_of(self, account: str) -> list[Order]:
        return [order for order in self.orders if order.account == account]

    def remembered(self, order: PlaceOrder) -> Remembered | None:
        if order.client_order_id is None:
            return None
        return self.client_order_ids.get((order.account, order.client_order_id))

    def position_towards(self, account: str, symbol: str, side: Side) -> int:
        """What the account has bought more than sold; seen by a seller, what it has sold more than bought."""
        position = self.position(account, symbol)
        return position if side is Side.BUY else -position

    def opposing_prices(self, symbol: str, side: Side) -> list[int]:
        """Of each order that such a taker may meet, the best first."""
        return [maker.book_price for maker in self.queue(symbol, side.opposite)]

    def would_trade(self, symbol: str, side: Side, limit: int | None) -> bool:
        return any(crosses(side, limit, price) for price in self.opposing_prices(symbol, side))

    def market_limit(self, order: PlaceOrder) -> int | None:
        """How far a market or stop order may go as things stand."""
        edge = self.instruments[order.symbol].band().edge(order.side)
        return tighter(order.side, terms_of(order).protection_price, edge)

    # Placing

    def place(self, command: PlaceOrder) -> None:
        self.last_order_id += 1
        stop_price = terms_of(command).stop_price
        order = Order(command, self.last_order_id, self.time, command.price, stop_price, command.quantity)
        self.remember(order)
        if order.type in STOP_TYPES:
            self.events.append(OrderAccepted(order.order_id))
            self.orders.append(order)
            self.wait_for_trigger(order)
        elif order.notional is not None:
            self.execute_by_notional(order)
        else:
            self.events.append(OrderAccepted(order.order_id))
            self.execute(order)

    def remember(self, order: Order) -> None:
        """Keep the client's id, and forget the oldest one beyond the window."""
        if order.placed.client_order_id is None:
            return
        name = order.account, order.placed.client_order_id
        self.client_order_ids[name] = Remembered(order.order_id, self.sequence, order.placed)
        if len(self.client_order_ids) > self.limits.client_order_id_window:
            del self.client_order_ids[next(iter(self.client_order_ids))]

    # Executing: the order is the taker, and nowhere until what is left of it rests

    def execute(self, taker: Order) -> None:
        limit = taker.price if taker.type in LIMIT_TYPES else self.market_limit(taker.placed)
        if taker.placed.time_in_force is TimeInForce.FOK and not self.can_fill_completely(taker, limit):
            self.canceled(taker, CancelReason.FILL_OR_KILL)
            return
        edge = self.instruments[taker.symbol].band().edge(taker.side)
        reason = self.trade(taker, limit)
        if taker.remaining:
            reason = reason or self.why_not_rest(taker, edge)
            if reason:
                self.canceled(taker, reason)
            else:
                self.rest(taker)

    def makers(self, taker: Order, limit: int | None) -> list[Order]:
        """Whom the taker may trade with, the first to trade first."""
        queue = self.queue(taker.symbol, taker.side.opposite)
        return [maker for maker in queue if crosses(taker.side, limit, maker.book_price)]

    def trade(self, taker: Order, limit: int | None) -> CancelReason | None:
        """Until nothing more can be traded. The reason, if what is left must not stay."""
        most = self.instruments[taker.symbol].rules.max_quantity
        while makers := self.makers(taker, limit):
            maker = makers[0]
            wanted = taker.wants(maker.book_price, most)
            if not wanted:
                return None
            if not self.fills_left:
                return CancelReason.FILL_LIMIT
            self.fills_left -= 1
            taker.last_met = maker.book_price
            if is_prevented(taker, maker):
                if self.prevent_self_trade(taker, maker):
                    return CancelReason.SELF_TRADE_PREVENTION
            else:
                self.fill(taker, maker, min(wanted, maker.shown))
        return None

    def fill(self, taker: Order, maker: Order, quantity: int) -> None:
        price = maker.book_price
        self.last_trade_id += 1
        self.touched.append(maker.level)
        self.events.append(
            TradeExecuted(self.last_trade_id, taker.symbol, price, quantity, taker.side, maker.order_id, taker.order_id)
        )
        for order in (taker, maker):
            order.fill(quantity, price)
            signed = quantity if order.side is Side.BUY else -quantity
            self.positions[order.account, order.symbol] = self.position(order.account, order.symbol) + signed
        self.use_up(maker, quantity)
        instrument = self.instruments[taker.symbol]
        instrument.last_price, instrument.last_trade_id = price, self.last_trade_id
        self.traded.setdefault(taker.symbol, []).append(price)

    def use_up(self, maker: Order, quantity: int) -> None:
        """Of what it shows. The next slice of an iceberg goes to the back of the queue."""
        maker.shown -= quantity
        if not maker.remaining:
            self.orders.remove(maker)
        elif not maker.shown:
            self.arrive(maker)
            maker.show()

    def can_fill_completely(self, taker: Order, limit: int | None) -> bool:
        """Walks the makers as the taker would, on copies."""
        makers = [copy(maker) for maker in self.makers(taker, limit)]
        missing, turn = taker.remaining, self.arrivals
        for _ in range(self.fills_left):
            if not makers or not missing:
                break
            maker = in_priority(makers)[0]
            if is_prevented(taker, maker):
                if taker.prevention is not SelfTradePrevention.CANCEL_OLDEST:
                    return False
                makers.remove(maker)
                continue
            quantity = min(missing, maker.shown)
            missing -= quantity
            maker.filled += quantity
            maker.shown -= quantity
            if not maker.remaining:
                makers.remove(maker)
            elif not maker.shown:
                turn += 1
                maker.arrived = turn
                maker.show()
        return not missing

    def why_not_rest(self, order: Order, edge: int | None) -> CancelReason | None:
        """`edge` is that of the price band when the execution began."""
        if order.type in LIMIT_TYPES:
            return CancelReason.IMMEDIATE_OR_CANCEL if order.placed.time_in_force is TimeInForce.IOC else None
        if not self.queue(order.symbol, order.side.opposite):
            return CancelReason.NO_LIQUIDITY
        protection = terms_of(order.placed).protection_price
        if protection is not None and tighter(order.side, protection, edge) == protection:
            return CancelReason.PROTECTION_PRICE
        return CancelReason.PRICE_BAND

    def rest(self, order: Order) -> None:
        self.arrive(order)
        order.where = Where.BOOK
        order.show()
        self.touched.append(order.level)
        self.orders.append(order)

    def arrive(self, order: Order) -> None:
        self.arrivals += 1
        order.arrived = self.arrivals

    # A market order by notional

    def execute_by_notional(self, taker: Order) -> None:
        """What it comes to is known, and told with the acceptance, only when it is done."""
        number = len(self.events)
        limit = self.market_limit(taker.placed)
        edge = self.instruments[taker.symbol].band().edge(taker.side)
        taker.last_met = next(iter(self.opposing_prices(taker.symbol, taker.side)), None)
        reason = self.trade(taker, limit)
        if reason or self.could_go_on(taker, limit):
            assert taker.notional is not None
            assert taker.last_met is not None
            left = (taker.notional - taker.filled_notional) // taker.last_met
            taker.quantity = min(taker.filled + max(1, left), MAX_QUANTITY)
            reason = reason or self.why_not_rest(taker, edge)
        elif taker.filled:
            taker.quantity = taker.filled
        else:
            taker.quantity, reason = 1, CancelReason.NO_LIQUIDITY
        self.events.insert(number, OrderAccepted(taker.order_id, taker.quantity))
        if reason:
            self.canceled(taker, reason)

    def could_go_on(self, taker: Order, limit: int | None) -> bool:
        """If there were more to trade with."""
        most = self.instruments[taker.symbol].rules.max_quantity
        if taker.last_met is None or self.makers(taker, limit):
            return False
        return taker.wants(1, most) > 0

    # Self-trade prevention

    def prevent_self_trade(self, taker: Order, maker: Order) -> bool:
        """Whether what is left of the taker is canceled."""
        mode = taker.prevention
        if mode is SelfTradePrevention.DECREMENT and taker.notional is not None:
            mode = SelfTradePrevention.CANCEL_BOTH
        if mode is SelfTradePrevention.DECREMENT:
            return self.decrement(taker, maker)
        if mode is not SelfTradePrevention.CANCEL_NEWEST:
            self.cancel(maker, CancelReason.SELF_TRADE_PREVENTION)
        return mode is not SelfTradePrevention.CANCEL_OLDEST

    def decrement(self, taker: Order, maker: Order) -> bool:
        quantity = min(taker.remaining, maker.remaining)
        if quantity == maker.remaining:
            self.cancel(maker, CancelReason.SELF_TRADE_PREVENTION)
        else:
            self.touched.append(maker.level)
            maker.shrink(maker.quantity - quantity)
            self.events.append(OrderReduced(maker.state()))
        if quantity == taker.remaining:
            return True
        taker.quantity -= quantity
        self.events.append(OrderReduced(taker.state()))
        return False

    # Stops

    def wait_for_trigger(self, order: Order) -> None:
        self.arrive(order)
        order.where = Where.STOPS
        self.notice_if_reached(order)

    def notice_if_reached(self, order: Order) -> None:
        assert order.stop_price is not None
        if self.instruments[order.symbol].has_reached(order.side, order.stop_price):
            self.reached_at_once.append(order)

    def find_reached_stops(self) -> None:
        """After an execution: those that its trades reached, behind those that were reached when they came."""
        for order in self.reached_at_once:
            self.trigger(order)
        for symbol, prices in self.traded.items():
            for order in self.waiting(symbol):
                assert order.stop_price is not None
                if is_reached(order.side, order.stop_price, min(prices), max(prices)):
                    self.trigger(order)
        self.reached_at_once, self.traded = [], {}

    def trigger(self, order: Order) -> None:
        order.where = Where.TRIGGERED
        self.triggered.append((order, self.instruments[order.symbol].last_trade_id))

    def activate(self, order: Order, trade_id: int) -> None:
        self.orders.remove(order)
        order.where = Where.NOWHERE
        order.triggered = True
        self.events.append(OrderTriggered(order.order_id, trade_id))
        self.fills_left = self.limits.max_fills
        self.execute(order)
        self.find_reached_stops()

    # Canceling and amending

    def cancel(self, order: Order, reason: CancelReason) -> None:
        if order.where is Where.BOOK:
            self.touched.append(order.level)
        self.orders.remove(order)
        self.canceled(order, reason)

    def canceled(self, order: Order, reason: CancelReason) -> None:
        order.where = Where.NOWHERE
        self.events.append(OrderCanceled(order.state(), reason))

    def amend(self, command: AmendOrder) -> None:
        order = self.order(command.order_id)
        changed = amended(order, command)
        if changed.quantity <= order.filled:
            self.cancel(order, CancelReason.AMENDED_BELOW_FILLED)
        elif order.where is Where.STOPS:
            self.amend_stop(order, changed.price, changed.stop_price, changed.quantity)
        else:
            self.amend_resting(order, changed.price, changed.quantity)

    def amend_stop(self, order: Order, price: int | None, stop_price: int | None, quantity: int) -> None:
        keeps_place = stop_price == order.stop_price and quantity <= order.quantity
        order.price, order.stop_price, order.quantity = price, stop_price, quantity
        self.events.append(OrderAmended(order.state(), keeps_place))
        if not keeps_place:
            self.arrive(order)
        self.notice_if_reached(order)

    def amend_resting(self, order: Order, price: int | None, quantity: int) -> None:
        keeps_place = price == order.price and quantity <= order.quantity
        self.touched.append(order.level)
        if keeps_place:
            order.shrink(quantity)
            self.events.append(OrderAmended(order.state(), keeps_place))
            return
        self.orders.remove(order)
        order.where = Where.NOWHERE
        order.price, order.quantity = price, quantity
        self.events.append(OrderAmended(order.state(), keeps_place))
        self.execute(order)

    # All or nothing

    def carry_out_items(self, items: tuple[OrderCommand, ...]) -> None:
        for kind in (CancelOrder, AmendOrder, PlaceOrder):
            for number, item in enumerate(items):
                if isinstance(item, kind):
                    self.events.append(ItemStarted(number))
                    self.carry_out(item)

    # Canceling many

    def cancel_orders(self, command: CancelOrders) -> None:
        def fits(order: Order) -> bool:
            return (
                (command.accounts is None or order.account in command.accounts)
                and (command.symbol is None or order.symbol == command.symbol)
                and (command.side is None or order.side is command.side)
                and self.instruments[order.symbol].status is not InstrumentStatus.HALTED
            )

        orders = [order for order in self.orders if fits(order)]
        self.events.append(OrdersCanceled(len(orders)))
        self.cancel_later(orders, CancelReason.REQUESTED)

    def cancel_later(self, orders: Iterable[Order], reason: CancelReason) -> None:
        """As soon as there is room for the events; an order that is to be canceled already needs it once."""
        waiting = [step[0] for step in self.steps if isinstance(step, tuple)]
        by_id = sorted(orders, key=lambda order: order.order_id)
        self.steps += [(order, reason) for order in by_id if order not in waiting]

    def take_step(self, step: Step) -> None:
        if isinstance(step, CancelAllElapsed):
            self.events.append(step)
        else:
            self.cancel(*step)

    def schedule(self, command: CancelAllAfter) -> None:
        self.deadlines.pop(command.account, None)
        if command.delay:
            self.deadlines[command.account] = self.time + command.delay
        self.events.append(CancelAllScheduled(command.account, self.deadlines.get(command.account)))

    def advance_clock(self) -> None:
        due = [(order.expires_at, order.order_id, order) for order in self.orders if order.expires_at is not None]
        expired = [order for expires_at, _, order in sorted(due, key=lambda each: each[:2]) if expires_at <= self.time]
        self.steps += [(order, CancelReason.EXPIRED) for order in expired]
        for deadline, account in sorted((deadline, account) for account, deadline in self.deadlines.items()):
            if deadline <= self.time:
                del self.deadlines[account]
                self.steps.append(CancelAllElapsed(account))
                self.cancel_later(self.orders_of(account), CancelReason.DEAD_MANS_SWITCH)

    # Instruments and accounts

    def define(self, wanted: DefineInstrument) -> None:
        if wanted.symbol in self.instruments:
            self.instruments[wanted.symbol].rules = wanted
        else:
            self.instruments[wanted.symbol] = Instrument(wanted)
        self.events.append(InstrumentDefined(wanted.symbol))

    def set_status(self, command: SetInstrumentStatus) -> None:
        self.instruments[command.symbol].status = command.status
        self.events.append(InstrumentStatusChanged(command.symbol, command.status))
        if command.status is InstrumentStatus.DELISTED:
            orders = [order for order in self.orders if order.symbol == command.symbol]
            self.cancel_later(orders, CancelReason.DELISTED)

    def set_kill_switch(self, command: SetKillSwitch) -> None:
        self.events.append(KillSwitchSet(command.account, command.engaged))
        if command.engaged:
            self.killed.add(command.account)
            self.cancel_later(self.orders_of(command.account), CancelReason.KILL_SWITCH)
        else:
            self.killed.discard(command.account)


def in_priority(orders: list[Order]) -> list[Order]:
    """Of one side: the best price first, then the earliest."""
    return sorted(
        orders, key=lambda order: (-order.book_price if order.side is Side.BUY else order.book_price, order.arrived)
    )


def is_prevented(taker: Order, maker: Order) -> bool:
    return taker.account == maker.account and taker.prevention is not SelfTradePrevention.NONE
