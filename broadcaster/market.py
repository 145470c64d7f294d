"""What the market looks like: instruments, depth, the latest trades and the last 24 hours, folded from commits. Pure.

`Market.apply` takes the next commit; everything else is a question. The clock is an argument. A market and the chain
position it was folded to become bytes and back (`dump`, `load`), so that a start need not read the whole journal.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, takewhile

import msgspec
from msgspec import Struct
from sortedcontainers import SortedDict

from contracts.commits import Chain
from contracts.decimals import Step
from contracts.messages import Commit, DefineInstrument, LevelChanged, Message, Side, TradeExecuted
from contracts.views import DepthView, Instrument, MarketView, TradeView, format_time, trade_view

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

    def change(self, level: LevelChanged) -> None:
        side, key = (self.bids, -level.price) if level.side is Side.BUY else (self.asks, level.price)
        if level.quantity:
            side[key] = level.quantity
        else:
            side.pop(key, None)

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


class Market:
    """The fold of every commit up to `sequence`."""

    def __init__(self) -> None:
        self.sequence = 0
        self.last_trade_id = 0
        self.recent: deque[Trade] = deque(maxlen=RECENT_TRADES)
        self.changed: set[str] = set()
        """Symbols whose book has changed; whoever shows books clears it."""
        self._listings: dict[str, Listing] = {}

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._listings

    @property
    def symbols(self) -> list[str]:
        return list(self._listings)

    def apply(self, commit: Commit) -> list[Trade]:
        """Fold the next commit; returns its trades."""
        trades = []
        for command, outcome in zip(commit.commands, commit.outcomes, strict=True):
            if type(command) is DefineInstrument:
                self._define(command)
            for event in outcome.events:
                if type(event) is TradeExecuted:
                    trades.append(self._trade(event, commit.time))
            for level in outcome.levels:
                self._listings[level.symbol].book.change(level)
                self.changed.add(level.symbol)
        self.sequence = commit.sequence
        return trades

    def _define(self, command: DefineInstrument) -> None:
        instrument = Instrument(
            symbol=command.symbol,
            tick_size=command.tick_size,
            lot_size=command.lot_size,
            min_quantity=command.min_quantity,
            max_quantity=command.max_quantity,
        )
        if listing := self._listings.get(command.symbol):
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


class _SavedListing(Struct, frozen=True, array_like=True):
    instrument: Instrument
    bids: dict[int, int]
    asks: dict[int, int]
    last: Trade | None
    minutes: list[Minute]


class _Saved(Struct, frozen=True, array_like=True):
    position: Chain
    last_trade_id: int
    listings: list[_SavedListing]
    recent: list[Trade]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Saved)


def dump(market: Market, position: Chain) -> bytes:
    """The market as it stands at `position`. Some 5 ms for the recent trades, 12 ms for a million price levels."""
    assert market.sequence == position.sequence
    return _encoder.encode(
        _Saved(
            position=position,
            last_trade_id=market.last_trade_id,
            listings=[_saved_listing(listing) for listing in market._listings.values()],
            recent=list(market.recent),
        )
    )


def _saved_listing(listing: Listing) -> _SavedListing:
    return _SavedListing(
        instrument=listing.instrument,
        bids=listing.book.bids,
        asks=listing.book.asks,
        last=listing.last,
        minutes=listing.day.minutes(),
    )


def load(body: bytes) -> tuple[Market, Chain]:
    """The market and the position that `dump` was given. Raises msgspec.MsgspecError or ValueError on other bytes."""
    saved = _decoder.decode(body)
    market = Market()
    market.sequence = saved.position.sequence
    market.last_trade_id = saved.last_trade_id
    market.recent.extend(saved.recent)
    market._listings = {each.instrument.symbol: _loaded_listing(each) for each in saved.listings}
    market.changed = set(market._listings)
    return market, saved.position


def _loaded_listing(saved: _SavedListing) -> Listing:
    return Listing(saved.instrument, Book(saved.bids, saved.asks), Day(saved.minutes), saved.last)
