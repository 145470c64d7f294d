"""What is folded from commits against who made them: every rule of the exchange, then the same open orders and books.

Goal: after each commit the broadcaster knows exactly the open orders, levels, instruments and candles that there are,
also when it was started anew from its own bytes in between.
Method: seeded flows of every character (tests/matcher/flows.py) through the naive reference, which says what is so.
"""

from collections.abc import Iterator
from random import Random

import pytest

from broadcaster.market import Market, News, dump, load
from broadcaster.orders import OrderEvent
from contracts.candles import INTERVALS, Candle, interval_start
from contracts.commits import Chain
from contracts.messages import Commit, DefineInstrument, Outcome, Side
from tests.matcher.flows import RICH_PROFILES, Flow, Profile
from tests.matcher.reference import ReferenceEngine


def commits(profile: Profile, seed: int, count: int, reference: ReferenceEngine) -> Iterator[Commit]:
    flow = Flow(profile, reference, Random(seed))
    sequence = 0
    for command in flow.placed(count):
        outcome = reference.apply(command, flow.time, sequence + 1)
        if isinstance(outcome, Outcome):
            sequence += 1
            yield Commit(2, "test", 1, sequence, b"", flow.time, (command,), (outcome,))


def restarted(market: Market) -> Market:
    position = Chain(market.sequence, b"", "test", 1, market.time)
    again, loaded = load(dump(market, position))
    assert loaded == position
    return again


@pytest.mark.parametrize("profile", RICH_PROFILES, ids=lambda profile: profile.name)
def test_the_same_as_who_made_the_commits(profile: Profile) -> None:
    reference, market, trades = ReferenceEngine(profile.limits), Market(), Trades()
    chance = Random(7)
    touched: dict[str, int] = {}
    for commit in commits(profile, 11, 700, reference):
        news = market.apply(commit)
        trades.note(news)
        assert_same_orders(market, reference)
        assert_same_books(market, reference)
        touched |= {level.symbol: commit.sequence for level in commit.outcomes[0].levels}
        assert {symbol: market[symbol].book_sequence for symbol in touched} == touched
        assert [change.index for change in news.orders] == list(range(len(news.orders)))
        if chance.random() < 0.02:
            market = restarted(market)
    assert_same_instruments(market, reference)
    trades.assert_same_candles(market)


def assert_same_instruments(market: Market, reference: ReferenceEngine) -> None:
    assert sorted(market.symbols) == sorted(reference.instruments)
    for symbol, expected in reference.instruments.items():
        found = market[symbol].instrument
        assert found.status is expected.status
        for name in DefineInstrument.__struct_fields__:
            assert getattr(found, name) == getattr(expected.rules, name)


def assert_same_orders(market: Market, reference: ReferenceEngine) -> None:
    found = {order.order.order_id: order for order in market.orders.all()}
    assert sorted(found) == sorted(order.order_id for order in reference.orders)
    for order in reference.orders:
        assert found[order.order_id].order == order.state()
    for account in {order.account for order in reference.orders}:
        ours = [order.order.order_id for order in market.orders.of(account)]
        assert ours == sorted(reference.open_orders(account))


def assert_same_books(market: Market, reference: ReferenceEngine) -> None:
    for symbol in reference.instruments:
        book = market[symbol].book
        bids, asks = reference.depth(symbol)
        assert list(book.best(Side.BUY, 10**6)) == bids
        assert list(book.best(Side.SELL, 10**6)) == asks


class Trades:
    """Every trade, and candles made of all of them at once."""

    def __init__(self) -> None:
        self.all: list[tuple[str, int, int, int]] = []

    def note(self, news: News) -> None:
        self.all += [
            (each.executed.symbol, each.time, each.executed.price, each.executed.quantity) for each in news.trades
        ]

    def assert_same_candles(self, market: Market) -> None:
        for listing in market.listings:
            ours = [each for each in self.all if each[0] == listing.instrument.symbol]
            found = {each.interval: each.candle for each in listing.candles.current(market.time)}
            assert found.keys() == (INTERVALS.keys() if ours else set())
            for interval, candle in found.items():
                assert candle == self._last(ours, INTERVALS[interval])

    @staticmethod
    def _last(trades: list[tuple[str, int, int, int]], length: int) -> Candle:
        start = interval_start(trades[-1][1], length)
        prices = [(price, quantity) for _, time, price, quantity in trades if interval_start(time, length) == start]
        only = [price for price, _ in prices]
        volume = sum(quantity for _, quantity in prices)
        return Candle(start, only[0], max(only), min(only), only[-1], volume, len(only))


def test_each_order_has_one_story_with_a_beginning_and_an_end() -> None:
    """Of each order: accepted first, its quantities never go back, and nothing after the end."""
    profile = RICH_PROFILES[0]
    reference, market = ReferenceEngine(profile.limits), Market()
    ended, filled = set(), {}
    seen = set()
    for commit in commits(profile, 5, 3_000, reference):
        for change in market.apply(commit).orders:
            order_id = change.order.order_id
            assert (change.event is OrderEvent.ACCEPTED) == (order_id not in filled)
            assert order_id not in ended
            assert change.order.filled_quantity - filled.get(order_id, 0) == (
                change.trade.quantity if change.trade else 0
            )
            filled[order_id] = change.order.filled_quantity
            seen.add(change.event)
            if change.is_last:
                ended.add(order_id)
                assert market.orders.closed(order_id) is not None
    assert seen == set(OrderEvent)
    assert len(ended) > 300
