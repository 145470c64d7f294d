"""One symbol's order book: who rests where, in which order.

Pure. A price level is a doubly linked queue of orders, so adding at an existing level and canceling anywhere are O(1);
a new price costs O(log levels). Both sides are the same code: a side sorts its levels by `price * sign`, with sign -1
for bids, so the best level always comes first and "not worse than a limit" is one comparison of keys.
"""

from collections.abc import Iterator

from sortedcontainers import SortedDict

from contracts.messages import OrderState, OrderType, Side, TimeInForce
from contracts.views import Instrument


class Order:
    """An order while the engine works on it, in the book or on its way there."""

    __slots__ = (
        "account",
        "client_order_id",
        "created_at",
        "level",
        "next",
        "notional",
        "order_id",
        "post_only",
        "previous",
        "price",
        "quantity",
        "remaining",
        "side",
        "symbol",
        "time_in_force",
        "type",
    )

    def __init__(self, state: OrderState) -> None:
        self.order_id = state.order_id
        self.client_order_id = state.client_order_id
        self.account = state.account
        self.symbol = state.symbol
        self.side = state.side
        self.type: OrderType = state.type
        self.time_in_force: TimeInForce = state.time_in_force
        self.post_only = state.post_only
        self.price = state.price
        self.quantity = state.quantity
        self.remaining = state.quantity - state.filled_quantity
        self.notional = int(state.filled_notional)
        self.created_at = state.created_at
        self.level: PriceLevel | None = None
        self.previous: Order | None = None
        self.next: Order | None = None

    @property
    def state(self) -> OrderState:
        return OrderState(
            self.order_id,
            self.client_order_id,
            self.account,
            self.symbol,
            self.side,
            self.type,
            self.time_in_force,
            self.post_only,
            self.price,
            self.quantity,
            self.quantity - self.remaining,
            str(self.notional),
            self.created_at,
        )


class PriceLevel:
    """The orders at one price, oldest first. `quantity` is the sum of what remains of them."""

    __slots__ = ("head", "key", "price", "quantity", "tail")

    def __init__(self, price: int, key: int) -> None:
        self.price = price
        self.key = key
        self.quantity = 0
        self.head: Order | None = None
        self.tail: Order | None = None

    def __iter__(self) -> Iterator[Order]:
        order = self.head
        while order is not None:
            yield order
            order = order.next

    def append(self, order: Order) -> None:
        order.level = self
        tail = self.tail
        if tail is None:
            self.head = order
        else:
            tail.next = order
            order.previous = tail
        self.tail = order
        self.quantity += order.remaining

    def unlink(self, order: Order) -> None:
        """Take the order out of the queue; its remaining quantity must still be part of the total."""
        before, after = order.previous, order.next
        if before is None:
            self.head = after
        else:
            before.next = after
        if after is None:
            self.tail = before
        else:
            after.previous = before
        order.level = order.previous = order.next = None
        self.quantity -= order.remaining


class BookSide:
    """The price levels of the bids or of the asks. `best` is the first of them, or None."""

    __slots__ = ("best", "levels", "side", "sign")

    def __init__(self, side: Side) -> None:
        self.side = side
        self.sign = -1 if side is Side.BUY else 1
        self.levels: SortedDict[int, PriceLevel] = SortedDict()
        self.best: PriceLevel | None = None

    def add(self, order: Order) -> PriceLevel:
        """Let the order rest at the back of its price level."""
        assert order.price is not None
        key = order.price * self.sign
        level: PriceLevel | None = self.levels.get(key)
        if level is None:
            level = self.levels[key] = PriceLevel(order.price, key)
            if self.best is None or key < self.best.key:
                self.best = level
        level.append(order)
        return level

    def remove(self, order: Order) -> PriceLevel:
        """Take a resting order out; its price level goes with the last one."""
        level = order.level
        assert level is not None
        level.unlink(order)
        if level.head is None:
            del self.levels[level.key]
            if level is self.best:
                self.best = next(iter(self.levels.values()), None)
        return level

    def reaches(self, limit: int | None) -> bool:
        """Would an incoming order with this limit (None: any price) trade with this side?"""
        return self.best is not None and (limit is None or self.best.key <= limit * self.sign)

    def can_fill(self, quantity: int, limit: int | None, most_makers: int) -> bool:
        """Is there enough for `quantity` within the limit, from at most this many makers?"""
        for level in self.levels.values():
            if limit is not None and level.key > limit * self.sign:
                return False
            for order in level:
                quantity -= order.remaining
                most_makers -= 1
                if quantity <= 0:
                    return True
                if most_makers == 0:
                    return False
        return False

    def depth(self, levels: int | None = None) -> list[tuple[int, int]]:
        """(price, quantity) of the best levels, best first."""
        return [(level.price, level.quantity) for level in self.levels.values()[:levels]]

    def __iter__(self) -> Iterator[Order]:
        """Every order, in the order in which they would trade."""
        for level in self.levels.values():
            yield from level


class OrderBook:
    """Both sides of one instrument."""

    __slots__ = ("asks", "bids", "instrument")

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.bids = BookSide(Side.BUY)
        self.asks = BookSide(Side.SELL)

    def own(self, side: Side) -> BookSide:
        """Where an order of this side rests."""
        return self.bids if side is Side.BUY else self.asks

    def makers(self, side: Side) -> BookSide:
        """What an incoming order of this side trades with."""
        return self.asks if side is Side.BUY else self.bids

    def __iter__(self) -> Iterator[Order]:
        yield from self.bids
        yield from self.asks

    def check(self) -> None:
        """Assert every invariant of the structure."""
        for side in (self.bids, self.asks):
            first = side.levels.peekitem(0)[1] if side.levels else None
            assert side.best is first, "the best level is not the first"
            for key, level in side.levels.items():
                _check_level(side, key, level)
        if self.bids.best and self.asks.best:
            assert self.bids.best.price < self.asks.best.price, "the book is crossed"


def _check_level(side: BookSide, key: int, level: PriceLevel) -> None:
    orders = list(level)
    assert orders, "an empty price level"
    assert key == level.key == level.price * side.sign, "a level under a foreign key"
    assert level.quantity == sum(order.remaining for order in orders), "a level total that drifted"
    assert level.tail is orders[-1], "a queue whose tail is not its last order"
    for before, order in zip([None, *orders], orders, strict=False):
        assert order.previous is before, "a queue linked one way only"
        assert order.level is level, "an order that does not know its level"
        assert order.price == level.price, "an order at a foreign price"
        assert order.side is side.side, "an order on the wrong side"
        assert 0 < order.remaining <= order.quantity, "a resting order with nothing left"
