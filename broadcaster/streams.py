"""Fan-out of /ws: book differences, what is conflated, and the private changes of orders.

As in broadcaster/feed.py every message is encoded once and its frame shared, a client whose connection is full is
passed over, and goes on when it has drained. What it then gets differs:

- *book*: one change that covers all it has missed, or a new snapshot if it missed more than is kept;
- *conflated* (ticker, candles, status): the latest message of each slot;
- *orders*: every single update. They are kept for a while; who falls out of what is kept must go.

No I/O here: an Outlet does that.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar

from msgspec import Struct

from broadcaster.feed import Farewell, Gap, Outlet, frame
from broadcaster.market import Listing, News
from broadcaster.messages import (
    BookChange,
    BookSnapshot,
    Level,
    OrdersSnapshot,
    accounts_listed,
    encode,
    open_order_view,
    order_update,
    sides,
)
from broadcaster.orders import LiveOrders, OpenOrder, OrderChange
from contracts.messages import Side
from contracts.views import Instrument

KEPT_LEVELS = 50_000
"""Level changes kept for each book that is watched in full; a client that misses more gets a snapshot."""
MAX_FULL_LEVELS = 100_000
"""A book with more levels is not sent in full: encoding it would hold up everybody."""
KEPT_UPDATES = 50_000
"""Order updates kept, 20 to 60 MB: the queue of everyone who is slow, and how far back a client may ask."""
ORDERS_PER_MESSAGE = 200
_UPDATES_AT_ONCE = 100

ListingOf = Callable[[str], Listing]


class BookTooLarge(Exception):
    """The book has more levels than are sent at once."""

    def __init__(self, levels: int) -> None:
        super().__init__(levels)
        self.levels = levels


class BookWatcher:
    __slots__ = ("group", "lagging", "last", "outlet")

    def __init__(self, outlet: Outlet, group: "BookGroup") -> None:
        self.outlet = outlet
        self.group = group
        self.lagging = False
        self.last = 0
        """The `last_sequence` that it was told, while lagging."""


class BookGroup:
    """Everyone who watches the same book with as many levels."""

    def __init__(self, listing: Listing, levels: int | None) -> None:
        self.listing = listing
        self.levels = levels
        self.watchers: set[BookWatcher] = set()
        self.last = listing.book_sequence
        self._shown: dict[int, int] = {}
        self._worst = (0, 0)
        if levels is not None:
            self._show_best(levels)
        self._kept: deque[tuple[int, dict[int, int]]] = deque()
        self._kept_levels = 0
        self._kept_from = self.last
        self._snapshot: tuple[int, bytes] | None = None

    @property
    def symbol(self) -> str:
        return self.listing.instrument.symbol

    def snapshot(self) -> bytes:
        """The frame that everyone begins with, made once per state of the book."""
        if self._snapshot is None or self._snapshot[0] != self.last:
            self._snapshot = (self.last, frame(encode(self._snapshot_message())))
        return self._snapshot[1]

    def _snapshot_message(self) -> BookSnapshot:
        bids, asks = (self._formatted(side) for side in (Side.BUY, Side.SELL))
        return BookSnapshot(symbol=self.symbol, levels=self.levels, last_sequence=self.last, bids=bids, asks=asks)

    def _formatted(self, side: Side) -> list[Level]:
        book, instrument = self.listing.book, self.listing.instrument
        price_of, quantity_of = instrument.tick.format, instrument.lot.format
        best = book.best(side, len(book) if self.levels is None else self.levels)
        return [(price_of(price), quantity_of(quantity)) for price, quantity in best]

    def change(self, levels: dict[int, int]) -> bytes | None:
        """The frame for new totals of some levels; None if nobody here sees a difference."""
        if self.levels is not None:
            levels = self._visible(levels, self.levels)
        if not levels:
            return None
        encoded = self._change_frame(self.last + 1, self.listing.book_sequence, levels)
        self.last = self.listing.book_sequence
        if self.levels is None:
            self._keep(levels)
        return encoded

    def _change_frame(self, first: int, last: int, levels: dict[int, int]) -> bytes:
        bids, asks = sides(self.listing.instrument, levels)
        message = BookChange(
            symbol=self.symbol, levels=self.levels, first_sequence=first, last_sequence=last, bids=bids, asks=asks
        )
        return frame(encode(message))

    def _show_best(self, levels: int) -> None:
        """What a client sees; and the last key of each side beyond which it sees nothing (0: it sees all)."""
        book = self.listing.book
        bids, asks = (dict(islice(side.items(), levels)) for side in (book.bids, book.asks))
        self._shown = {**bids, **asks}
        worst_bid, worst_ask = (next(reversed(side)) if len(side) == levels else 0 for side in (bids, asks))
        self._worst = (worst_bid, worst_ask)

    def _is_beyond(self, key: int) -> bool:
        worst = self._worst[key > 0]
        return worst != 0 and key > worst

    def _visible(self, changed: dict[int, int], levels: int) -> dict[int, int]:
        """What changes among the best levels: some come and go because of others."""
        if all(self._is_beyond(key) for key in changed):
            return {}
        before = self._shown
        self._show_best(levels)
        different = {key: quantity for key, quantity in self._shown.items() if before.get(key) != quantity}
        return different | dict.fromkeys(before.keys() - self._shown.keys(), 0)

    def _keep(self, levels: dict[int, int]) -> None:
        self._kept.append((self.last, levels))
        self._kept_levels += len(levels)
        while self._kept_levels > KEPT_LEVELS:
            self._kept_from, gone = self._kept.popleft()
            self._kept_levels -= len(gone)

    def missed(self, last: int) -> bytes:
        """One frame for all that came after `last`."""
        if self.levels is not None or last < self._kept_from:
            return self.snapshot()
        merged: dict[int, int] = {}
        for sequence, levels in self._kept:
            if sequence > last:
                merged |= levels
        return self._change_frame(last + 1, self.last, merged)


class BookFeed:
    def __init__(self, listing: ListingOf) -> None:
        self._listing = listing
        self._groups: dict[str, dict[int | None, BookGroup]] = {}
        self.conflated = 0
        """How often a client was given one message for what it had missed."""

    def __len__(self) -> int:
        return sum(len(group.watchers) for groups in self._groups.values() for group in groups.values())

    def join(self, outlet: Outlet, symbol: str, levels: int | None) -> BookWatcher:
        """Send the book, and every change of it from now on. Raises BookTooLarge."""
        listing = self._listing(symbol)
        if levels is None and len(listing.book) > MAX_FULL_LEVELS:
            raise BookTooLarge(len(listing.book))
        groups = self._groups.setdefault(symbol, {})
        if levels not in groups:
            groups[levels] = BookGroup(listing, levels)
        watcher = BookWatcher(outlet, groups[levels])
        watcher.group.watchers.add(watcher)
        outlet.on_ready = lambda: self._drain(watcher)
        outlet.write(watcher.group.snapshot())
        return watcher

    def leave(self, watcher: BookWatcher) -> None:
        watcher.outlet.on_ready = None
        group = watcher.group
        group.watchers.discard(watcher)
        if not group.watchers:
            groups = self._groups[group.symbol]
            del groups[group.levels]
            if not groups:
                del self._groups[group.symbol]

    def publish(self, news: News) -> None:
        """What a run of commits changed in the books; to be called before the next run is folded."""
        for symbol, book in news.books.items():
            for group in self._groups.get(symbol, {}).values():
                self._publish(group, book.levels)

    def _publish(self, group: BookGroup, levels: dict[int, int]) -> None:
        before = group.last
        encoded = group.change(levels)
        if encoded is None:
            return
        for watcher in group.watchers:
            if watcher.lagging:
                continue
            if watcher.outlet.is_ready():
                watcher.outlet.write(encoded)
            else:
                watcher.lagging = True
                watcher.last = before

    def _drain(self, watcher: BookWatcher) -> None:
        if watcher.lagging and watcher.outlet.is_ready():
            watcher.lagging = False
            watcher.outlet.write(watcher.group.missed(watcher.last))
            self.conflated += 1


Key = TypeVar("Key")


class ConflatedWatcher(Generic[Key]):
    __slots__ = ("key", "outlet", "pending")

    def __init__(self, outlet: Outlet, key: Key | None) -> None:
        self.outlet = outlet
        self.key = key
        self.pending: dict[object, bytes] = {}
        """The latest message of each slot that found no room."""


class ConflatedFeed(Generic[Key]):
    """Messages of which the latest in each slot counts. Who watches the key None gets those of every key."""

    def __init__(self, latest: Callable[[Key | None], Iterable[bytes]], limit: int = 10**9) -> None:
        """`latest`: the frames that someone begins with who watches the key. `limit`: of slots that may wait."""
        self._latest = latest
        self._limit = limit
        self._watchers: dict[Key | None, set[ConflatedWatcher[Key]]] = {}
        self.conflated = 0

    def __len__(self) -> int:
        return sum(map(len, self._watchers.values()))

    def watched(self, keys: set[Key]) -> set[Key]:
        """Those of the keys that somebody watches."""
        return set(keys) if None in self._watchers else {key for key in keys if key in self._watchers}

    def is_watched(self, key: Key) -> bool:
        return key in self._watchers or None in self._watchers

    def join(self, outlet: Outlet, key: Key | None) -> ConflatedWatcher[Key]:
        watcher = ConflatedWatcher(outlet, key)
        self._watchers.setdefault(key, set()).add(watcher)
        outlet.on_ready = lambda: self._drain(watcher)
        if begin := b"".join(self._latest(key)):
            outlet.write(begin)
        return watcher

    def leave(self, watcher: ConflatedWatcher[Key]) -> None:
        watcher.outlet.on_ready = None
        group = self._watchers[watcher.key]
        group.discard(watcher)
        if not group:
            del self._watchers[watcher.key]

    def publish(self, key: Key, slot: object, encoded: bytes) -> None:
        for name in (key, None):
            for watcher in self._watchers.get(name, ()):
                self._hand(watcher, slot, encoded)

    def _hand(self, watcher: ConflatedWatcher[Key], slot: object, encoded: bytes) -> None:
        if not watcher.pending and watcher.outlet.is_ready():
            watcher.outlet.write(encoded)
            return
        self.conflated += slot in watcher.pending
        watcher.pending.pop(slot, None)  # its turn comes with the latest, so that a reader sees them in order
        watcher.pending[slot] = encoded
        if len(watcher.pending) > self._limit:
            watcher.outlet.goodbye(private_too_slow(f"{self._limit} messages found no room"))

    def _drain(self, watcher: ConflatedWatcher[Key]) -> None:
        if watcher.pending and watcher.outlet.is_ready():
            watcher.outlet.write(b"".join(watcher.pending.values()))
            watcher.pending.clear()


def private_too_slow(what: str) -> Farewell:
    """For /ws: the message is an ErrorMessage, the close code 4008."""
    return Farewell(4008, "slow_consumer", f"You read too slowly: {what}.")


_ORDERS_TOO_SLOW = private_too_slow("subscribe to orders anew; GET /orders has what was missed")


class Update(Struct, eq=False, gc=False):
    """One change of an order, encoded when the first one wants it: most of them nobody does."""

    change: OrderChange
    instrument: Instrument
    account: str
    _encoded: bytes | None = None

    @property
    def sequence(self) -> int:
        return self.change.sequence

    @property
    def index(self) -> int:
        return self.change.index

    @property
    def text(self) -> bytes:
        """The JSON of it."""
        if self._encoded is None:
            self._encoded = encode(order_update(self.change, self.instrument))
        return self._encoded

    @property
    def frame(self) -> bytes:
        return frame(self.text)


class OrderWatcher:
    __slots__ = ("accounts", "outlet", "position", "snapshot")

    def __init__(self, outlet: Outlet, accounts: tuple[str, ...] | None, position: int) -> None:
        self.outlet = outlet
        self.accounts = accounts
        self.position: int | None = position
        """The number of the next update that it needs, while lagging; None while it has all."""
        self.snapshot: Iterator[bytes] | None = None
        """What is left of the snapshot that it begins with."""

    @property
    def is_lagging(self) -> bool:
        return self.position is not None

    def sees(self, account: str) -> bool:
        return self.accounts is None or account in self.accounts


class OrderFeed:
    """The latest updates of all accounts, and those who watch some of them. Updates are numbered as they come."""

    def __init__(self, sequence: int = 0, *, kept: int = KEPT_UPDATES) -> None:
        """`sequence`: the commit up to which nothing is kept."""
        self._kept = kept
        self._updates: list[Update] = []
        self._first = 0
        self._dropped = sequence
        self._dropped_of: dict[str, int] = {}
        self._watchers: dict[str | None, set[OrderWatcher]] = {}

    def __len__(self) -> int:
        return len({watcher for group in self._watchers.values() for watcher in group})

    @property
    def _next(self) -> int:
        return self._first + len(self._updates)

    def first_kept(self, accounts: tuple[str, ...] | None) -> int:
        """Everything of these accounts that came after this sequence is at hand."""
        if accounts is None:
            return max([self._dropped, *self._dropped_of.values()])
        return max([self._dropped, *(self._dropped_of.get(account, 0) for account in accounts)])

    def resume(
        self, outlet: Outlet, accounts: tuple[str, ...] | None, after: int, after_index: int | None
    ) -> OrderWatcher:
        """Send every update after this one (after the whole commit, if no index is given). Raises Gap."""
        last = after if after_index is None else max(after - 1, 0)
        if last < self.first_kept(accounts) and not self._holds(after, after_index):
            raise Gap(self.first_kept(accounts) + 1)
        index = 2**62 if after_index is None else after_index
        start = bisect_right(self._updates, (after, index), key=lambda update: (update.sequence, update.index))
        return self._join(OrderWatcher(outlet, accounts, self._first + start))

    def _holds(self, sequence: int, index: int | None) -> bool:
        """Whether this very update is at hand: then so is what came after it."""
        return any(update.sequence == sequence and update.index == index for update in self._updates)

    def begin(self, outlet: Outlet, accounts: tuple[str, ...] | None, snapshot: Iterator[bytes]) -> OrderWatcher:
        """Send the frames of the snapshot, and then every update from now on."""
        watcher = OrderWatcher(outlet, accounts, self._next)
        watcher.snapshot = snapshot
        return self._join(watcher)

    def _join(self, watcher: OrderWatcher) -> OrderWatcher:
        for account in (None,) if watcher.accounts is None else watcher.accounts:
            self._watchers.setdefault(account, set()).add(watcher)
        watcher.outlet.on_ready = lambda: self._catch_up(watcher)
        self._catch_up(watcher)
        return watcher

    def leave(self, watcher: OrderWatcher) -> None:
        watcher.outlet.on_ready = None
        for account in (None,) if watcher.accounts is None else watcher.accounts:
            group = self._watchers[account]
            group.discard(watcher)
            if not group:
                del self._watchers[account]

    def publish(self, updates: list[Update]) -> None:
        """The next updates, in order."""
        before = self._next
        self._updates += updates
        self._forget()
        if not self._watchers:
            return
        for watcher, joined in self._concerned(updates):
            if watcher.is_lagging:
                continue
            if watcher.outlet.is_ready():
                watcher.outlet.write(joined)
            else:
                watcher.position = before

    def _concerned(self, updates: list[Update]) -> Iterator[tuple[OrderWatcher, bytes]]:
        """Everyone who sees some of them, and the frames for each: joined once for all who watch one account only."""
        by_account: dict[str, list[bytes]] = {}
        for update in updates:
            if update.account in self._watchers:
                by_account.setdefault(update.account, []).append(update.frame)
        several: set[OrderWatcher] = set()
        for account, frames in by_account.items():
            joined = b"".join(frames)
            for watcher in self._watchers.get(account, ()):
                if watcher.accounts == (account,):
                    yield watcher, joined
                else:
                    several.add(watcher)
        if everyone := self._watchers.get(None):
            joined = b"".join(update.frame for update in updates)
            yield from ((watcher, joined) for watcher in everyone)
        for watcher in several:
            yield watcher, b"".join(update.frame for update in updates if watcher.sees(update.account))

    def _forget(self) -> None:
        """Keep the latest, in steps, so that it costs little each time."""
        over = len(self._updates) - self._kept
        if over * 10 < self._kept:
            return
        for update in self._updates[:over]:
            self._dropped_of[update.account] = update.sequence
        del self._updates[:over]
        self._first += over
        self._drop_slow()

    def _drop_slow(self) -> None:
        for group in self._watchers.values():
            for watcher in group:
                if watcher.position is not None and watcher.position < self._first:
                    watcher.outlet.goodbye(_ORDERS_TOO_SLOW)

    def _catch_up(self, watcher: OrderWatcher) -> None:
        outlet = watcher.outlet
        while watcher.snapshot is not None and outlet.is_ready():
            part = next(watcher.snapshot, None)
            if part is None:
                watcher.snapshot = None
            else:
                outlet.write(part)
        while watcher.position is not None and outlet.is_ready() and watcher.snapshot is None:
            if watcher.position < self._first:
                return  # it has been told to go
            start = watcher.position - self._first
            some = self._updates[start : start + _UPDATES_AT_ONCE]
            if joined := b"".join(update.frame for update in some if watcher.sees(update.account)):
                outlet.write(joined)
            watcher.position += len(some)
            if watcher.position >= self._next:
                watcher.position = None


def updates_of(changes: Iterable[OrderChange], instrument: Callable[[str], Instrument]) -> list[Update]:
    instruments: dict[str, Instrument] = {}
    updates = []
    for change in changes:
        symbol = change.base.symbol
        if symbol not in instruments:
            instruments[symbol] = instrument(symbol)
        updates.append(Update(change, instruments[symbol], change.base.account))
    return updates


def orders_snapshot(
    orders: LiveOrders, accounts: tuple[str, ...] | None, sequence: int, instrument: Callable[[str], Instrument]
) -> Iterator[bytes]:
    """The frames of a snapshot of these accounts' open orders as they are now, made one at a time when asked for."""
    found = orders.all() if accounts is None else [order for account in accounts for order in orders.of(account)]
    if accounts is None or len(accounts) > 1:
        found.sort(key=lambda order: order.base.order_id)
    return _snapshot_parts(found, accounts, sequence, instrument)


def _snapshot_parts(
    found: list[OpenOrder],
    accounts: tuple[str, ...] | None,
    sequence: int,
    instrument: Callable[[str], Instrument],
) -> Iterator[bytes]:
    for start in range(0, max(1, len(found)), ORDERS_PER_MESSAGE):
        some = found[start : start + ORDERS_PER_MESSAGE]
        message = OrdersSnapshot(
            sequence=sequence,
            accounts=accounts_listed(accounts),
            orders=[open_order_view(order, instrument(order.base.symbol)) for order in some],
            more=start + ORDERS_PER_MESSAGE < len(found),
        )
        yield frame(encode(message))
