"""Price levels come and go, and the best is always known."""

from random import Random

import pytest

from contracts.messages import OrderType, PlaceOrder, Side
from contracts.views import Instrument
from matcher import ordered
from matcher.book import Account, BookSide, Holding, OrderBook, accepted_order

LISTED = Instrument("BTC-USD", "0.01", "0.001", 1, 10)


@pytest.mark.parametrize("side", Side)
def test_the_best_level_follows_what_leaves(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordered, "_NEAR", 2)
    levels = BookSide(LISTED.symbol, side)
    holding = Holding(Account("anna"), OrderBook(LISTED))
    random, orders = Random(side.value), []
    for order_id, price in enumerate(random.sample(range(1, 100), 40), 1):
        order = accepted_order(PlaceOrder(LISTED.symbol, side, OrderType.LIMIT, 1, price), order_id, 0, holding)
        assert levels.add(order, price).quantity == 1
        orders.append(order)
    random.shuffle(orders)
    while orders:
        prices = sorted((order.price or 0 for order in orders), reverse=side is Side.BUY)
        assert levels.best is not None
        assert levels.best.price == prices[0]
        assert [price for price, _ in levels.depth()] == prices
        assert levels.depth(3) == [(price, 1) for price in prices[:3]]
        level = orders[-1].level
        assert level is not None
        level.unlink(orders.pop())
        levels.drop(level)
    assert levels.best is None
