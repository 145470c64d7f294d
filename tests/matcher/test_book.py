"""The keys of a side's price levels: a short list of the best in front of all others, and nobody must notice."""

from random import Random

import pytest

from contracts.messages import OrderType, PlaceOrder, Side
from contracts.views import Instrument
from matcher import book
from matcher.book import Account, BookSide, Holding, Keys, OrderBook, accepted_order

LISTED = Instrument("BTC-USD", "0.01", "0.001", 1, 10)


def assert_holds(keys: Keys, expected: set[int]) -> None:
    assert list(keys) == sorted(expected, reverse=True)
    assert bool(keys.near) == bool(expected), "the best is looked for there"
    assert all(key >= keys.lowest for key in keys.near)
    assert all(key < keys.lowest for key in keys.far)
    assert len(keys.near) <= 2 * book._NEAR


@pytest.mark.parametrize("growth", [0.7, 0.5, 0.3])
@pytest.mark.parametrize("near", [1, 3])
def test_keys_come_and_go_in_any_order(near: int, growth: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "_NEAR", near)
    random, keys, expected = Random(f"{near} {growth}"), Keys(), set[int]()
    moved = 0
    for _ in range(1500):
        if not expected or random.random() < growth:
            key = random.choice([key for key in range(-60, 60) if key not in expected] or [max(expected) + 1])
            keys.add(key)
            expected.add(key)
        else:
            key = max(expected) if random.random() < 0.5 else random.choice(sorted(expected))
            keys.remove(key)
            expected.remove(key)
        moved += bool(keys.far)
        assert_holds(keys, expected)
    assert moved > 10, "hardly anything was ever far away"


def test_after_the_last_key_everything_is_near_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "_NEAR", 1)
    keys = Keys()
    for key in (3, 2, 1):
        keys.add(key)
    for key in (1, 2, 3):
        keys.remove(key)
    keys.add(-5)
    assert_holds(keys, {-5})


@pytest.mark.parametrize("side", Side)
def test_the_best_level_follows_what_leaves(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "_NEAR", 2)
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
