"""Fan-out: who watches the trades and the books, what each has been handed, and when a slow one must go.

Every message is encoded once, as a complete WebSocket frame, and the same bytes go to everyone. The latest trades are
kept, and they are everyone's queue: a client whose connection is full is passed over and later goes on from where it
was, the same way as one that comes back and names the last trade it saw. Who falls out of what is kept is told and
dropped, so a slow client costs a position in a list and nothing else. No I/O here: an Outlet does that.
"""

from collections.abc import Callable, Container
from typing import Protocol

import msgspec
from msgspec import Struct

from contracts.views import DepthView

KEPT_TRADES = 50_000
"""About 15 MB. A full second of a very busy market; also how far back a client may ask."""
_SLACK = 5_000
_CHUNK = 256
"""Trades written at once to a client that is catching up: about one socket buffer."""
MISSED_DEPTHS = 10
"""Depth messages in a row that a full connection may miss: each is complete, so a few can be left out."""


class Farewell(Struct, frozen=True):
    """Why a client must go: the last message it gets (unless `detail` is empty), and the WebSocket close code."""

    close_code: int
    code: str
    detail: str = ""
    last_words: bytes = b""
    """The frame to send as the last message; empty: one that is made of code and detail."""
    reason: str = ""
    """What the close frame says; empty: the code."""

    @property
    def close_reason(self) -> str:
        """A close frame has room for 123 bytes."""
        return (self.reason or self.code).encode()[:123].decode(errors="ignore")

    @property
    def message(self) -> bytes:
        if self.last_words or not self.detail:
            return self.last_words
        return frame(msgspec.json.encode({"type": "error", "code": self.code, "detail": self.detail}))


GOING_AWAY = Farewell(1001, "going away")


def slow_consumer(what: str) -> Farewell:
    return Farewell(1013, "slow_consumer", f"You read too slowly: {what}.")


class Outlet(Protocol):
    """A client's connection."""

    on_ready: Callable[[], None] | None
    """Called when a full connection can take more."""

    def is_ready(self) -> bool:
        """Whether it can take more. Writing to one that cannot is allowed, but grows memory."""

    def write(self, frames: bytes) -> None: ...

    def goodbye(self, farewell: Farewell) -> None:
        """Say it after what has been written, and close."""


def frame(text: bytes) -> bytes:
    """A complete WebSocket frame of the server: not masked, not compressed, so the same for every client."""
    length = len(text)
    if length < 126:
        return b"\x81%c%b" % (length, text)
    if length < 65_536:
        return b"\x81\x7e%b%b" % (length.to_bytes(2, "big"), text)
    return b"\x81\x7f%b%b" % (length.to_bytes(8, "big"), text)


class Gap(Exception):
    """The client asked for trades from before those that are kept; the first kept is `first`."""

    def __init__(self, first: int) -> None:
        super().__init__(first)
        self.first = first


Form = Callable[[bytes], bytes]
"""From the JSON of a trade to the frame that a client gets."""
TooSlow = Callable[[int], Farewell]


def trades_too_slow(after: int) -> Farewell:
    return slow_consumer(f"the trades after {after} are no longer at hand. Read them with GET /trades")


class TradeWatcher:
    __slots__ = ("after", "form", "lagging", "outlet", "symbol", "too_slow")

    def __init__(self, outlet: Outlet, symbol: str | None, after: int, form: Form, too_slow: TooSlow) -> None:
        self.outlet = outlet
        self.symbol = symbol
        self.form = form
        self.too_slow = too_slow
        self.after = after
        """The last trade handed over, while lagging; otherwise it has all of them."""
        self.lagging = True


