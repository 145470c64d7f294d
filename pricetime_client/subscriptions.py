"""What one subscription wants, which messages are its own, and where it goes on after an interruption. Pure."""

from collections.abc import Mapping
from typing import Any, TypedDict

from pricetime_client.messages import (
    BookChange,
    BookSnapshot,
    CandleMessage,
    Channel,
    Message,
    OrdersSnapshot,
    OrderUpdate,
    TradeMessage,
)
from pricetime_client.views import Interval


class SubscriptionFields(TypedDict, total=False):
    """`after`: of trades the last sequence that one has; of orders the journal sequence."""

    symbol: str
    interval: Interval
    levels: int
    account: str
    after: int
    after_index: int


class Position:
    """How far a subscription has come. `take` is given every message of its channel, in order."""

    def __init__(self, channel: Channel, fields: Mapping[str, Any]) -> None:
        self.channel = channel
        self.fields = {name: value for name, value in fields.items() if value is not None}
        self._after: int | None = self.fields.pop("after", None)
        self._after_index: int | None = self.fields.pop("after_index", None)
        self._is_whole = self._after is not None
        """Of orders: whether a whole snapshot has come, or was not needed."""
        self._book_sequence: int | None = None
        """Of a book: the last sequence that was passed on; None until there is a snapshot."""

    @property
    def key(self) -> tuple[Any, ...]:
        return (self.channel, *(self.fields.get(name) for name in ("symbol", "interval", "levels", "account")))

    def overlaps(self, other: "Position") -> bool:
        """Whether messages could not be told apart."""
        if self.channel != other.channel:
            return False
        if self.channel in ("book", "candles"):
            return self.key == other.key
        name = "account" if self.channel == "orders" else "symbol"
        mine, theirs = self.fields.get(name), other.fields.get(name)
        return mine is None or theirs is None or mine == theirs

    def request(self) -> dict[str, Any]:
        """The fields to subscribe with, now."""
        self._book_sequence = None
        fields: dict[str, Any] = {"channel": self.channel, **self.fields}
        if self.channel in ("trades", "orders") and self._after is not None and self._is_whole_or_trades:
            fields["after"] = self._after
            if self._after_index is not None:
                fields["after_index"] = self._after_index
        return fields

    @property
    def _is_whole_or_trades(self) -> bool:
        return self._is_whole or self.channel == "trades"

    @property
    def after(self) -> int | None:
        return self._after

    @property
    def needs_start(self) -> bool:
        """Of trades: before the first one nothing says where to go on, unless one asks what the latest is."""
        return self.channel == "trades" and self._after is None

    def start(self, sequence: int) -> None:
        if self.needs_start:
            self._after = sequence

    def begin_anew(self) -> None:
        """What came after the position is no longer to be had."""
        self._after = self._after_index = None
        self._is_whole = False

    def is_mine(self, message: Message) -> bool:
        if message.channel != self.channel:
            return False
        match message:
            case BookSnapshot() | BookChange():
                return message.symbol == self.fields["symbol"] and message.levels == self.fields.get("levels")
            case CandleMessage():
                return (message.symbol, message.interval) == (self.fields["symbol"], self.fields["interval"])
            case OrderUpdate():
                return self.fields.get("account") in (None, message.order.account)
            case OrdersSnapshot():
                account = self.fields.get("account")
                return account is None or message.accounts == [account]
            case TradeMessage():
                return self.fields.get("symbol") in (None, message.trade.symbol)
            case _:
                return self.fields.get("symbol") in (None, message.symbol)

    def take(self, message: Message) -> bool:
        """False when something before it is missing: it counts for nothing, and one must subscribe again."""
        match message:
            case BookSnapshot():
                self._book_sequence = message.last_sequence
            case BookChange():
                if self._book_sequence is None or message.first_sequence != self._book_sequence + 1:
                    return False
                self._book_sequence = message.last_sequence
            case TradeMessage():
                self._after = message.trade.sequence
            case OrdersSnapshot():
                self._after, self._after_index = message.sequence, None
                self._is_whole = not message.more
            case OrderUpdate():
                self._after, self._after_index = message.sequence, message.index
            case _:
                pass
        return True

    @property
    def has_begun(self) -> bool:
        """Of a book: whether there is a snapshot that changes can follow."""
        return self._book_sequence is not None

    def passed(self, sequence: int) -> None:
        """Everything up to this journal sequence has come."""
        if self.channel == "orders" and self._is_whole and sequence >= (self._after or 0):
            self._after, self._after_index = sequence, None
