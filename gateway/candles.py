"""Which candles are asked for, and of which stored ones are they made? Pure.

Postgres holds candles of a second, a minute and an hour; every other is made of at most 24 of them.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from contracts.candles import INTERVALS
from entry.problems import declined, quoted
from gateway.pages import Query, moment, page_limit

DEFAULT_INTERVAL = "1m"
FILTERS = ("interval", "from", "to", "limit")

_STORED = (3600, 60, 1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class CandleRange:
    """Candles that open in `start` <= time < `end`: the first `limit` of them if there is a start, else the last."""

    interval: str
    start: datetime | None
    end: datetime | None
    limit: int

    @property
    def seconds(self) -> int:
        return INTERVALS[self.interval] // 1_000_000

    @property
    def stored_seconds(self) -> int:
        """Length of the stored candles that these are made of."""
        return next(length for length in _STORED if self.seconds % length == 0)

    @property
    def stored_limit(self) -> int:
        """So many stored candles are sure to hold the first `limit` whole ones."""
        return self.limit * (self.seconds // self.stored_seconds)


def candle_range(query: Query) -> CandleRange:
    """Raises Declined when a parameter cannot be right."""
    interval = query.get("interval", DEFAULT_INTERVAL)
    if interval not in INTERVALS:
        raise declined(
            "invalid_parameter", f"interval must be one of {', '.join(INTERVALS)}, not {quoted(interval)}.", "interval"
        )
    length = timedelta(microseconds=INTERVALS[interval])
    return CandleRange(
        interval,
        _next_opening(moment(query, "from"), length),
        _next_opening(moment(query, "to"), length),
        page_limit(query),
    )


def _next_opening(time: datetime | None, length: timedelta) -> datetime | None:
    """The first opening at or after `time`: what opens before it does not belong to the range, nor is it cut."""
    if time is None:
        return None
    after = (time - _EPOCH) % length
    if not after:
        return time
    try:
        return time - after + length
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)