class TradeFeed:
    """The latest trades, and those who watch them."""

    def __init__(self, last_id: int = 0, *, kept: int = KEPT_TRADES) -> None:
        self.last_id = last_id
        self._kept = kept
        self._trades: list[tuple[str, bytes]] = []
        self._watchers: dict[Form, dict[str | None, set[TradeWatcher]]] = {}

    @property
    def first_id(self) -> int:
        """The oldest trade kept."""
        return self.last_id - len(self._trades) + 1

    def __len__(self) -> int:
        return sum(map(self.clients, self._watchers))

    def clients(self, form: Form) -> int:
        """Those who get trades in this form."""
        return sum(map(len, self._watchers.get(form, {}).values()))

    def join(
        self,
        outlet: Outlet,
        symbol: str | None,
        after: int | None,
        form: Form = frame,
        too_slow: TooSlow = trades_too_slow,
    ) -> TradeWatcher:
        """Send every trade after `after`, or from now on. Raises Gap."""
        after = self.last_id if after is None else after
        assert after <= self.last_id
        if after + 1 < self.first_id:
            raise Gap(self.first_id)
        watcher = TradeWatcher(outlet, symbol, after, form, too_slow)
        outlet.on_ready = lambda: self._catch_up(watcher)
        self._watchers.setdefault(form, {}).setdefault(symbol, set()).add(watcher)
        self._catch_up(watcher)
        return watcher

    def leave(self, watcher: TradeWatcher) -> None:
        watcher.outlet.on_ready = None
        groups = self._watchers[watcher.form]
        groups[watcher.symbol].discard(watcher)
        if not groups[watcher.symbol]:
            del groups[watcher.symbol]

    def publish(self, trades: list[tuple[str, bytes]]) -> None:
        """The next trades, in order: symbol and JSON of each. Symbols without any of them cost nothing."""
        before = self.last_id
        self._trades += trades
        self.last_id += len(trades)
        is_full = len(self._trades) >= self._kept + _SLACK
        if is_full:
            del self._trades[: -self._kept]
        for form, groups in self._watchers.items():
            for symbol, joined in _by_symbol(trades, form, groups).items():
                _hand_out(groups[symbol], joined, before)
        if is_full:
            self._drop_slow()

    def _drop_slow(self) -> None:
        groups = (group for groups in self._watchers.values() for group in groups.values())
        for watcher in [each for group in groups for each in group]:
            if watcher.lagging and watcher.after + 1 < self.first_id:
                watcher.outlet.goodbye(watcher.too_slow(watcher.after))

    def _catch_up(self, watcher: TradeWatcher) -> None:
        while watcher.lagging and watcher.outlet.is_ready() and watcher.after + 1 >= self.first_id:
            start = watcher.after + 1 - self.first_id
            chunk = self._trades[start : start + _CHUNK]
            formed = [(name, watcher.form(text)) for name, text in chunk if watcher.symbol in (None, name)]
            if joined := _joined(formed, watcher.symbol):
                watcher.outlet.write(joined)
            watcher.after += len(chunk)
            watcher.lagging = watcher.after < self.last_id


def _joined(frames: list[tuple[str, bytes]], symbol: str | None) -> bytes:
    if symbol is None:
        return b"".join(each for _, each in frames)
    return b"".join(each for name, each in frames if name == symbol)


def _by_symbol(trades: list[tuple[str, bytes]], form: Form, watched: Container[str | None]) -> dict[str | None, bytes]:
    """What is new for each group that watches some of it; None stands for all symbols."""
    everyone = None in watched
    frames: dict[str | None, list[bytes]] = {None: []} if everyone else {}
    for symbol, text in trades:
        is_watched = symbol in watched
        if not (everyone or is_watched):
            continue
        formed = form(text)
        if everyone:
            frames[None].append(formed)
        if is_watched:
            frames.setdefault(symbol, []).append(formed)
    return {symbol: b"".join(each) for symbol, each in frames.items() if each}


def _hand_out(group: set[TradeWatcher], joined: bytes, before: int) -> None:
    """The same new bytes to everyone who has all trades up to `before`."""
    for watcher in group:
        if watcher.lagging:
            continue
        if watcher.outlet.is_ready():
            watcher.outlet.write(joined)
        else:
            watcher.lagging = True
            watcher.after = before


class DepthWatcher:
    __slots__ = ("levels", "missed", "outlet", "symbol")

    def __init__(self, outlet: Outlet, symbol: str, levels: int) -> None:
        self.outlet = outlet
        self.symbol = symbol
        self.levels = levels
        self.missed = 0


class DepthFeed:
    """Those who watch a book: each message is the whole of it, so what a full connection misses is left out."""

    def __init__(self, depth: Callable[[str, int], DepthView]) -> None:
        self._depth = depth
        self._watchers: dict[tuple[str, int], set[DepthWatcher]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._watchers.values()))

    def join(self, outlet: Outlet, symbol: str, levels: int) -> DepthWatcher:
        watcher = DepthWatcher(outlet, symbol, levels)
        self._watchers.setdefault((symbol, levels), set()).add(watcher)
        outlet.write(self._frame(symbol, levels))
        return watcher

    def leave(self, watcher: DepthWatcher) -> None:
        group = self._watchers[watcher.symbol, watcher.levels]
        group.discard(watcher)
        if not group:
            del self._watchers[watcher.symbol, watcher.levels]

    def publish(self) -> None:
        """The books as they stand, to everyone."""
        for (symbol, levels), group in self._watchers.items():
            encoded = self._frame(symbol, levels)
            for watcher in group:
                _show(watcher, encoded)

    def _frame(self, symbol: str, levels: int) -> bytes:
        return frame(msgspec.json.encode(self._depth(symbol, levels)))


def _show(watcher: DepthWatcher, encoded: bytes) -> None:
    if watcher.outlet.is_ready():
        watcher.outlet.write(encoded)
        watcher.missed = 0
        return
    watcher.missed += 1
    if watcher.missed >= MISSED_DEPTHS:
        watcher.outlet.goodbye(slow_consumer(f"{watcher.missed} depth messages in a row found no room"))
