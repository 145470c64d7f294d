"""Options of several commands: what can be typed, and what is said of the rest."""

from argparse import ArgumentTypeError
from datetime import UTC, datetime

import pytest

from cli.options import count, decimal, microseconds, moment, order, symbol

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20T09:30:00", "2026-11-20T09:30:00+00:00"),
        ("2026-11-20 09:30", "2026-11-20T09:30:00+00:00"),
        ("2026-11-20T09:30:00Z", "2026-11-20T09:30:00+00:00"),
        ("2026-11-20T09:30:00+02:00", "2026-11-20T09:30:00+02:00"),
        ("2026-11-20T09:30:00.123456", "2026-11-20T09:30:00.123456+00:00"),
        ("2026-11-20", "2026-11-20T00:00:00+00:00"),
        ("09:30", "2026-11-21T09:30:00+00:00"),
        ("9:30:15.5", "2026-11-21T09:30:15.500000+00:00"),
        ("90s", "2026-11-21T11:58:30+00:00"),
        ("1d", "2026-11-20T12:00:00+00:00"),
    ],
)
def test_a_time_can_be_typed_in_many_ways(text: str, expected: str) -> None:
    assert moment(text, NOW, backwards=True) == datetime.fromisoformat(expected)


def test_a_time_to_come_is_counted_forwards() -> None:
    assert moment("2h", NOW, backwards=False) == datetime(2026, 11, 21, 14, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "tomorrow", "25:00", "2026-13-01", "2026", "0s", "10", "m", "999999999d", "-1h"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=r"is no(t a)? time"):
        moment(text, NOW, backwards=True)


def test_times_count_as_in_the_journal() -> None:
    assert microseconds(datetime(2023, 11, 14, 22, 13, 20, 1, UTC)) == 1_700_000_000_000_001


def test_an_order_is_named_by_its_id_or_by_its_client() -> None:
    assert order("17") == 17
    assert order("x-17") == "x-17"
    assert order("name:17") == "17"
    assert order("name:x-17") == "x-17"


@pytest.mark.parametrize("text", ["1.5", "100", "0.00000001"])
def test_decimals_are_kept_as_written(text: str) -> None:
    assert decimal(text) == text


@pytest.mark.parametrize("text", ["1e3", "-1", "1,5", "", ".5", "1.", "٣", "nan"])
def test_what_is_no_decimal_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is no price or quantity"):
        decimal(text)


@pytest.mark.parametrize(
    ("kind", "text"),
    [(count, "0"), (count, "-1"), (symbol, "a/b"), (order, "a b"), (order, ""), (order, "name:"), (order, "id:7")],
)
def test_other_options_are_checked_before_anything_is_sent(kind: object, text: str) -> None:
    assert callable(kind)
    with pytest.raises(ArgumentTypeError):
        kind(text)
