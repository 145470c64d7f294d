"""Many resting orders in a process of their own: what rests, and that commands go on with them."""

import pytest

from bench.resting import Resting, fill_bare_book, fill_engine, memory, resting_orders
from contracts.messages import Side


def test_every_order_rests_in_both_books_alike() -> None:
    engine, book = fill_engine(resting_orders(2_000, named=False)), fill_bare_book(resting_orders(2_000, named=False))
    assert engine.resting_orders == 2_000
    bids, asks = engine.depth("BTC-USD")
    assert (book.depth(Side.BUY), book.depth(Side.SELL)) == (bids, asks)


def test_orders_have_client_order_ids_when_asked_for() -> None:
    assert {order.client_order_id for order in resting_orders(5, named=False)} == {None}
    assert len({order.client_order_id for order in resting_orders(5, named=True)}) == 5


@pytest.mark.parametrize("kind", ["engine", "named", "bare"])
def test_memory_is_that_of_orders(kind: str) -> None:
    """Roughly: so few orders may still find room that the process has already."""
    assert 0 <= memory(kind, 3_000) < 2_000


def test_commands_go_on_with_as_many_orders() -> None:
    resting = Resting(500)
    assert all(each > 0 for each in resting.seconds(1_000))
    assert 500 <= resting._engine.resting_orders <= 1_010
    bids, asks = resting._engine.depth("BTC-USD")
    assert (resting._book.depth(Side.BUY), resting._book.depth(Side.SELL)) == (bids, asks)


def test_orders_at_one_price_share_the_number() -> None:
    """A million orders have a million prices otherwise, of 32 bytes each."""
    engine = fill_engine(resting_orders(2_000, named=False))
    orders = list(engine._open.values())
    assert len({id(order.price) for order in orders}) == len({order.price for order in orders})
