"""The market as it is now: folded commit by commit, shown to those who watch, waited for by those who ask."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from broadcaster.candles import GRACE, Formed
from broadcaster.feed import DepthFeed, TradeFeed, frame
from broadcaster.market import Listing, Market, News, Trade
from broadcaster.messages import CandleMessage, StatusMessage, TickerMessage, encode
from broadcaster.orders import KEPT_CHANGES
from broadcaster.publishing import Publication
from broadcaster.streams import BookFeed, ConflatedFeed, OrderFeed, Update, updates_of
from contracts.commits import Chain
from contracts.subjects import market_candles, market_status, market_ticker, market_trades
from contracts.views import DepthView, Instrument, MarketView, candle_view, instrument_view
from runtime.clock import now
from runtime.metrics import Histogram

MAX_WAITING_CANDLES = 1_000
"""Messages about candles that may wait for a client that does not read; then it must go."""
SYMBOLS_AT_ONCE = 50
"""Of those that are shown now and then: one to three milliseconds' work."""
_MINUTE = 60_000_000


class Client(Protocol):
    """A client of /ws, as far as it is told what all are told."""

    def beat(self, encoded: bytes) -> None: ...

    def tell(self, message: Struct) -> None: ...

    def check_access(self) -> None: ...


@dataclass(slots=True)
class _Tickers:
    """What one audience was shown last, and which symbols may look different now."""

    changed: set[str] = field(default_factory=set)
    shown: dict[str, MarketView] = field(default_factory=dict)

    def take(self) -> set[str]:
        """Those that changed since it was asked last."""
        changed, self.changed = self.changed, set()
        return changed


