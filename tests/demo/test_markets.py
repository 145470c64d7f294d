"""Prices and quantities that the exchange takes, for whatever instrument."""

import random
from decimal import Decimal

import pytest

from demo.markets import Market, rounded


@pytest.mark.parametrize(
    ("price", "tick", "spacing"),
    [("60000", "0.01", "5"), ("3000", "0.01", "0.2"), ("150", "0.01", "0.01"), ("236.47", "0.01", "0.02"),
     ("1", "0.5", "0.5"), ("0.02", "0.01", "0.01"), ("1000000", "1", "100")],
)  # fmt: skip
def test_levels_are_about_a_hundredth_of_a_percent_apart(price: str, tick: str, spacing: str) -> None:
    market = Market("A", Decimal(tick), Decimal("0.0001"), Decimal(price))
    assert market.spacing == Decimal(spacing)


@pytest.mark.parametrize("price", ["0.01", "1.37", "99", "150", "3000", "60000", "1000000"])
@pytest.mark.parametrize("lot", ["0.00000001", "0.0003", "1", "500"])
def test_quantities_are_whole_lots_and_never_nothing(price: str, lot: str) -> None:
    random.seed(1)
    market = Market("A", Decimal("0.01"), Decimal(lot), Decimal(price))
    for _ in range(100):
        quantity = market.quantity()
        assert quantity > 0
        assert quantity % Decimal(lot) == 0


def test_prices_are_on_the_tick_and_never_nothing() -> None:
    market = Market("A", Decimal("0.05"), Decimal(1), Decimal(10))
    assert market.on_tick(Decimal("10.07")) == Decimal("10.05")
    assert market.on_tick(Decimal(-3)) == Decimal("0.05")
    assert rounded(Decimal("7.6"), Decimal(5)) == 10
