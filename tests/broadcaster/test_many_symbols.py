"""Thousands of symbols: what happens to one costs nothing for the others, and nobody waits until all were shown."""

from collections import Counter

import msgspec

from broadcaster.feed import TradeFeed, frame
from broadcaster.live import SYMBOLS_AT_ONCE, Live
from broadcaster.market import News
from contracts.messages import Side
from tests.support.broadcaster_journal import SYMBOL, HandmadeJournal, Step


class Shown:
    """An outlet that takes everything."""

    def __init__(self) -> None:
        self.on_ready = None
        self.frames: list[bytes] = []

    def is_ready(self) -> bool:
        return True

    def write(self, frames: bytes) -> None:
        self.frames.append(frames)

    def goodbye(self, farewell: object) -> None:
        raise AssertionError(farewell)


class Day:
    """A broadcaster that has caught up, and the journal that it follows."""

    def __init__(self, *symbols: str) -> None:
        self.journal = HandmadeJournal()
        self.journal.begin(*symbols)
        self.live = Live()
        for sequence, message in enumerate(self.journal.messages, 1):
            self.live.fold(sequence, message)
        self.live.open()
        self.show()

    def happens(self, *steps: Step) -> None:
        self.journal.next(steps)
        news = self.live.fold(len(self.journal.messages), self.journal.messages[-1], News())
        self.live.publish(news)

    def show(self) -> int:
        """In how many turns the tickers were shown."""
        return sum(1 for _ in self.live.show_tickers())


def test_a_trade_is_formed_for_those_alone_who_watch_its_symbol() -> None:
    formed: Counter[bytes] = Counter()

    def form(trade: bytes) -> bytes:
        formed[trade] += 1
        return frame(trade)

    feed, outlets = TradeFeed(), {f"S{number}": Shown() for number in range(1_000)}
    for symbol, outlet in outlets.items():
        feed.join(outlet, symbol, None, form)
    feed.publish([("S7", b"1"), ("NOBODY", b"2"), ("S7", b"3"), ("S8", b"4")])
    assert formed == {b"1": 1, b"3": 1, b"4": 1}
    assert {symbol: outlet.frames for symbol, outlet in outlets.items() if outlet.frames} == {
        "S7": [frame(b"1") + frame(b"3")],
        "S8": [frame(b"4")],
    }


def test_who_watches_all_symbols_gets_a_run_in_order_beside_those_who_watch_one() -> None:
    feed, everything, one = TradeFeed(), Shown(), Shown()
    feed.join(everything, None, None)
    feed.join(one, "B", None)
    feed.publish([("A", b"1"), ("B", b"2"), ("A", b"3")])
    assert everything.frames == [frame(b"1") + frame(b"2") + frame(b"3")]
    assert one.frames == [frame(b"2")]
    assert (len(feed), feed.clients(frame)) == (2, 2)


def test_tickers_and_candles_are_shown_some_symbols_at_a_time() -> None:
    symbols = [f"S{number:04}" for number in range(2 * SYMBOLS_AT_ONCE + 1)]
    day, outlet = Day(*symbols), Shown()
    day.live.tickers.join(outlet, None)
    outlet.frames.clear()
    journal = day.journal
    for symbol in symbols:
        day.happens(journal.resting(Side.SELL, 100, 5, symbol), journal.traded(100, 2, symbol, left=3))

    assert day.show() == 3
    assert len(outlet.frames) == len(symbols)
    assert day.show() == 0
    published = list(day.live.show_candles())
    assert len(published) == 3
    assert {each.subject.split(".")[1] for some in published for each in some} == set(symbols)
    assert [len(some) for some in day.live.tickers_for_nats()] == [SYMBOLS_AT_ONCE, SYMBOLS_AT_ONCE, 1]


def test_tickers_that_nobody_watches_are_not_made() -> None:
    day = Day("AAA", "BBB")
    outlet = Shown()
    day.live.tickers.join(outlet, "BBB")
    outlet.frames.clear()
    day.happens(day.journal.resting(Side.BUY, 90, 2, "AAA"), day.journal.resting(Side.BUY, 90, 2, "BBB"))
    day.show()
    assert [_ticker(each)["symbol"] for each in outlet.frames] == ["BBB"]


def test_a_ticker_that_turns_back_before_it_is_shown_is_told_to_who_came_meanwhile() -> None:
    day, before, meanwhile = Day(SYMBOL), Shown(), Shown()
    day.live.tickers.join(before, SYMBOL)
    day.happens(day.journal.resting(Side.BUY, 8_000, 1))
    day.show()
    day.happens(day.journal.resting(Side.BUY, 9_000, 2))
    day.live.tickers.join(meanwhile, SYMBOL)
    day.happens(day.journal.emptied(Side.BUY, 9_000))
    day.show()
    assert [_ticker(each)["best_bid"] for each in meanwhile.frames] == ["90.00", "80.00"]


def _ticker(encoded: bytes) -> dict[str, object]:
    """Of one frame, longer than 125 bytes."""
    ticker: dict[str, object] = msgspec.json.decode(encoded[4:])["ticker"]
    return ticker
