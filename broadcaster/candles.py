"""The candles of one symbol that are being formed, one of each interval. Pure; the clock is an argument.

A trade goes into the candle of its second only; the longer ones take whole seconds, and are put together with the
second that is not over when somebody looks. So a trade costs the same however many intervals there are.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from contracts.candles import INTERVALS, Candle, interval_start

GRACE = 2_000_000
"""A candle counts as complete when the journal has gone past its end, or the clock has by so many microseconds: until
then a commit from before may still be on its way."""
_SHORTEST = "1s"
_LONGER = {name: length for name, length in INTERVALS.items() if name != _SHORTEST}
_KEPT_COMPLETE = 1_000


class Formed(NamedTuple):
    interval: str
    candle: Candle
    is_complete: bool


class Candles:
    def __init__(self, whole_seconds: Mapping[str, Candle] | None = None, second: Candle | None = None) -> None:
        self.whole_seconds: dict[str, Candle] = dict(whole_seconds or {})
        """By interval, without the latest second."""
        self.second = second
        self._complete: deque[Formed] = deque(maxlen=_KEPT_COMPLETE)
        self._told: dict[str, tuple[int, int, bool]] = {}
        self.due = 0
        """When the next candle may be complete, if no more trades come."""

    def add(self, time: int, price: int, quantity: int) -> None:
        start = interval_start(time, INTERVALS[_SHORTEST])
        if self.second is None:
            self.second = Candle.of(start, price, quantity)
        elif self.second.open_time == start:
            self.second.add(price, quantity)
        else:
            self._turn(self.second)
            self.second = Candle.of(start, price, quantity)
            self._retire(start)

    def _turn(self, second: Candle) -> None:
        """The second is over: the longer candles take it."""
        self._complete.append(Formed(_SHORTEST, second, True))
        for name, length in _LONGER.items():
            self.whole_seconds[name] = _joined(self.whole_seconds.get(name), second, length)

    def _retire(self, start: int) -> None:
        """A trade has come at `start`: longer candles that ended before it are complete."""
        for name, length in _LONGER.items():
            candle = self.whole_seconds.get(name)
            if candle is not None and candle.open_time + length <= start:
                self._complete.append(Formed(name, candle, True))
                del self.whole_seconds[name]

    def current(self, now: int) -> Iterator[Formed]:
        """The latest candle of each interval that has one; `now` is the time until which all trades are known."""
        if self.second is None:
            return
        for name, length in INTERVALS.items():
            is_shortest = name == _SHORTEST
            candle = self.second if is_shortest else _joined(self.whole_seconds.get(name), self.second, length)
            yield Formed(name, candle, candle.open_time + length <= now)

    def news(self, now: int) -> list[Formed]:
        """What has changed since it was asked last: complete candles, then the ones being formed."""
        fresh = [formed for formed in self._complete if self._told.get(formed.interval) != _seen(formed)]
        self._complete.clear()
        self.due = 2**63
        for formed in self.current(now):
            if self._told.get(formed.interval) != _seen(formed):
                self._told[formed.interval] = _seen(formed)
                fresh.append(formed)
            if not formed.is_complete:
                self.due = min(self.due, formed.candle.open_time + INTERVALS[formed.interval])
        return fresh


def _seen(formed: Formed) -> tuple[int, int, bool]:
    return formed.candle.open_time, formed.candle.trades, formed.is_complete


def _joined(candle: Candle | None, second: Candle, length: int) -> Candle:
    """The candle with one more second; a new one if the second is not within it."""
    start = interval_start(second.open_time, length)
    if candle is None or candle.open_time != start:
        return replace(second, open_time=start)
    return Candle(
        start,
        candle.open,
        max(candle.high, second.high),
        min(candle.low, second.low),
        second.close,
        candle.volume + second.volume,
        candle.trades + second.trades,
    )
