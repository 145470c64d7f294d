"""What the engine must do, written so that it can be checked by reading.

The reference keeps one list of resting orders. To match, it sorts that list; for the levels of an outcome it adds all
orders up again. It shares nothing with matcher/ but the vocabulary of contracts/.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from contracts.messages import (
    CLIENT_ORDER_ID_WINDOW,
    MAX_FILLS,
    MAX_PRICE,
    MAX_QUANTITY,
    MAX_RESTING_ORDERS,
    AmendOrder,
    CancelOrder,
    CancelReason,
    Command,
    DefineInstrument,
    Event,
    InstrumentDefined,
    LevelChanged,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderState,
    OrderType,
    Outcome,
    PlaceOrder,
    Refusal,
    RejectReason,
    Result,
    Side,
    TimeInForce,
    TradeExecuted,
)

SYMBOL = r"[A-Za-z0-9_-]{1,24}"
NAME = r"[A-Za-z0-9_-]{1,64}"
SIZE = r"[0-9]{1,12}(\.[0-9]{1,12})?"

Level = tuple[str, Side, int]
RestingOrder = tuple[Side, int, int, int]
Depth = tuple[list[tuple[int, int]], list[tuple[int, int]]]


@dataclass
class Limits:
    """The constants of contracts/messages.py, so that a test can make them small."""

    max_fills: int = MAX_FILLS
    max_resting_orders: int = MAX_RESTING_ORDERS
    client_order_id_window: int = CLIENT_ORDER_ID_WINDOW


@dataclass(eq=False)
class Order:
    placed: PlaceOrder
    order_id: int
    price: int | None
    quantity: int
    created_at: int
    arrived: int
    """Its place in time: the smaller, the earlier it came to its price."""
    filled: int = 0
    notional: int = 0

    @property
    def remaining(self) -> int:
        return self.quantity - self.filled

    @property
    def symbol(self) -> str:
        return self.placed.symbol

    @property
    def side(self) -> Side:
        return self.placed.side

    @property
    def level(self) -> Level:
        assert self.price is not None
        return self.symbol, self.side, self.price

    def accepts(self, price: int) -> bool:
        """Whether this order, as taker, may trade at a maker's price."""
        if self.price is None:
            return True
        return price <= self.price if self.side is Side.BUY else price >= self.price

    def fill(self, quantity: int, price: int) -> None:
        self.filled += quantity
        self.notional += quantity * price

    def state(self) -> OrderState:
        return OrderState(
            order_id=self.order_id,
            client_order_id=self.placed.client_order_id,
            account=self.placed.account,
            symbol=self.symbol,
            side=self.side,
            type=self.placed.type,
            time_in_force=self.placed.time_in_force,
            post_only=self.placed.post_only,
            price=self.price,
            quantity=self.quantity,
            filled_quantity=self.filled,
            filled_notional=str(self.notional),
            created_at=self.created_at,
        )


