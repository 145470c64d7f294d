"""One symbol's order book: who rests where, in which order.

Pure. A price level is a doubly linked queue of orders, so adding at an existing level and canceling anywhere are O(1);
a new price costs O(log levels). Both sides are the same code: a side sorts its levels by their key, `price * sign`,
with sign -1 for asks, so the best level always has the highest and "not worse than a limit" is one comparison of keys.
"""

from collections import deque
from collections.abc import Iterator
from itertools import islice

from msgspec import Struct

from contracts.messages import (
    MAX_PRICE,
    InstrumentStatus,
    LevelChanged,
    OrderState,
    OrderType,
    PlaceOrder,
    Side,
    SymbolLimits,
    Terms,
    TimeInForce,
)
from contracts.orders import accepted_terms
from contracts.views import Instrument
from matcher.ordered import Groups, Keys

BUY = Side.BUY
LIMIT, MARKET = OrderType.LIMIT, OrderType.MARKET
GTC, GTD, DAY, IOC, FOK = TimeInForce.GTC, TimeInForce.GTD, TimeInForce.DAY, TimeInForce.IOC, TimeInForce.FOK
TRADING, POST_ONLY = InstrumentStatus.TRADING, InstrumentStatus.POST_ONLY
CANCEL_ONLY, HALTED = InstrumentStatus.CANCEL_ONLY, InstrumentStatus.HALTED
"""What every order is asked for, by short names: Python 3.11 runs code of its own to find a member in its class, and
takes ten times as long."""
LIMIT_TYPES = (OrderType.LIMIT, OrderType.STOP_LIMIT)
STOP_TYPES = (OrderType.STOP, OrderType.STOP_LIMIT)


