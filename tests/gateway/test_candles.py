"""Which candles a query asks for, and how many stored ones are looked at for them."""

from datetime import UTC, datetime

import pytest

from contracts.candles import INTERVALS
from entry.problems import Declined
from gateway.candles import CandleRange, candle_range
from gateway.pages import moment

NOON = datetime(2025, 5, 1, 12, tzinfo=UTC)


def test_nothing_asked_for_is_the_newest_minutes() -> None:
    assert candle_range({}) == CandleRange("1m", None, None, 100)


@pytest.mark.parametrize("interval", INTERVALS)
def test_few_stored_candles_are_enough(interval: str) -> None:
    asked = candle_range({"interval": interval, "limit": "1000"})
    assert asked.stored_seconds in (1, 60, 3600)
    assert asked.stored_limit * asked.stored_seconds == 1000 * asked.seconds
    assert asked.stored_limit <= 24_000


def test_every_interval_is_made_of_the_longest_that_fit() -> None:
    made_of = {interval: candle_range({"interval": interval}).stored_seconds for interval in INTERVALS}
    assert made_of == {
        **dict.fromkeys(("1s", "5s", "15s"), 1),
        **dict.fromkeys(("1m", "5m", "15m"), 60),
        **dict.fromkeys(("1h", "4h", "1d"), 3600),
    }


def test_a_range_begins_and_ends_with_whole_candles() -> None:
    asked = candle_range({"interval": "1h", "from": "2025-05-01T11:00:00.000001Z", "to": "2025-05-01T12:00:00Z"})
    assert (asked.start, asked.end) == (NOON, NOON)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2025-05-01T12:00:00Z", NOON),
        ("2025-05-01t12:00:00.000000z", NOON),
        ("2025-05-01T14:00:00+02:00", NOON),
        ("2025-05-01", NOON.replace(hour=0)),
        ("0001-01-01", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_moments(written: str, read: datetime) -> None:
    assert moment({"from": written}, "from") == read


@pytest.mark.parametrize(
    "written",
    ["", "now", "2025-05-01T12:00:00", "2025-05-01 12:00:00Z", "2025-13-01", "0001-01-01T00:00:00+14:00", "20250501"],
)
def test_what_is_no_moment(written: str) -> None:
    with pytest.raises(Declined) as caught:
        moment({"to": written}, "to")
    assert (caught.value.problem.code, caught.value.problem.field) == ("invalid_parameter", "to")


def test_a_plus_sign_that_became_a_space_is_explained() -> None:
    with pytest.raises(Declined, match="%2B"):
        moment({"from": "2025-05-01T12:00:00 02:00"}, "from")
