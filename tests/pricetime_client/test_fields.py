"""What a client says, as JSON and in addresses."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from pricetime_client.fields import target, written


def test_decimals_are_written_digit_by_digit() -> None:
    fields = {"price": Decimal("1E-8"), "quantity": Decimal("100.10"), "notional": 5, "stop_price": "7.0"}
    assert written(fields) == {"price": "0.00000001", "quantity": "100.10", "notional": 5, "stop_price": "7.0"}


def test_what_is_none_is_left_out_and_false_is_not() -> None:
    assert written({"price": None, "post_only": False}) == {"post_only": False}


@pytest.mark.parametrize("fields", [{"price": 0.1}, {"symbols": {"A": {"max_position": 0.1}}}, {"items": [{"p": 0.1}]}])
def test_no_float_gets_through_however_deep(fields: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="no decimal number"):
        written(fields)


def test_a_time_has_its_zone() -> None:
    moment = datetime(2030, 1, 31, 12, tzinfo=UTC)
    assert written({"expires_at": moment}) == {"expires_at": "2030-01-31T12:00:00+00:00"}
    with pytest.raises(ValueError, match="zone"):
        written({"expires_at": moment.replace(tzinfo=None)})


def test_names_cannot_leave_their_place_in_an_address() -> None:
    assert target("/orders/by-client-id/{}", "a/../b?c", query={"account": "x&y"}) == (
        "/orders/by-client-id/a%2F..%2Fb%3Fc?account=x%26y"
    )


def test_an_address_without_filters_has_no_query() -> None:
    assert target("/orders", query={"symbol": None}) == "/orders"


def test_a_time_in_a_query_keeps_its_plus_sign() -> None:
    asked = target("/market/{}/candles", "A", query={"from": datetime(2030, 1, 1, tzinfo=UTC)})
    assert asked == "/market/A/candles?from=2030-01-01T00%3A00%3A00%2B00%3A00"