class Account:
    """What the engine knows of an account over all symbols."""

    __slots__ = ("deadline", "holdings", "is_free", "killed", "max_open_orders", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.holdings: list[Holding] = []
        self.killed = False
        self.deadline: int | None = None
        """When its dead-man's switch goes off."""
        self.max_open_orders: int | None = None
        self.is_free = True
        """Without any limit, and not killed? Asked for every order, so kept apart."""

    def note_limits(self) -> None:
        """To be called whenever one of them, or the kill switch, is another."""
        has_limits = any(holding.limits is not None for holding in self.holdings)
        self.is_free = not (self.killed or has_limits or self.max_open_orders is not None)

    @property
    def orders(self) -> "Iterator[Order]":
        """Its open orders: in a book, or stops that wait."""
        for holding in self.holdings:
            yield from holding.orders.values()

    @property
    def open_orders(self) -> int:
        total = 0
        for holding in self.holdings:
            total += len(holding.orders)
        return total


class Holding:
    """An account in one symbol: its open orders, what it has bought (sold, when negative), and what it may."""

    __slots__ = ("account", "book", "limits", "orders", "position", "symbol", "waiting")

    def __init__(self, account: Account, book: "OrderBook") -> None:
        self.account = account
        self.book = book
        self.symbol = book.instrument.symbol
        """The one string that all its orders share: a million of them would take 60 MB."""
        self.orders: dict[int, Order] = {}
        self.position = 0
        self.limits: SymbolLimits | None = None
        self.waiting: dict[Side, int] | None = None
        """What its open orders may still fill, by side. Only known of one with limits: nothing else asks for it."""
        account.holdings.append(self)

    def limit(self, limits: SymbolLimits | None) -> None:
        """Let these limits apply from now on."""
        self.limits = limits
        self.waiting = None if limits is None else self._waiting()

    def allows(self, side: Side, quantity: int, price: int) -> bool:
        """Is a limit order within all limits? (`checks` says which of them it is not.)"""
        limits, account = self.limits, self.account
        if account.killed or (account.max_open_orders is not None and account.open_orders >= account.max_open_orders):
            return False
        if limits is None:
            return True
        assert self.waiting is not None
        most, most_notional, most_held = limits.max_order_quantity, limits.max_order_notional, limits.max_position
        held = self.position if side is BUY else -self.position
        return (
            (most is None or quantity <= most)
            and (most_notional is None or quantity * price <= most_notional)
            and (most_held is None or held + self.waiting[side] + quantity <= most_held)
        )

    def wait(self, side: Side, more: int) -> None:
        """Its open orders of this side may fill so much more (less, when negative)."""
        if self.waiting is not None:
            self.waiting[side] += more

    def _waiting(self) -> dict[Side, int]:
        waiting = dict.fromkeys(Side, 0)
        for order in self.orders.values():
            waiting[order.side] += order.remaining
        return waiting

    def check(self) -> None:
        """Assert that what is kept beside the orders agrees with them."""
        assert (self.waiting is None) is (self.limits is None), "what waits is known without need, or not known"
        assert self.waiting in (None, self._waiting()), "a sum of open orders that drifted"


class Order(Struct, eq=False):
    """An order while the engine works on it, in the book or on its way there.

    A Struct is made in half the time that a class of ours takes; `level` and the links mean nothing once it has left.
    """

    order_id: int
    client_order_id: str | None
    holding: Holding
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    post_only: bool
    price: int | None
    quantity: int
    remaining: int
    created_at: int
    level: "PriceLevel | None" = None
    previous: "Order | None" = None
    next: "Order | None" = None
    notional: int = 0
    hidden: int = 0
    """How much of what remains the book does not show."""
    terms: Terms | None = None
    triggered: bool = False

    @classmethod
    def restored(cls, state: OrderState, hidden: int, holding: Holding) -> "Order":
        """As `state` and `hidden` told of an order that was in the book or among the stops, on its way back there."""
        return cls(
            state.order_id,
            state.client_order_id,
            holding,
            state.side,
            state.type,
            state.time_in_force,
            state.post_only,
            state.price,
            state.quantity,
            state.quantity - state.filled_quantity,
            state.created_at,
            notional=int(state.filled_notional),
            hidden=hidden,
            terms=state.terms,
            triggered=state.triggered,
        )

    def state(self) -> OrderState:
        holding = self.holding
        return OrderState(
            self.order_id,
            self.client_order_id,
            holding.account.name,
            holding.symbol,
            self.side,
            self.type,
            self.time_in_force,
            self.post_only,
            self.price,
            self.quantity,
            self.quantity - self.remaining,
            str(self.notional) if self.notional else "0",
            self.created_at,
            self.terms,
            self.triggered,
        )

    @property
    def symbol(self) -> str:
        return self.holding.symbol

    @property
    def filled(self) -> int:
        return self.quantity - self.remaining

    @property
    def shown(self) -> int:
        return self.remaining - self.hidden

    @property
    def stop_price(self) -> int | None:
        return None if self.terms is None else self.terms.stop_price

    @property
    def display_quantity(self) -> int | None:
        return None if self.terms is None else self.terms.display_quantity

    @property
    def expires_at(self) -> int | None:
        return None if self.terms is None else self.terms.expires_at

    @property
    def waits_for_trigger(self) -> bool:
        return self.type is not LIMIT and self.type in STOP_TYPES and not self.triggered

    def show_next_slice(self) -> None:
        """Hide what is beyond the display quantity."""
        display = self.display_quantity
        self.hidden = 0 if display is None else max(0, self.remaining - display)

    def reduce(self, quantity: int) -> int:
        """Take from quantity and remainder, the hidden part first; how much less the book shows."""
        self.quantity -= quantity
        self.remaining -= quantity
        from_hidden = min(self.hidden, quantity)
        self.hidden -= from_hidden
        return quantity - from_hidden


def accepted_order(command: PlaceOrder, order_id: int, time: int, holding: Holding) -> Order:
    """As accepted at `time`, before any fill."""
    return Order(
        order_id,
        command.client_order_id,
        holding,
        command.side,
        command.type,
        command.time_in_force,
        command.post_only,
        command.price,
        command.quantity,
        command.quantity,
        time,
        terms=command.terms if command.time_in_force is not DAY else accepted_terms(command, time),
    )


class PriceLevel:
    """The orders at one price, the first to trade first. `quantity` is the sum of what they show."""

    __slots__ = ("head", "key", "price", "quantity", "side", "tail")

    def __init__(self, side: "BookSide", price: int) -> None:
        self.side = side
        self.price = price
        self.key = price * side.sign
        self.quantity = 0
        self.head: Order | None = None
        self.tail: Order | None = None

    def __iter__(self) -> Iterator[Order]:
        order = self.head
        while order is not None:
            yield order
            order = order.next

    def changed(self) -> LevelChanged:
        """What is told of it."""
        return LevelChanged(self.side.symbol, self.side.side, self.price, self.quantity)

    def append(self, order: Order) -> None:
        order.level = self
        order.next = None
        order.previous = tail = self.tail
        if tail is None:
            self.head = order
        else:
            tail.next = order
        self.tail = order
        self.quantity += order.remaining - order.hidden

    def unlink(self, order: Order) -> None:
        """Take the order out of the queue; what it shows must still be part of the total."""
        before, after = order.previous, order.next
        if before is None:
            self.head = after
        else:
            before.next = after
        if after is None:
            self.tail = before
        else:
            after.previous = before
        self.quantity -= order.remaining - order.hidden

    def fill_iceberg(self, order: Order, quantity: int) -> None:
        """Take from what an iceberg shows. When its slice is used up it shows the next one, at the back."""
        if quantity < order.shown:
            order.remaining -= quantity
            self.quantity -= quantity
        else:
            self.unlink(order)
            order.remaining -= quantity
            order.show_next_slice()
            self.append(order)

    def slices(self) -> Iterator[tuple[Order, int, bool]]:
        """What an incoming order would meet here, in order: order, quantity, and whether for the first time."""
        hidden: deque[tuple[Order, int]] = deque()
        for order in self:
            yield order, order.remaining - order.hidden, True
            if order.hidden:
                hidden.append((order, order.hidden))
        while hidden:
            order, rest = hidden.popleft()
            shown = min(order.display_quantity or rest, rest)
            yield order, shown, False
            if rest > shown:
                hidden.append((order, rest - shown))


class BookSide:
    """The price levels of the bids or of the asks. `best` is the first of them, or None."""

    __slots__ = ("best", "keys", "levels", "side", "sign", "symbol")

    def __init__(self, symbol: str, side: Side) -> None:
        self.symbol = symbol
        self.side = side
        self.sign = 1 if side is BUY else -1
        self.levels: dict[int, PriceLevel] = {}
        """By price."""
        self.keys = Keys()
        self.best: PriceLevel | None = None

    def add(self, order: Order, price: int) -> PriceLevel:
        """Let the order rest at the back of its price level."""
        level = self.levels.get(price) or self.new_level(price)
        order.price = level.price  # the same number, as the one object that all orders of the level share
        level.append(order)
        return level

    def new_level(self, price: int) -> PriceLevel:
        level = self.levels[price] = PriceLevel(self, price)
        self.keys.add(level.key)
        if self.best is None or level.key > self.best.key:
            self.best = level
        return level

    def drop(self, level: PriceLevel) -> None:
        """A level whose last order has left goes."""
        level.tail = None
        del self.levels[level.price]
        self.keys.remove(level.key)
        if level is self.best:
            near = self.keys.near
            self.best = self.levels[near[-1] * self.sign] if near else None

    def sorted_levels(self) -> Iterator[PriceLevel]:
        """The best first."""
        return (self.levels[key * self.sign] for key in self.keys)

    def reaches(self, limit: int | None) -> bool:
        """Would an incoming order with this limit (None: any price) trade with this side?"""
        return self.best is not None and (limit is None or self.best.key >= limit * self.sign)

    def slices(self, limit: int | None) -> Iterator[tuple[Order, int, bool]]:
        """What an incoming order with this limit would meet, in order; see PriceLevel.slices."""
        for level in self.sorted_levels():
            if limit is not None and level.key < limit * self.sign:
                return
            yield from level.slices()

    def depth(self, levels: int | None = None) -> list[tuple[int, int]]:
        """(price, quantity) of the best levels, best first."""
        return [(level.price, level.quantity) for level in islice(self.sorted_levels(), levels)]

    def __iter__(self) -> Iterator[Order]:
        """Every order, in the order in which they would trade."""
        for level in self.sorted_levels():
            order = level.head
            while order is not None:
                yield order
                order = order.next


class Stops:
    """The stop orders of one symbol that no trade has reached, the nearest first."""

    __slots__ = ("buys", "count", "sells")

    def __init__(self) -> None:
        self.buys: Groups[int, Order] = Groups()
        """By the negated stop price: that of a buyer is reached from below."""
        self.sells: Groups[int, Order] = Groups()
        """By stop price."""
        self.count = 0

    def __iter__(self) -> Iterator[Order]:
        yield from self.buys
        yield from self.sells

    def add(self, order: Order) -> None:
        side, key = self._place_of(order)
        side.add(key, order.order_id, order)
        self.count += 1

    def remove(self, order: Order) -> None:
        side, key = self._place_of(order)
        side.remove(key, order.order_id)
        self.count -= 1

    def are_reached(self, price: int, other: int) -> bool:
        """Does a trade at the one or the other price trigger any?"""
        buys, sells = self.buys.keys.near, self.sells.keys.near
        return bool(buys and -buys[-1] <= max(price, other)) or bool(sells and sells[-1] >= min(price, other))

    def reached(self, lowest: int, highest: int) -> list[Order]:
        """Take out every stop that a trade within these prices triggers: the nearest first, buys before sells."""
        found = [*self.buys.down_to(-highest), *self.sells.down_to(lowest)]
        for order in found:
            self.remove(order)
        return found

    def _place_of(self, order: Order) -> tuple[Groups[int, Order], int]:
        assert order.stop_price is not None
        return (self.buys, -order.stop_price) if order.side is BUY else (self.sells, order.stop_price)


class OrderBook:
    """All of one instrument: its rules, both sides, the stops that wait, and who holds what."""

    __slots__ = (
        "_band",
        "_band_around",
        "_highest",
        "_lowest",
        "asks",
        "bids",
        "holdings",
        "instrument",
        "is_free",
        "last_price",
        "last_trade_id",
        "status",
        "stops",
    )

    def __init__(self, instrument: Instrument) -> None:
        self.last_price: int | None = None
        self.last_trade_id = 0
        self.rule(instrument)
        self.bids = BookSide(instrument.symbol, Side.BUY)
        self.asks = BookSide(instrument.symbol, Side.SELL)
        self.stops = Stops()
        self.holdings: dict[str, Holding] = {}

    def rule(self, instrument: Instrument) -> None:
        """Let these rules apply from now on."""
        self.instrument = instrument
        self.status = instrument.status
        self.is_free = (
            instrument.status is TRADING
            and instrument.lowest_price is instrument.highest_price is instrument.band_basis_points is None
        )
        """Is it trading, without any band? Asked for every order, so kept apart."""
        self._move_band()

    def takes(self, price: int) -> bool:
        """Is it trading, and the price within the band?"""
        if self.last_price != self._band_around:
            self._move_band()
        return self.status is TRADING and self._lowest <= price <= self._highest

    def has_reached(self, side: Side, stop_price: int) -> bool:
        """Does the last trade trigger a stop order of this side at once?"""
        if self.last_price is None:
            return False
        return self.last_price >= stop_price if side is BUY else self.last_price <= stop_price

    def band(self) -> tuple[int | None, int | None]:
        """The lowest and highest price that an order may have now; None where there is no bound."""
        if self.last_price != self._band_around:
            self._move_band()
        return self._band

    def _move_band(self) -> None:
        """To around the last price."""
        rules, self._band_around = self.instrument, self.last_price
        lowest, highest = rules.lowest_price, rules.highest_price
        if rules.band_basis_points is not None and self.last_price is not None:
            low = max(1, -(-self.last_price * (10_000 - rules.band_basis_points) // 10_000))
            high = self.last_price * (10_000 + rules.band_basis_points) // 10_000
            lowest = low if lowest is None else max(lowest, low)
            highest = high if highest is None else min(highest, high)
        self._band = lowest, highest
        self._lowest = 0 if lowest is None else lowest
        self._highest = MAX_PRICE if highest is None else highest

    def own(self, side: Side) -> BookSide:
        """Where an order of this side rests."""
        return self.bids if side is BUY else self.asks

    def makers(self, side: Side) -> BookSide:
        """What an incoming order of this side trades with."""
        return self.asks if side is BUY else self.bids

    def __iter__(self) -> Iterator[Order]:
        yield from self.bids
        yield from self.asks

    def check(self) -> None:
        """Assert every invariant of the structure."""
        for side in (self.bids, self.asks):
            keys = list(side.keys)
            assert keys == sorted((level.key for level in side.levels.values()), reverse=True), "keys of other levels"
            assert all((key >= side.keys.lowest) is (key in side.keys.near) for key in keys), "a key at the wrong end"
            assert bool(side.keys.near) == bool(keys), "nothing near, though there are levels"
            assert side.best is next(side.sorted_levels(), None), "the best level is not the first"
            for price, level in side.levels.items():
                _check_level(side, price, level)
        for order in self.stops:
            assert order.waits_for_trigger, "an order among the stops that is none"
            assert order.level is None, "a stop that rests in the book as well"
            assert order.stop_price is not None
            assert not self.has_reached(order.side, order.stop_price), "a stop that the last trade has reached"
        assert self.stops.count == len(list(self.stops)), "a number of stops that drifted"
        for holding in self.holdings.values():
            holding.check()
        if self.bids.best and self.asks.best:
            assert self.bids.best.price < self.asks.best.price, "the book is crossed"


def _check_level(side: BookSide, price: int, level: PriceLevel) -> None:
    orders = list(level)
    assert orders, "an empty price level"
    assert price == level.price, "a level under a foreign price"
    assert level.key == price * side.sign, "a level with a foreign key"
    assert level.side is side, "a level that does not know its side"
    assert level.quantity == sum(order.shown for order in orders), "a level total that drifted"
    assert level.tail is orders[-1], "a queue whose tail is not its last order"
    for before, order in zip([None, *orders], orders, strict=False):
        assert order.previous is before, "a queue linked one way only"
        assert order.level is level, "an order that does not know its level"
        assert order.price == level.price, "an order at a foreign price"
        assert order.side is side.side, "an order on the wrong side"
        assert 0 < order.remaining <= order.quantity, "a resting order with nothing left"
        assert 0 <= order.hidden < order.remaining, "a resting order that shows nothing"
