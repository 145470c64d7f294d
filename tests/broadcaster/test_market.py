"""Commits in, market out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.market import RECENT_TRADES, Market, dump, load
from contracts.messages import DefineInstrument, InstrumentDefined, LevelChanged, Outcome, Side
from tests.support.broadcaster_journal import SYMBOL, HandmadeJournal, Step
from tests.support.journals import FIRST_TIME, random_journal

MINUTE = 60_000_000
DAY = 24 * 60 * MINUTE


@pytest.fixture
def journal() -> HandmadeJournal:
    return HandmadeJournal()


@pytest.fixture
def market(journal: HandmadeJournal) -> Market:
    """After commit 2, which lists SYMBOL."""
    market = Market()
    market.apply(journal.barrier().commit)
    market.apply(journal.next([journal.listed()]))
    return market


def test_depth_is_best_first_on_both_sides(market: Market, journal: HandmadeJournal) -> None:
    prices = [(Side.BUY, 9_998), (Side.SELL, 10_003), (Side.BUY, 9_999), (Side.SELL, 10_001), (Side.BUY, 9_997)]
    market.apply(journal.next([journal.resting(side, price, 1_500) for side, price in prices]))
    depth = market.depth(SYMBOL, 2)
    assert depth.bids == [("99.99", "1.500"), ("99.98", "1.500")]
    assert depth.asks == [("100.01", "1.500"), ("100.03", "1.500")]
    assert depth.sequence == 3


def test_a_level_takes_its_new_total_and_goes_with_zero(market: Market, journal: HandmadeJournal) -> None:
    market.apply(journal.next([journal.resting(Side.BUY, 100, 5), journal.resting(Side.BUY, 100, 7)]))
    assert market.depth(SYMBOL, 5).bids == [("1.00", "0.007")]
    market.apply(journal.next([journal.emptied(Side.BUY, 100), journal.emptied(Side.SELL, 100)]))
    assert market.depth(SYMBOL, 5).bids == market.depth(SYMBOL, 5).asks == []


def test_a_commit_without_commands_only_moves_the_sequence(market: Market, journal: HandmadeJournal) -> None:
    before = market.depth(SYMBOL, 5)
    assert not market.apply(journal.barrier().commit)
    assert market.sequence == 3
    assert market.depth(SYMBOL, 5).bids == before.bids


def test_a_new_market_has_no_prices(market: Market) -> None:
    view = market.view(SYMBOL, FIRST_TIME)
    assert (view.best_bid, view.best_ask, view.last_price, view.last_quantity, view.last_trade_at) == (None,) * 5
    assert (view.volume_24h, view.trades_24h, view.sequence) == ("0.000", 0, 2)


def test_view_shows_best_prices_and_the_last_trade(market: Market, journal: HandmadeJournal) -> None:
    market.apply(journal.next([journal.resting(Side.BUY, 9_900, 10), journal.resting(Side.SELL, 10_000, 10)]))
    news = market.apply(journal.next([journal.traded(10_000, 3, left=7), journal.traded(10_000, 2, left=5)]))
    assert [trade.executed.trade_id for trade in news.trades] == [1, 2]
    view = market.view(SYMBOL, FIRST_TIME)
    assert (view.best_bid, view.best_ask) == ("99.00", "100.00")
    assert (view.last_price, view.last_quantity) == ("100.00", "0.002")
    assert view.last_trade_at == "2023-11-14T22:13:20.004000Z"
    assert (view.volume_24h, view.trades_24h) == ("0.005", 2)


def test_symbols_are_apart_and_share_the_trade_ids(market: Market, journal: HandmadeJournal) -> None:
    market.apply(journal.next([journal.listed("ETH-USD"), journal.traded(100, 5), journal.traded(200, 7, "ETH-USD")]))
    assert market.symbols == [SYMBOL, "ETH-USD"]
    assert "ETH-USD" in market
    assert "XRP-USD" not in market
    assert market.view("ETH-USD", FIRST_TIME).last_price == "2.00"
    assert market.view(SYMBOL, FIRST_TIME).volume_24h == "0.005"
    assert market.last_trade_id == 2


def test_changed_names_the_symbols_to_show_again(market: Market, journal: HandmadeJournal) -> None:
    market.apply(journal.next([journal.listed("ETH-USD")]))
    market.changed.clear()
    market.apply(journal.next([journal.resting(Side.BUY, 1, 1, "ETH-USD")]))
    assert market.changed == {"ETH-USD"}


def test_new_limits_of_an_instrument_leave_its_book(market: Market, journal: HandmadeJournal) -> None:
    market.apply(journal.next([journal.resting(Side.BUY, 100, 5)]))
    redefined = DefineInstrument(SYMBOL, "0.01", "0.001", 1, 9)
    market.apply(journal.next([(redefined, Outcome((InstrumentDefined(SYMBOL),)))]))
    assert market.depth(SYMBOL, 1).bids == [("1.00", "0.005")]


def test_a_jump_of_trade_ids_ends_the_process(market: Market, journal: HandmadeJournal) -> None:
    journal.trade_id = 7
    with pytest.raises(AssertionError, match="trade 8 where 1 must follow"):
        market.apply(journal.next([journal.traded(100, 1)]))


def test_the_day_rolls_by_the_minute(market: Market, journal: HandmadeJournal) -> None:
    for minutes, quantity in [(0, 1), (1, 10), (1, 100), (24 * 60 - 1, 1_000)]:
        journal.time = FIRST_TIME + minutes * MINUTE
        market.apply(journal.next([journal.traded(100, quantity)]))
    seen = [
        market.view(SYMBOL, FIRST_TIME + minutes * MINUTE) for minutes in (0, 24 * 60 - 1, 24 * 60, 24 * 60 + 1, 3_000)
    ]
    assert [view.volume_24h for view in seen] == ["1.111", "1.111", "1.110", "1.000", "0.000"]
    assert [view.trades_24h for view in seen] == [4, 4, 3, 1, 0]
    journal.time = FIRST_TIME + 5_000 * MINUTE
    market.apply(journal.next([journal.traded(100, 5)]))
    assert market.view(SYMBOL, journal.time).volume_24h == "0.005"


def test_volumes_beyond_64_bits(market: Market, journal: HandmadeJournal) -> None:
    for _ in range(2):
        journal.time += MINUTE
        market.apply(journal.next([journal.traded(100, 2**62, fills=3)]))
    again, _ = load(dump(market, journal.position))
    for each in (market, again):
        assert each.view(SYMBOL, journal.time).volume_24h == "27670116110564327.424"


def test_only_the_latest_trades_are_kept(market: Market, journal: HandmadeJournal) -> None:
    market.apply(journal.next([journal.traded(100, 1, fills=RECENT_TRADES + 5)]))
    assert len(market.recent) == RECENT_TRADES
    assert market.recent[0].executed.trade_id == 6


def test_bytes_are_refused_that_are_no_market() -> None:
    with pytest.raises(ValueError, match=r"Expected|truncated"):
        load(b"\x93")


# The fold against the obvious one

SYMBOLS = ("AAA", "BBB")
LEVEL = st.tuples(st.sampled_from(SYMBOLS), st.sampled_from(Side), st.integers(1, 12), st.integers(0, 3))
TRADE = st.tuples(st.sampled_from(SYMBOLS), st.integers(1, 12), st.integers(1, 9), st.integers(0, 700))
COMMIT = st.tuples(st.lists(LEVEL, max_size=8), st.lists(TRADE, max_size=3), st.booleans())


class Naive:
    """Everything that ever happened, searched anew for each question."""

    def __init__(self) -> None:
        self.levels: dict[tuple[str, Side, int], int] = {}
        self.trades: list[tuple[str, int, int, int]] = []

    def side(self, symbol: str, side: Side) -> list[tuple[int, int]]:
        found = [(p, q) for (of, on, p), q in self.levels.items() if (of, on) == (symbol, side) and q]
        return sorted(found, reverse=side is Side.BUY)

    def day(self, symbol: str, now: int) -> tuple[int, int]:
        within = [q for of, _, q, t in self.trades if of == symbol and t // MINUTE > now // MINUTE - 24 * 60]
        return sum(within), len(within)


@given(st.lists(COMMIT, max_size=25))
def test_the_same_market_as_a_naive_fold(commits: list[tuple[list, list, bool]]) -> None:  # type: ignore[type-arg]
    """Goal: depth, best prices and 24 h figures are those of a plain dict, whatever came before.

    Method: random levels and trades over two symbols, minutes to hours apart; now and then the market goes through
    its bytes and back, which must change nothing.
    """
    journal, market, naive = HandmadeJournal(), Market(), Naive()
    market.apply(journal.barrier().commit)
    market.apply(journal.next([journal.listed(symbol) for symbol in SYMBOLS]))
    for levels, trades, reload in commits:
        market.apply(journal.next(_steps(journal, naive, levels, trades)))
        if reload:
            market, position = load(dump(market, journal.position))
            assert position == journal.position
        for symbol in SYMBOLS:
            _compare(market, naive, symbol, journal.time)


def _steps(journal: HandmadeJournal, naive: Naive, levels: list, trades: list) -> list[Step]:  # type: ignore[type-arg]
    steps = []
    journal.time += sum(minutes for *_, minutes in trades) * MINUTE
    for symbol, price, quantity, _ in trades:
        steps.append(journal.traded(price, quantity, symbol))
        naive.levels[symbol, Side.SELL, price] = 0
        naive.trades.append((symbol, price, quantity, journal.time))
    for symbol, side, price, quantity in levels:
        command, outcome = journal.resting(side, price, quantity + 1, symbol)
        steps.append((command, Outcome(outcome.events, (LevelChanged(symbol, side, price, quantity),))))
        naive.levels[symbol, side, price] = quantity
    return steps


def _compare(market: Market, naive: Naive, symbol: str, now: int) -> None:
    bids, asks = naive.side(symbol, Side.BUY), naive.side(symbol, Side.SELL)
    for levels in (1, 3, 100):
        depth = market.depth(symbol, levels)
        assert depth.bids == [(f"0.{price:02}", f"0.{quantity:03}") for price, quantity in bids[:levels]]
        assert depth.asks == [(f"0.{price:02}", f"0.{quantity:03}") for price, quantity in asks[:levels]]
    for later in (0, 5 * MINUTE, DAY - MINUTE, DAY):
        volume, count = naive.day(symbol, now + later)
        view = market.view(symbol, now + later)
        assert (view.volume_24h, view.trades_24h) == (f"{volume // 1000}.{volume % 1000:03}", count)
    assert view.best_bid == (f"0.{bids[0][0]:02}" if bids else None)
    last = next((trade for trade in reversed(naive.trades) if trade[0] == symbol), None)
    assert view.last_price == (f"0.{last[1]:02}" if last else None)


@pytest.mark.parametrize("seed", range(3))
def test_the_same_depth_as_the_engine(seed: int) -> None:
    """Goal: folding what the engine reports gives the engine's own books, to the last level.

    Method: random orders, amendments and cancelations over two symbols, compared at the end of seeded journals.
    """
    journal = random_journal(seed, commits=300, commands_per_commit=5)
    market = Market()
    for written in journal.written:
        market.apply(written.commit)
    for instrument in journal.engine.instruments:
        bids, asks = journal.engine.depth(instrument.symbol)
        depth = market.depth(instrument.symbol, 1_000_000)
        tick, lot = instrument.tick.format, instrument.lot.format
        assert depth.bids == [(tick(price), lot(quantity)) for price, quantity in bids]
        assert depth.asks == [(tick(price), lot(quantity)) for price, quantity in asks]
        assert len(bids) + len(asks) > 10
    assert market.last_trade_id > 100
