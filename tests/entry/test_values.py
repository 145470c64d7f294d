"""Moments and other single values as people write them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.views import format_time
from entry import values
from entry.problems import Declined


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 12, 31, 23, 59, 59, 999999)))
def test_what_is_formatted_is_read_back_exactly(moment: datetime) -> None:
    microseconds = (moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // values._MICROSECOND
    assert values.moment({"at": format_time(microseconds)}, "at") == microseconds


@pytest.mark.parametrize(
    "written",
    [
        "2030-01-31T12:00:00Z",
        "2030-01-31t12:00:00z",
        "2030-01-31T12:00:00.000000+00:00",
        "2030-01-31T13:30:00.0+01:30",
        "2030-01-30T22:00:00-14:00",
    ],
)
def test_one_moment_in_many_ways(written: str) -> None:
    assert values.moment({"at": written}, "at") == 1_896_091_200_000_000


@pytest.mark.parametrize(
    "written",
    [
        "",
        "tomorrow",
        "2030-01-31",
        "2030-01-31T12:00:00",
        "2030-01-31 12:00:00Z",
        "2030-01-31T12:00Z",
        "2030-01-31T12:00:00.1234567Z",
        "2030-02-30T12:00:00Z",
        "2030-01-31T24:00:00Z",
        "2030-01-31T23:59:60Z",
        "2030-01-31T12:00:00+0100",
        "2030-01-31T12:00:00+24:00",
        "2030-01-31T12:00:00Z\n",
        "2030-W05-4T12:00:00Z",
        "\u0662030-01-31T12:00:00Z",
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59-01:00",
        "0000-01-01T00:00:00Z",
    ],
)
def test_what_is_no_moment(written: str) -> None:
    with pytest.raises(Declined) as caught:
        values.moment({"at": written}, "at")
    assert (caught.value.problem.code, caught.value.problem.field) == ("invalid_value", "at")
