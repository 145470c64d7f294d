"""What the market looks like: instruments, depth, candles, the latest trades, the last 24 hours and every open order,
folded from commits. Pure.

`Market.apply` takes the next commit and notes what is new; everything else is a question. The clock is an argument.
A market and the chain position it was folded to become bytes and back (`freeze`, `load`), so that a start need not read
the whole journal.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, takewhile

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from sortedcontainers import SortedDict

from broadcaster.candles import Candles
from broadcaster.orders import LiveOrders, Moment, OpenOrder, OrderChange, OrderEvent
from contracts.candles import Candle
from contracts.commits import Chain
from contracts.decimals import Step
from contracts.messages import (
    CancelReason,
    Command,
    Commit,
    DefineInstrument,
    Event,
    InstrumentDefined,
    InstrumentStatusChanged,
    LevelChanged,
    Message,
    OrderState,
    Outcome,
    Side,
    TradeExecuted,
)
from contracts.views import DepthView, Instrument, MarketView, TradeView, defined_instrument, format_time, trade_view

RECENT_TRADES = 10_000
_MINUTE = 60_000_000
_MINUTES_PER_DAY = 24 * 60


class Trade(Message, frozen=True):
    """A trade and the time of its commit."""

    executed: TradeExecuted
    time: int


class Book:
    """The two sides of one symbol: quantity by price, best first. The keys of bids are negated prices."""

    __slots__ = ("asks", "bids")

    def __init__(self, bids: Mapping[int, int] | None = None, asks: Mapping[int, int] | None = None) -> None:
        self.bids: SortedDict[int, int] = SortedDict(bids or {})
        self.asks: SortedDict[int, int] = SortedDict(asks or {})

    def change(self, level: LevelChanged) -> int:
        """Returns the level's key, which no other level of the two sides has."""
        side, key = (self.bids, -level.price) if level.side is Side.BUY else (self.asks, level.price)
        if level.quantity:
            side[key] = level.quantity
        else:
            side.pop(key, None)
        return key

    def __len__(self) -> int:
        """Price levels of both sides."""
        return len(self.bids) + len(self.asks)

    def best(self, side: Side, levels: int) -> Iterator[tuple[int, int]]:
        """The first price levels of a side, O(levels)."""
        if side is Side.BUY:
            return ((-key, quantity) for key, quantity in islice(self.bids.items(), levels))
        return iter(islice(self.asks.items(), levels))

    def best_price(self, side: Side) -> int | None:
        return next((price for price, _ in self.best(side, 1)), None)


class Minute(Message, frozen=True):
    """What was traded in one minute; the volume as decimal digits, because a busy one outgrows 64 bits."""

    start: int
    volume: str
    trades: int


