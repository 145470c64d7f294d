"""What is measured of a broadcaster: how far it is, its clients, its books."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice

from broadcaster.application import SESSIONS
from broadcaster.feed import frame
from broadcaster.live import Live
from runtime import metrics
from runtime.metrics import Measure

_SYMBOLS = 100
"""Of which the book is measured: each is two series more in Prometheus."""


def of_broadcaster(live: Live, farewells: Counter[str]) -> Iterator[Measure]:
    yield metrics.BROADCASTER_SEQUENCE.of(live.position.sequence)
    yield metrics.BROADCASTER_CAUGHT_UP.of(live.caught_up.is_set())
    if live.delays is not None:
        yield metrics.BROADCASTER_DELAY.of(live.delays)
    yield from _clients(live)
    for code, count in farewells.items():
        yield metrics.BROADCASTER_DROPPED.of(count, code)
    yield metrics.BROADCASTER_CONFLATED.of(live.conflated)
    yield from _market(live)


def _clients(live: Live) -> Iterator[Measure]:
    old = live.trades.clients(frame)
    yield metrics.BROADCASTER_CLIENTS.of(len(live.sessions), SESSIONS)
    yield metrics.BROADCASTER_CLIENTS.of(old, "/ws/trades")
    yield metrics.BROADCASTER_CLIENTS.of(len(live.depths), "/ws/orderbook")
    subscriptions = {
        "trades": len(live.trades) - old,
        "book": len(live.books),
        "ticker": len(live.tickers),
        "candles": len(live.candles),
        "status": len(live.statuses),
        "orders": len(live.orders),
    }
    for channel, count in subscriptions.items():
        yield metrics.BROADCASTER_SUBSCRIPTIONS.of(count, channel)


def _market(live: Live) -> Iterator[Measure]:
    market = live.market
    yield metrics.BROADCASTER_TRADES.of(market.last_trade_id)
    yield metrics.BROADCASTER_ORDERS.of(len(market.orders))
    yield metrics.BROADCASTER_SYMBOLS.of(len(market.symbols))
    for listing in islice(market.listings, _SYMBOLS):
        symbol, book = listing.instrument.symbol, listing.book
        yield metrics.BROADCASTER_LEVELS.of(len(book.bids), symbol, "buy")
        yield metrics.BROADCASTER_LEVELS.of(len(book.asks), symbol, "sell")
