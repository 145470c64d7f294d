"""What is measured of a broadcaster: its market, its clients, and those whom it sent away."""

from collections import Counter
from typing import Any

from broadcaster.live import Live
from broadcaster.measures import of_broadcaster
from contracts.messages import DefineInstrument, LevelChanged, Side
from runtime.metrics import Histogram


def told(live: Live, farewells: Counter[str]) -> dict[tuple[str, ...], Any]:
    """By name and labels."""
    found = of_broadcaster(live, farewells)
    return {(each.metric.name.removeprefix("pricetime_"), *each.labels): each.value for each in found}


def with_symbols(count: int) -> Live:
    live = Live()
    for number in range(count):
        live.market._define(DefineInstrument(f"S{number}", "0.01", "0.01"))
    return live


async def test_books_are_measured_by_side() -> None:
    live = with_symbols(2)
    book = live.market["S1"].book
    for side, price in ((Side.BUY, 99), (Side.BUY, 98), (Side.SELL, 101)):
        book.change(LevelChanged("S1", side, price, 5))
    found = told(live, Counter())
    assert (found["book_levels", "S1", "buy"], found["book_levels", "S1", "sell"]) == (2, 1)
    assert (found["book_levels", "S0", "buy"], found["book_levels", "S0", "sell"]) == (0, 0)
    assert found["symbols",] == 2


async def test_with_thousands_of_symbols_prometheus_is_not_told_of_each() -> None:
    found = told(with_symbols(150), Counter())
    assert sum(name == "book_levels" for name, *_ in found) == 200
    assert found["symbols",] == 150


async def test_who_was_sent_away_is_counted_by_why() -> None:
    found = told(Live(), Counter({"slow_consumer": 3, "key_ended": 1}))
    assert found["broadcaster_dropped_clients_total", "slow_consumer"] == 3
    assert found["broadcaster_dropped_clients_total", "key_ended"] == 1


async def test_how_late_clients_hear_is_told_if_somebody_wants_to_know() -> None:
    live = Live()
    assert ("broadcaster_commit_to_client_seconds",) not in told(live, Counter())
    live.delays = Histogram()
    live.delays.observe(0.002)
    assert told(live, Counter())["broadcaster_commit_to_client_seconds",].count == 1


async def test_nobody_watches_yet() -> None:
    found = told(Live(), Counter())
    assert {name[1]: count for name, count in found.items() if name[0] == "broadcaster_clients"} == {
        "/ws": 0,
        "/ws/trades": 0,
        "/ws/orderbook": 0,
    }
    channels = {name[1] for name in found if name[0] == "broadcaster_subscriptions"}
    assert channels == {"trades", "book", "ticker", "candles", "status", "orders"}
