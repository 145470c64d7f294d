"""Candles: the trades of an interval as open, high, low and close price, volume and number. Pure.

Prices in ticks, volume in lots, times in microseconds. Intervals are counted from 1970-01-01 UTC, so a day is the UTC
day. A trade belongs to the interval that holds the time of its commit: `open_time` <= time < `open_time` + length.
"""

from msgspec import Struct
from msgspec.structs import replace

_SECOND = 1_000_000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE

INTERVALS = {
    "1s": _SECOND,
    "5s": 5 * _SECOND,
    "15s": 15 * _SECOND,
    "1m": _MINUTE,
    "5m": 5 * _MINUTE,
    "15m": 15 * _MINUTE,
    "1h": _HOUR,
    "4h": 4 * _HOUR,
    "1d": 24 * _HOUR,
}
"""Every interval by its name, with its length; each divides all longer ones of at least a minute."""


class Candle(Struct, gc=False):
    """Grows trade by trade, in the order of their ids."""

    open_time: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    trades: int

    @classmethod
    def of(cls, open_time: int, price: int, quantity: int) -> "Candle":
        """The candle of an interval's first trade."""
        return cls(open_time, price, price, price, price, quantity, 1)

    def add(self, price: int, quantity: int) -> None:
        if price > self.high:
            self.high = price
        elif price < self.low:
            self.low = price
        self.close = price
        self.volume += quantity
        self.trades += 1

    def extend(self, later: "Candle") -> None:
        """Take in a candle of trades that all came after these."""
        self.high = max(self.high, later.high)
        self.low = min(self.low, later.low)
        self.close = later.close
        self.volume += later.volume
        self.trades += later.trades

    def starting(self, open_time: int) -> "Candle":
        """A copy with another beginning: that of a longer interval."""
        return replace(self, open_time=open_time)


def interval_start(time: int, length: int) -> int:
    """When the interval of this length began that holds `time`.

    >>> interval_start(125_000_000, INTERVALS["1m"])
    120000000
    """
    return time - time % length