class Live:
    def __init__(self) -> None:
        self.market = Market()
        self.position = Chain()
        self.trades = TradeFeed()
        self.depths = DepthFeed(self.depth)
        self.books = BookFeed(self._listing)
        self.orders = OrderFeed()
        self.tickers: ConflatedFeed[str] = ConflatedFeed(self._ticker_frames)
        self.candles: ConflatedFeed[tuple[str, str]] = ConflatedFeed(self._candle_frames, MAX_WAITING_CANDLES)
        self.statuses: ConflatedFeed[str] = ConflatedFeed(self._status_frames)
        self.sessions: set[Client] = set()
        self.delays: Histogram | None = None
        """How old commits were when they had been written to the clients, if anybody wants to know."""
        self.caught_up = asyncio.Event()
        """Set once the journal's end as it was at the start has been folded; before that nothing is shown."""
        self._to_clients, self._to_nats = _Tickers(), _Tickers()
        self._traded: set[str] = set()
        self._minute = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    @property
    def clients(self) -> int:
        """Of /ws/trades, /ws/orderbook and /ws."""
        return self.trades.clients(frame) + len(self.depths) + len(self.sessions)

    @property
    def conflated(self) -> int:
        """Messages that slow clients were spared."""
        return sum(feed.conflated for feed in (self.books, self.tickers, self.candles, self.statuses))

    def restore(self, market: Market, position: Chain) -> None:
        """Go on from a snapshot."""
        self.market = market
        self.position = position

    def fold(self, sequence: int, payload: bytes, news: News | None = None) -> News:
        """The next journal message; what it brings is added to `news`. Raises JournalBroken."""
        return self.market.apply(self.position.follow(sequence, payload), news)

    def open(self) -> None:
        """From now on what is new is shown as it comes. What is kept from before can only be asked for."""
        recent = self.market.recent
        self.trades = TradeFeed(self.market.last_trade_id - len(recent))
        self.trades.publish(self.encoded(recent))
        changes = self.market.orders.recent
        self.orders = OrderFeed(changes[0].sequence if len(changes) == KEPT_CHANGES else 0)
        self.orders.publish(updates_of(changes, self.instrument))
        for listing in self.market.listings:
            listing.candles.news(self._known_until())
        self.caught_up.set()

    def publish(self, news: News) -> tuple[list[Publication], list[Update]]:
        """Show a run of commits to the clients. Returns what everybody on NATS is to be told, and the orders' updates.

        To be called before the next commit is folded: the books are shown as they are now.
        """
        trades = self.encoded(news.trades)
        updates = updates_of(news.orders, self.instrument)
        self.trades.publish(trades)
        self.orders.publish(updates)
        self.books.publish(news)
        for symbol in news.instruments:
            self.statuses.publish(symbol, symbol, self._status_frame(symbol))
        self._note_changed(news)
        return self._publications(news, trades), updates

    def _publications(self, news: News, trades: list[tuple[str, bytes]]) -> list[Publication]:
        status = ((symbol, encode(instrument_view(self.instrument(symbol)))) for symbol in news.instruments)
        return [
            *(Publication(market_trades(symbol), text) for symbol, text in trades),
            *(Publication(market_status(symbol), text) for symbol, text in status),
        ]

    def _note_changed(self, news: News) -> None:
        traded = {trade.executed.symbol for trade in news.trades}
        self._traded |= traded
        for tickers in (self._to_clients, self._to_nats):
            tickers.changed |= traded
            tickers.changed.update(news.books, news.instruments)

    def encoded(self, trades: Iterable[Trade]) -> list[tuple[str, bytes]]:
        """Symbol and JSON of each."""
        view = self.market.trade_view
        return [(trade.executed.symbol, encode(view(trade))) for trade in trades]

    # What is shown now and then

    # What follows pauses after every few symbols, so that with thousands of them nobody waits for all

    def show_tickers(self) -> Iterator[None]:
        """To the clients: those that look different now."""
        self._turn_minute()
        for some in _in_turns(self.tickers.watched(self._to_clients.take())):
            for symbol, view in self._different(self._to_clients, some):
                self.tickers.publish(symbol, symbol, _ticker_frame(view))
            yield

    def tickers_for_nats(self) -> Iterator[list[Publication]]:
        for some in _in_turns(self._to_nats.take()):
            different = self._different(self._to_nats, some)
            yield [Publication(market_ticker(symbol), encode(view)) for symbol, view in different]

    def _turn_minute(self) -> None:
        """Each minute, what was traded a day ago leaves the 24 hours."""
        minute = now() // _MINUTE
        if minute != self._minute:
            self._minute = minute
            for tickers in (self._to_clients, self._to_nats):
                tickers.changed.update(self.market.symbols)

    def _different(self, tickers: _Tickers, changed: Iterable[str]) -> list[tuple[str, MarketView]]:
        found = []
        for symbol in changed:
            view = self.view(symbol)
            timeless = replace(view, sequence=0)
            if tickers.shown.get(symbol) != timeless:
                tickers.shown[symbol] = timeless
                found.append((symbol, view))
        return found

    def show_candles(self) -> Iterator[list[Publication]]:
        """To the clients: those that have changed, and those that are complete now. Gives them for NATS, too."""
        clock, traded, self._traded = now(), self._traded, set()
        due = (listing.instrument.symbol for listing in self.market.listings if listing.candles.due <= clock)
        for some in _in_turns(traded.union(due)):
            until = self._known_until()
            yield [each for symbol in some for each in self._show_candles_of(symbol, until)]

    def _show_candles_of(self, symbol: str, until: int) -> Iterator[Publication]:
        listing = self._listing(symbol)
        for formed in listing.candles.news(until):
            message = self._candle_message(listing, formed)
            key = (symbol, formed.interval)
            if self.candles.is_watched(key):
                self.candles.publish(key, formed.candle.open_time, frame(encode(message)))
            yield Publication(market_candles(*key), encode(message.candle))

    def _known_until(self) -> int:
        """All trades of before this time are known."""
        return max(self.market.time, now() - GRACE)

    # What a client begins with

    def _ticker_frames(self, symbol: str | None) -> Iterable[bytes]:
        """What comes after it is shown even if it looks as what others were shown last."""
        for each in self._symbols(symbol):
            self._to_clients.shown.pop(each, None)
            yield _ticker_frame(self.view(each))

    def _status_frames(self, symbol: str | None) -> Iterable[bytes]:
        return (self._status_frame(each) for each in self._symbols(symbol))

    def _symbols(self, symbol: str | None) -> list[str]:
        return self.market.symbols if symbol is None else [symbol]

    def _candle_frames(self, key: tuple[str, str] | None) -> Iterable[bytes]:
        assert key is not None
        listing = self._listing(key[0])
        for formed in listing.candles.current(self._known_until()):
            if formed.interval == key[1]:
                yield frame(encode(self._candle_message(listing, formed)))

    def _candle_message(self, listing: Listing, formed: Formed) -> CandleMessage:
        view = candle_view(formed.candle, formed.interval, listing.instrument, is_complete=formed.is_complete)
        return CandleMessage(symbol=view.symbol, interval=view.interval, sequence=self.position.sequence, candle=view)

    def _status_frame(self, symbol: str) -> bytes:
        view = instrument_view(self.instrument(symbol))
        return frame(encode(StatusMessage(symbol=symbol, sequence=self.position.sequence, instrument=view)))

    # To every client of /ws

    def tell_all(self, message: Struct) -> None:
        for session in list(self.sessions):
            session.tell(message)

    def check_access(self) -> None:
        """Keys have changed: some clients may have to go."""
        for session in list(self.sessions):
            session.check_access()

    # Waiting and asking

    def passed(self) -> None:
        """Wake those who waited for a commit that is folded now."""
        for sequence, reached in self._waiting:
            if sequence <= self.position.sequence and not reached.done():
                reached.set_result(None)
        self._waiting = [each for each in self._waiting if not each[1].done()]

    async def reach(self, sequence: int, timeout_seconds: float) -> bool:
        """Wait until it has caught up and folded the commit; False if that takes longer."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.caught_up.wait()
                if sequence > self.position.sequence:
                    reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._waiting.append((sequence, reached))
                    await reached
        except TimeoutError:
            return False
        return True

    def depth(self, symbol: str, levels: int) -> DepthView:
        return self.market.depth(symbol, levels)

    def view(self, symbol: str) -> MarketView:
        return self.market.view(symbol, now())

    def instrument(self, symbol: str) -> Instrument:
        return self.market[symbol].instrument

    def _listing(self, symbol: str) -> Listing:
        return self.market[symbol]


def _in_turns(symbols: Iterable[str]) -> Iterator[list[str]]:
    ordered = sorted(symbols)
    return (ordered[start : start + SYMBOLS_AT_ONCE] for start in range(0, len(ordered), SYMBOLS_AT_ONCE))


def _ticker_frame(view: MarketView) -> bytes:
    return frame(encode(TickerMessage(symbol=view.symbol, ticker=view)))