class Day:
    """Volume and number of trades over the last 24 hours, to the minute."""

    __slots__ = ("_minute", "_minute_trades", "_minute_volume", "_past", "_trades", "_volume")

    def __init__(self, minutes: Iterable[Minute] = ()) -> None:
        self._past = deque(minutes)
        self._volume = sum(int(minute.volume) for minute in self._past)
        self._trades = sum(minute.trades for minute in self._past)
        self._minute = self._minute_volume = self._minute_trades = 0

    def add(self, time: int, quantity: int) -> None:
        if time // _MINUTE != self._minute:
            self._turn(time // _MINUTE)
        self._minute_volume += quantity
        self._minute_trades += 1

    def _turn(self, minute: int) -> None:
        """The minute is over; a new one begins, and what is older than a day is forgotten."""
        self._past = deque(self.minutes())
        self._volume += self._minute_volume
        self._trades += self._minute_trades
        self._minute, self._minute_volume, self._minute_trades = minute, 0, 0
        while self._past and self._past[0].start <= minute - _MINUTES_PER_DAY:
            over = self._past.popleft()
            self._volume -= int(over.volume)
            self._trades -= over.trades

    def totals(self, now: int) -> tuple[int, int]:
        """Volume and trades of the 24 hours up to `now`. Changes nothing, so any clock may ask."""
        horizon = now // _MINUTE - _MINUTES_PER_DAY
        volume, trades = self._volume + self._minute_volume, self._trades + self._minute_trades
        for over in takewhile(lambda minute: minute.start <= horizon, self.minutes()):
            volume -= int(over.volume)
            trades -= over.trades
        return volume, trades

    def minutes(self) -> list[Minute]:
        if not self._minute_trades:
            return list(self._past)
        return [*self._past, Minute(self._minute, str(self._minute_volume), self._minute_trades)]


@dataclass(slots=True)
class Listing:
    """One symbol: its rules and all that happened to it."""

    instrument: Instrument
    book: Book = field(default_factory=Book)
    day: Day = field(default_factory=Day)
    last: Trade | None = None
    book_sequence: int = 0
    """The last commit that touched the book."""
    candles: Candles = field(default_factory=Candles)


@dataclass(slots=True)
class LevelNews:
    """The new totals of the levels of one book, by key: asks by price, bids by negated price."""

    before: int
    """The `book_sequence` that they follow on."""
    levels: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class News:
    """What a run of commits brought."""

    trades: list[Trade] = field(default_factory=list)
    orders: list[OrderChange] = field(default_factory=list)
    books: dict[str, LevelNews] = field(default_factory=dict)
    instruments: dict[str, None] = field(default_factory=dict)
    """Symbols whose rules or status were set."""

    def __bool__(self) -> bool:
        return bool(self.trades or self.orders or self.books or self.instruments)


_OF_INSTRUMENTS = (InstrumentDefined, InstrumentStatusChanged)


class Market:
    """The fold of every commit up to `sequence`."""

    def __init__(self) -> None:
        self.sequence = 0
        self.time = 0
        """Of the latest commit."""
        self.last_trade_id = 0
        self.recent: deque[Trade] = deque(maxlen=RECENT_TRADES)
        self.orders = LiveOrders()
        self.changed: set[str] = set()
        """Symbols whose book has changed; whoever shows books clears it."""
        self._listings: dict[str, Listing] = {}

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._listings

    @property
    def symbols(self) -> list[str]:
        return list(self._listings)

    def __getitem__(self, symbol: str) -> Listing:
        return self._listings[symbol]

    def find(self, symbol: str) -> Listing | None:
        return self._listings.get(symbol)

    @property
    def listings(self) -> Iterable[Listing]:
        return self._listings.values()

    def apply(self, commit: Commit, news: News | None = None) -> News:
        """Fold the next commit; adds what is new to `news`, or to a new one, and returns it."""
        news = News() if news is None else news
        moment = Moment(commit.sequence, commit.time)
        for command, outcome in zip(commit.commands, commit.outcomes, strict=True):
            for event in outcome.events:
                if type(event) is TradeExecuted:
                    news.trades.append(self._trade(event, commit.time))
                elif type(event) in _OF_INSTRUMENTS:
                    self._follow(command, event, news)
            self.orders.apply(command, outcome, moment)
            if outcome.levels:
                self._change_books(outcome, commit.sequence, news)
        self.orders.remember(moment)
        news.orders += moment.changes
        self.sequence = commit.sequence
        self.time = commit.time
        return news

    def _follow(self, command: Command, event: Event, news: News) -> None:
        if isinstance(command, DefineInstrument):
            self._define(command)
            news.instruments[command.symbol] = None
        elif isinstance(event, InstrumentStatusChanged):
            listing = self._listings[event.symbol]
            listing.instrument = replace(listing.instrument, status=event.status)
            news.instruments[event.symbol] = None

    def _change_books(self, outcome: Outcome, sequence: int, news: News) -> None:
        for level in outcome.levels:
            listing = self._listings[level.symbol]
            book = news.books.get(level.symbol)
            if book is None:
                book = news.books[level.symbol] = LevelNews(listing.book_sequence)
            book.levels[listing.book.change(level)] = level.quantity
            listing.book_sequence = sequence
            self.changed.add(level.symbol)

    def _define(self, command: DefineInstrument) -> None:
        listing = self._listings.get(command.symbol)
        instrument = defined_instrument(command, None if listing is None else listing.instrument)
        if listing is not None:
            listing.instrument = instrument
        else:
            self._listings[command.symbol] = Listing(instrument)
            self.changed.add(command.symbol)

    def _trade(self, executed: TradeExecuted, time: int) -> Trade:
        expected = self.last_trade_id + 1
        assert executed.trade_id == expected, f"trade {executed.trade_id} where {expected} must follow"
        trade = Trade(executed, time)
        self.last_trade_id = expected
        self.recent.append(trade)
        listing = self._listings[executed.symbol]
        listing.last = trade
        listing.day.add(time, executed.quantity)
        listing.candles.add(time, executed.price, executed.quantity)
        return trade

    def depth(self, symbol: str, levels: int) -> DepthView:
        listing = self._listings[symbol]
        return DepthView(
            symbol=symbol,
            sequence=self.sequence,
            bids=_formatted(listing, Side.BUY, levels),
            asks=_formatted(listing, Side.SELL, levels),
        )

    def view(self, symbol: str, now: int) -> MarketView:
        """Best prices, last trade and the 24 hours up to `now` (microseconds)."""
        listing = self._listings[symbol]
        tick, lot, last = listing.instrument.tick, listing.instrument.lot, listing.last
        volume, trades = listing.day.totals(now)
        return MarketView(
            symbol=symbol,
            sequence=self.sequence,
            best_bid=_price(tick, listing.book.best_price(Side.BUY)),
            best_ask=_price(tick, listing.book.best_price(Side.SELL)),
            last_price=None if last is None else tick.format(last.executed.price),
            last_quantity=None if last is None else lot.format(last.executed.quantity),
            last_trade_at=None if last is None else format_time(last.time),
            volume_24h=lot.format(volume),
            trades_24h=trades,
        )

    def trade_view(self, trade: Trade) -> TradeView:
        return trade_view(trade.executed, self._listings[trade.executed.symbol].instrument, trade.time)


def _formatted(listing: Listing, side: Side, levels: int) -> list[tuple[str, str]]:
    price_of, quantity_of = listing.instrument.tick.format, listing.instrument.lot.format
    return [(price_of(price), quantity_of(quantity)) for price, quantity in listing.book.best(side, levels)]


def _price(tick: Step, price: int | None) -> str | None:
    return None if price is None else tick.format(price)


# As bytes


class _SavedCandle(Message, frozen=True):
    """The volume as decimal digits, as in Minute."""

    interval: str
    open_time: int
    open: int
    high: int
    low: int
    close: int
    volume: str
    trades: int


class _SavedListing(Struct, frozen=True, array_like=True):
    instrument: Instrument
    bids: dict[int, int]
    asks: dict[int, int]
    last: Trade | None
    minutes: list[Minute]
    book_sequence: int
    candles: list[_SavedCandle]
    second: _SavedCandle | None


class _SavedOrder(Message, frozen=True):
    order: OrderState
    sequence: int
    time: int


class _SavedChange(Message, frozen=True):
    order: OrderState
    sequence: int
    index: int
    time: int
    event: OrderEvent
    reason: CancelReason | None
    trade: TradeExecuted | None
    priority_kept: bool | None


class _Saved(Struct, frozen=True, array_like=True):
    """The latest changes and the open orders come after it, in several parts: there may be many."""

    position: Chain
    last_trade_id: int
    last_order_id: int
    listings: list[_SavedListing]
    recent: list[Trade]


ORDERS_PER_PART = 2_000

_encoder = msgspec.msgpack.Encoder()
_parts_decoder = msgspec.msgpack.Decoder(list[bytes])
_decoder = msgspec.msgpack.Decoder(_Saved)
_changes_decoder = msgspec.msgpack.Decoder(list[_SavedChange])
_orders_decoder = msgspec.msgpack.Decoder(list[_SavedOrder])


class Frozen:
    """The market as it stood at a position; the market itself may go on meanwhile."""

    def __init__(self, saved: _Saved, changes: list[OrderChange], orders: list[OpenOrder]) -> None:
        self._saved = saved
        self._changes = changes
        self._orders = orders

    def parts(self) -> Iterator[bytes]:
        """What `load` takes, a part at a time, so that another thread can do it beside the event loop."""
        yield _encoder.encode(self._saved)
        yield _encoder.encode([_saved_change(change) for change in self._changes])
        for start in range(0, len(self._orders), ORDERS_PER_PART):
            some = self._orders[start : start + ORDERS_PER_PART]
            yield _encoder.encode([_SavedOrder(each.order, each.sequence, each.time) for each in some])


def freeze(market: Market, position: Chain) -> Frozen:
    """Copies what changes and shares what does not: some 2 ms for the recent trades, 12 for a million levels or
    orders."""
    assert market.sequence == position.sequence
    saved = _Saved(
        position=_copied(position),
        last_trade_id=market.last_trade_id,
        last_order_id=market.orders.last_order_id,
        listings=[_saved_listing(listing) for listing in market._listings.values()],
        recent=list(market.recent),
    )
    return Frozen(saved, list(market.orders.recent), market.orders.all())


def _copied(chain: Chain) -> Chain:
    return Chain(chain.sequence, chain.hash, chain.journal_epoch, chain.matcher_epoch, chain.time)


def dump(market: Market, position: Chain) -> bytes:
    """The market as it stands at `position`, at once."""
    return pack_parts(freeze(market, position).parts())


def pack_parts(parts: Iterable[bytes]) -> bytes:
    return _encoder.encode(list(parts))


def _saved_listing(listing: Listing) -> _SavedListing:
    candles = listing.candles
    return _SavedListing(
        instrument=listing.instrument,
        bids=dict.copy(listing.book.bids),
        asks=dict.copy(listing.book.asks),
        last=listing.last,
        minutes=listing.day.minutes(),
        book_sequence=listing.book_sequence,
        candles=[_saved_candle(name, candle) for name, candle in candles.whole_seconds.items()],
        second=None if candles.second is None else _saved_candle("1s", candles.second),
    )


def _saved_candle(interval: str, candle: Candle) -> _SavedCandle:
    return _SavedCandle(
        interval,
        candle.open_time,
        candle.open,
        candle.high,
        candle.low,
        candle.close,
        str(candle.volume),
        candle.trades,
    )


def load(body: bytes | memoryview) -> tuple[Market, Chain]:
    """The market and the position that `dump` was given. Raises msgspec.MsgspecError or ValueError on other bytes."""
    first, second, *others = _parts_decoder.decode(body)
    saved = _decoder.decode(first)
    market = Market()
    market.sequence = saved.position.sequence
    market.time = saved.position.time
    market.last_trade_id = saved.last_trade_id
    market.recent.extend(saved.recent)
    market._listings = {each.instrument.symbol: _loaded_listing(each) for each in saved.listings}
    market.changed = set(market._listings)
    changes = [_loaded_change(change) for change in _changes_decoder.decode(second)]
    orders = (_loaded_order(order) for part in others for order in _orders_decoder.decode(part))
    market.orders = LiveOrders.restored(saved.last_order_id, orders, changes)
    return market, saved.position


def _saved_change(change: OrderChange) -> _SavedChange:
    return _SavedChange(
        change.order,
        change.sequence,
        change.index,
        change.time,
        change.event,
        change.reason,
        change.trade,
        change.priority_kept,
    )


def _loaded_change(saved: _SavedChange) -> OrderChange:
    order = saved.order
    return OrderChange(
        order,
        order.filled_quantity,
        int(order.filled_notional),
        saved.sequence,
        saved.time,
        saved.index,
        saved.event,
        saved.reason,
        saved.trade,
        saved.priority_kept,
    )


def _loaded_order(saved: _SavedOrder) -> OpenOrder:
    order = saved.order
    return OpenOrder(order, order.filled_quantity, int(order.filled_notional), saved.sequence, saved.time)


def _loaded_listing(saved: _SavedListing) -> Listing:
    return Listing(
        saved.instrument,
        Book(saved.bids, saved.asks),
        Day(saved.minutes),
        saved.last,
        saved.book_sequence,
        Candles(
            {each.interval: _loaded_candle(each) for each in saved.candles},
            None if saved.second is None else _loaded_candle(saved.second),
        ),
    )


def _loaded_candle(saved: _SavedCandle) -> Candle:
    return Candle(saved.open_time, saved.open, saved.high, saved.low, saved.close, int(saved.volume), saved.trades)
