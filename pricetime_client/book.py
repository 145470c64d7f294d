"""A copy of an order book that is kept from a snapshot and the changes after it, and knows when it is none. Pure.

book = LocalBook("BTC-USD")
for message in messages:    # BookSnapshot and BookChange, in the order in which they came
    book.apply(message)
book.best_bid, book.asks()[:5]
"""

from bisect import bisect_left, insort
from collections.abc import Iterable
from decimal import Decimal
from typing import Literal

from pricetime_client.messages import BookChange, BookSnapshot
from pricetime_client.views import Level

BookState = Literal["stale", "live", "resynced"]


class Gap(Exception):
    """The change does not follow what the book has: a snapshot is needed."""


class LocalBook:
    """`state`: "stale" while it may differ from the exchange's (before the first snapshot, and after a connection was
    lost), "resynced" at the first snapshot after that, "live" otherwise. `levels`: of each side; None is all."""

    def __init__(self, symbol: str, levels: int | None = None) -> None:
        self.symbol = symbol
        self.levels = levels
        self.state: BookState = "stale"
        self.resyncs = 0
        """How often it had to begin anew."""
        self.last_sequence = 0
        """Of the journal: the commit after which it is this."""
        self._had_snapshot = False
        self._bids = _Side()
        self._asks = _Side()

    def apply(self, message: BookSnapshot | BookChange) -> None:
        """Raises Gap when something between is missing; the book is stale then."""
        if isinstance(message, BookSnapshot):
            self._begin(message)
            return
        if not self._had_snapshot or message.first_sequence != self.last_sequence + 1:
            self.interrupt()
            raise Gap(f"a change of {self.symbol} begins at {message.first_sequence}, after {self.last_sequence}")
        self._bids.update(message.bids)
        self._asks.update(message.asks)
        self.last_sequence = message.last_sequence
        if self.state == "resynced":
            self.state = "live"

    def interrupt(self) -> None:
        """From now on the exchange's may be another."""
        self.state = "stale"

    def confirm(self) -> None:
        """Nothing was missed after all."""
        if self.state == "stale" and self._had_snapshot:
            self.state = "live"

    def _begin(self, snapshot: BookSnapshot) -> None:
        again = self._had_snapshot and self.state == "stale"
        self.state = "resynced" if again else "live"
        self.resyncs += again
        self._had_snapshot = True
        self._bids, self._asks = _Side(), _Side()
        self._bids.update(snapshot.bids)
        self._asks.update(snapshot.asks)
        self.last_sequence = snapshot.last_sequence

    @property
    def is_live(self) -> bool:
        """Whether it is the exchange's book, as far as can be known."""
        return self.state != "stale"

    @property
    def best_bid(self) -> Level | None:
        return self._bids.highest

    @property
    def best_ask(self) -> Level | None:
        return self._asks.lowest

    def bids(self, limit: int | None = None) -> list[Level]:
        """The best first."""
        return self._bids.falling(limit)

    def asks(self, limit: int | None = None) -> list[Level]:
        """The best first."""
        return self._asks.rising(limit)


class _Side:
    """Quantities by price, and the prices in order."""

    def __init__(self) -> None:
        self._quantities: dict[Decimal, Decimal] = {}
        self._prices: list[Decimal] = []

    def update(self, levels: Iterable[Level]) -> None:
        for price, quantity in levels:
            if quantity:
                if price not in self._quantities:
                    insort(self._prices, price)
                self._quantities[price] = quantity
            elif self._quantities.pop(price, None) is not None:
                del self._prices[bisect_left(self._prices, price)]

    @property
    def highest(self) -> Level | None:
        return self._level(self._prices[-1]) if self._prices else None

    @property
    def lowest(self) -> Level | None:
        return self._level(self._prices[0]) if self._prices else None

    def rising(self, limit: int | None) -> list[Level]:
        return [self._level(price) for price in self._prices[:limit]]

    def falling(self, limit: int | None) -> list[Level]:
        prices = self._prices if limit is None else self._prices[-limit:] if limit else []
        return [self._level(price) for price in reversed(prices)]

    def _level(self, price: Decimal) -> Level:
        return Level(price, self._quantities[price])