@dataclass
class ReferenceEngine:
    limits: Limits = field(default_factory=Limits)
    instruments: dict[str, DefineInstrument] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    client_order_ids: dict[tuple[str, str], int] = field(default_factory=dict)
    last_order_id: int = 0
    last_trade_id: int = 0
    arrivals: int = 0
    touched: list[Level] = field(default_factory=list)

    def apply(self, command: Command, time: int) -> Result:
        self.touched = []
        before = self.totals()
        match command:
            case PlaceOrder():
                answer = self.refuse_place(command) or self.place(command, time)
            case CancelOrder():
                answer = self.cancel(command)
            case AmendOrder():
                answer = self.amend(command)
            case DefineInstrument():
                answer = self.refuse_instrument(command) or self.define(command)
        if isinstance(answer, Refusal):
            assert self.totals() == before
            return answer
        return Outcome(tuple(answer), self.levels_changed(before))

    # What it can be asked

    def depth(self, symbol: str) -> Depth:
        bids: dict[int, int] = {}
        asks: dict[int, int] = {}
        for side, price, _, remaining in self.resting(symbol):
            half = bids if side is Side.BUY else asks
            half[price] = half.get(price, 0) + remaining
        return list(bids.items()), list(asks.items())

    def resting(self, symbol: str) -> list[RestingOrder]:
        queue = self.queue(symbol, Side.BUY) + self.queue(symbol, Side.SELL)
        return [(order.side, order.level[2], order.order_id, order.remaining) for order in queue]

    def queue(self, symbol: str, side: Side) -> list[Order]:
        """The resting orders of one half of a book: the best price first, then the earliest."""
        orders = [order for order in self.orders if order.symbol == symbol and order.side is side]
        better_is_lower = 1 if side is Side.SELL else -1
        return sorted(orders, key=lambda order: (better_is_lower * order.level[2], order.arrived))

    def totals(self) -> dict[Level, int]:
        totals: dict[Level, int] = {}
        for order in self.orders:
            totals[order.level] = totals.get(order.level, 0) + order.remaining
        return totals

    def levels_changed(self, before: dict[Level, int]) -> tuple[LevelChanged, ...]:
        after = self.totals()
        changed = {level for level in before.keys() | after.keys() if before.get(level) != after.get(level)}
        assert changed <= set(self.touched), "a level changed that no order touched"
        return tuple(LevelChanged(*level, after.get(level, 0)) for level in dict.fromkeys(self.touched))

    # Placing

    def refuse_place(self, order: PlaceOrder) -> Refusal | None:
        for reason, name, wrong in self.faults(order):
            if wrong:
                return Refusal(reason, name)
        first = self.client_order_ids.get((order.account, order.client_order_id or ""))
        if order.client_order_id is not None and first is not None:
            return Refusal(RejectReason.DUPLICATE_CLIENT_ORDER_ID, "client_order_id", first)
        if len(self.orders) >= self.limits.max_resting_orders:
            return Refusal(RejectReason.TOO_MANY_ORDERS)
        taker = self.new_order(order, order_id=0, time=0)
        if order.post_only and any(self.makers(taker)):
            return Refusal(RejectReason.POST_ONLY_WOULD_TRADE, "post_only")
        return None

    def faults(self, order: PlaceOrder) -> Iterator[tuple[RejectReason, str, bool]]:
        """Each rule about the command alone, in the order in which they are checked."""
        instrument = self.instruments.get(order.symbol)
        yield RejectReason.UNKNOWN_SYMBOL, "symbol", instrument is None
        assert instrument is not None
        client_order_id = order.client_order_id
        yield RejectReason.INVALID_ACCOUNT, "account", not re.fullmatch(NAME, order.account)
        wrong_id = client_order_id is not None and not re.fullmatch(NAME, client_order_id)
        yield RejectReason.INVALID_CLIENT_ORDER_ID, "client_order_id", wrong_id
        in_range = instrument.min_quantity <= order.quantity <= instrument.max_quantity
        yield RejectReason.QUANTITY_OUT_OF_RANGE, "quantity", not in_range
        is_limit = order.type is OrderType.LIMIT
        yield RejectReason.PRICE_REQUIRED, "price", is_limit and order.price is None
        yield RejectReason.PRICE_NOT_ALLOWED, "price", not is_limit and order.price is not None
        yield RejectReason.PRICE_OUT_OF_RANGE, "price", order.price is not None and not 1 <= order.price <= MAX_PRICE
        may_rest = is_limit and order.time_in_force is TimeInForce.GTC
        yield RejectReason.POST_ONLY_NOT_ALLOWED, "post_only", order.post_only and not may_rest

    def place(self, command: PlaceOrder, time: int) -> list[Event]:
        self.last_order_id += 1
        order = self.new_order(command, self.last_order_id, time)
        self.remember(order)
        events: list[Event] = [OrderAccepted(order.order_id)]
        if command.time_in_force is TimeInForce.FOK and not self.can_fill_completely(order):
            return [*events, OrderCanceled(order.state(), CancelReason.FILL_OR_KILL)]
        return events + self.trade_then_rest(order)

    def new_order(self, command: PlaceOrder, order_id: int, time: int) -> Order:
        self.arrivals += 1
        return Order(command, order_id, command.price, command.quantity, time, self.arrivals)

    def remember(self, order: Order) -> None:
        """Keep the client's id, and forget the oldest one beyond the window."""
        if order.placed.client_order_id is None:
            return
        self.client_order_ids[order.placed.account, order.placed.client_order_id] = order.order_id
        if len(self.client_order_ids) > self.limits.client_order_id_window:
            del self.client_order_ids[next(iter(self.client_order_ids))]

    # Matching

    def makers(self, taker: Order) -> list[Order]:
        """Whom the taker may trade with, the first to trade first."""
        queue = self.queue(taker.symbol, taker.side.opposite)
        return [maker for maker in queue if taker.accepts(maker.level[2])]

    def can_fill_completely(self, order: Order) -> bool:
        reachable = self.makers(order)[: self.limits.max_fills]
        return sum(maker.remaining for maker in reachable) >= order.remaining

    def trade_then_rest(self, taker: Order) -> list[Event]:
        makers = self.makers(taker)
        events: list[Event] = []
        for maker in makers[: self.limits.max_fills]:
            if taker.remaining:
                events.append(self.trade(taker, maker))
        if not taker.remaining:
            return events
        if reason := self.why_not_rest(taker, met_too_many=len(makers) > self.limits.max_fills):
            return [*events, OrderCanceled(taker.state(), reason)]
        self.touched.append(taker.level)
        self.orders.append(taker)
        return events

    def trade(self, taker: Order, maker: Order) -> TradeExecuted:
        self.last_trade_id += 1
        quantity = min(taker.remaining, maker.remaining)
        price = maker.level[2]
        taker.fill(quantity, price)
        maker.fill(quantity, price)
        self.touched.append(maker.level)
        if not maker.remaining:
            self.orders.remove(maker)
        return TradeExecuted(
            self.last_trade_id, taker.symbol, price, quantity, taker.side, maker.order_id, taker.order_id
        )

    def why_not_rest(self, order: Order, *, met_too_many: bool) -> CancelReason | None:
        if met_too_many:
            return CancelReason.FILL_LIMIT
        if order.placed.type is OrderType.MARKET:
            return CancelReason.NO_LIQUIDITY
        if order.placed.time_in_force is TimeInForce.IOC:
            return CancelReason.IMMEDIATE_OR_CANCEL
        return None

    # Canceling and amending

    def find(self, order_id: int) -> Order | None:
        return next((order for order in self.orders if order.order_id == order_id), None)

    def take_out(self, order: Order) -> None:
        self.touched.append(order.level)
        self.orders.remove(order)

    def cancel(self, command: CancelOrder) -> list[Event] | Refusal:
        order = self.find(command.order_id)
        if order is None:
            return Refusal(RejectReason.UNKNOWN_ORDER, "order_id")
        self.take_out(order)
        return [OrderCanceled(order.state(), CancelReason.REQUESTED)]

    def amend(self, command: AmendOrder) -> list[Event] | Refusal:
        order = self.find(command.order_id)
        if order is None:
            return Refusal(RejectReason.UNKNOWN_ORDER, "order_id")
        if refusal := self.refuse_amend(command, order):
            return refusal
        price = order.price if command.price is None else command.price
        quantity = order.quantity if command.quantity is None else command.quantity
        if quantity <= order.filled:
            self.take_out(order)
            return [OrderCanceled(order.state(), CancelReason.AMENDED_BELOW_FILLED)]
        if order.placed.post_only and self.would_trade(order, price):
            return Refusal(RejectReason.POST_ONLY_WOULD_TRADE, "price")
        return self.change(order, price, quantity)

    def refuse_amend(self, command: AmendOrder, order: Order) -> Refusal | None:
        instrument = self.instruments[order.symbol]
        price, quantity = command.price, command.quantity
        if price is None and quantity is None:
            return Refusal(RejectReason.NOTHING_TO_AMEND)
        if quantity is not None and not instrument.min_quantity <= quantity <= instrument.max_quantity:
            return Refusal(RejectReason.QUANTITY_OUT_OF_RANGE, "quantity")
        if price is not None and not 1 <= price <= MAX_PRICE:
            return Refusal(RejectReason.PRICE_OUT_OF_RANGE, "price")
        return None

    def would_trade(self, order: Order, price: int | None) -> bool:
        repriced = Order(order.placed, order.order_id, price, order.quantity, order.created_at, order.arrived)
        return any(self.makers(repriced))

    def change(self, order: Order, price: int | None, quantity: int) -> list[Event]:
        keeps_place = price == order.price and quantity <= order.quantity
        if keeps_place:
            self.touched.append(order.level)
            order.quantity = quantity
            return [OrderAmended(order.state(), priority_kept=True)]
        self.take_out(order)
        self.arrivals += 1
        order.price, order.quantity, order.arrived = price, quantity, self.arrivals
        return [OrderAmended(order.state(), priority_kept=False), *self.trade_then_rest(order)]

    # Instruments

    def refuse_instrument(self, wanted: DefineInstrument) -> Refusal | None:
        if not re.fullmatch(SYMBOL, wanted.symbol):
            return Refusal(RejectReason.INVALID_SYMBOL, "symbol")
        for name in ("tick_size", "lot_size"):
            size = getattr(wanted, name)
            if not re.fullmatch(SIZE, size) or not Decimal(size):
                return Refusal(RejectReason.INVALID_INSTRUMENT, name)
        if not 1 <= wanted.min_quantity <= wanted.max_quantity:
            return Refusal(RejectReason.INVALID_INSTRUMENT, "min_quantity")
        if wanted.max_quantity > MAX_QUANTITY:
            return Refusal(RejectReason.INVALID_INSTRUMENT, "max_quantity")
        listed = self.instruments.get(wanted.symbol, wanted)
        for name in ("tick_size", "lot_size"):
            if Decimal(getattr(listed, name)) != Decimal(getattr(wanted, name)):
                return Refusal(RejectReason.INSTRUMENT_RULES_FIXED, name)
        return None

    def define(self, wanted: DefineInstrument) -> list[Event]:
        self.instruments[wanted.symbol] = wanted
        return [InstrumentDefined(wanted.symbol)]
