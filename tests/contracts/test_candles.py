"""Candles grow trade by trade; intervals begin where clocks say."""

from itertools import pairwise

import pytest

from contracts.candles import INTERVALS, Candle, interval_start
from contracts.views import Instrument, candle_view

MINUTE = INTERVALS["1m"]
DAY = INTERVALS["1d"]


def test_a_candle_grows_trade_by_trade() -> None:
    candle = Candle.of(MINUTE, 100, 3)
    for price, quantity in ((104, 1), (97, 2), (101, 5)):
        candle.add(price, quantity)
    assert candle == Candle(MINUTE, open=100, high=104, low=97, close=101, volume=11, trades=4)


@pytest.mark.parametrize(("time", "start"), [(0, 0), (1, 0), (MINUTE - 1, 0), (MINUTE, MINUTE), (DAY + 1, DAY)])
def test_an_interval_holds_its_first_moment_and_not_the_next_ones(time: int, start: int) -> None:
    assert interval_start(time, MINUTE) == start


def test_longer_candles_are_made_of_whole_minutes() -> None:
    minutes = [length for length in INTERVALS.values() if length >= MINUTE]
    assert all(longer % shorter == 0 for shorter, longer in pairwise(minutes))


def test_the_view_shows_decimals_and_both_ends() -> None:
    instrument = Instrument("BTC-USD", "0.01", "0.001", 1, 10)
    view = candle_view(Candle(MINUTE, 100, 104, 97, 101, 11, 4), "1m", instrument, is_complete=True)
    assert (view.open, view.high, view.low, view.close) == ("1.00", "1.04", "0.97", "1.01")
    assert (view.volume, view.trades, view.is_complete) == ("0.011", 4, True)
    assert (view.open_time, view.close_time) == ("1970-01-01T00:01:00.000000Z", "1970-01-01T00:02:00.000000Z")
