"""What is said at /ws, and on accounts.<account>.orders: every message of the server as a struct.

docs/asyncapi.json is made from these, and docs/streams.md explains them.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from broadcaster.orders import OpenOrder, OrderChange, OrderEvent
from contracts.views import (
    CandleView,
    Instrument,
    InstrumentView,
    MarketView,
    OrderView,
    TradeView,
    format_time,
    order_view,
    trade_view,
)
from entry.problems import ProblemView
from entry.views import BatchItemView

Level = tuple[str, str]

encode = msgspec.json.Encoder().encode


class TradeMessage(Struct, frozen=True, kw_only=True):
    channel: Literal["trades"] = "trades"
    type: Literal["update"] = "update"
    trade: TradeView


class BookSnapshot(Struct, frozen=True, kw_only=True):
    """The whole book, or its best `levels`: it replaces whatever the client had. `bids` and `asks` best first."""

    channel: Literal["book"] = "book"
    type: Literal["snapshot"] = "snapshot"
    symbol: str
    levels: int | None
    last_sequence: int
    bids: list[Level]
    asks: list[Level]


class BookChange(Struct, frozen=True, kw_only=True):
    """New quantities of price levels; "0" removes the level. Follows when `first_sequence` is the last
    `last_sequence` + 1."""

    channel: Literal["book"] = "book"
    type: Literal["change"] = "change"
    symbol: str
    levels: int | None
    first_sequence: int
    last_sequence: int
    bids: list[Level]
    asks: list[Level]


class TickerMessage(Struct, frozen=True, kw_only=True):
    channel: Literal["ticker"] = "ticker"
    type: Literal["update"] = "update"
    symbol: str
    ticker: MarketView


class CandleMessage(Struct, frozen=True, kw_only=True):
    """The candle as it is after the commit `sequence`; a later message about the same `open_time` replaces it."""

    channel: Literal["candles"] = "candles"
    type: Literal["update"] = "update"
    symbol: str
    interval: str
    sequence: int
    candle: CandleView


class StatusMessage(Struct, frozen=True, kw_only=True):
    channel: Literal["status"] = "status"
    type: Literal["update"] = "update"
    symbol: str
    sequence: int
    instrument: InstrumentView


class OrdersSnapshot(Struct, frozen=True, kw_only=True):
    """The open orders after the commit `sequence`, oldest first. `more`: another part of the same snapshot follows."""

    channel: Literal["orders"] = "orders"
    type: Literal["snapshot"] = "snapshot"
    sequence: int
    accounts: list[str] | None
    orders: list[OrderView]
    more: bool


class OrderUpdate(Struct, frozen=True, kw_only=True):
    """One thing that happened to one order, and the order after it.

    `index` counts the updates of the commit `sequence`, over all accounts: both together order all updates.
    """

    channel: Literal["orders"] = "orders"
    type: Literal["update"] = "update"
    sequence: int
    index: int
    event: OrderEvent
    order: OrderView
    trade: TradeView | None
    priority_kept: bool | None
    """Of an amendment."""


class Heartbeat(Struct, frozen=True, kw_only=True):
    """Everything up to the journal sequence has been sent on every subscription of this connection."""

    type: Literal["heartbeat"] = "heartbeat"
    time: str
    sequence: int


class GoingAway(Struct, frozen=True, kw_only=True):
    """The broadcaster stops in a moment; the connection is closed with 1001 then."""

    type: Literal["going_away"] = "going_away"
    reconnect_after_ms: int
    sequence: int


RequestId = int | str | UnsetType


class Subscription(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a client is subscribed to. `subscription` is its number on this connection."""

    subscription: int
    channel: str
    symbol: str | None = None
    interval: str | None = None
    levels: int | None = None
    account: str | None = None


class Subscribed(Struct, frozen=True, kw_only=True):
    id: RequestId = UNSET
    type: Literal["subscribed"] = "subscribed"
    subscription: Subscription
    sequence: int
    """The journal sequence from which on it is live."""


class Unsubscribed(Struct, frozen=True, kw_only=True):
    id: RequestId = UNSET
    type: Literal["unsubscribed"] = "unsubscribed"
    subscription: Subscription


class Subscriptions(Struct, frozen=True, kw_only=True):
    id: RequestId = UNSET
    type: Literal["subscriptions"] = "subscriptions"
    subscriptions: list[Subscription]


class Pong(Struct, frozen=True, kw_only=True):
    id: RequestId = UNSET
    type: Literal["pong"] = "pong"
    time: str


class Authenticated(Struct, frozen=True, kw_only=True):
    id: RequestId = UNSET
    type: Literal["authenticated"] = "authenticated"
    key_id: str
    scopes: list[str]
    accounts: list[str] | None
    """None: every account."""


class CancelOnDisconnect(Struct, frozen=True, kw_only=True):
    id: RequestId = UNSET
    type: Literal["cancel_on_disconnect"] = "cancel_on_disconnect"
    enabled: bool


class OrderAnswer(Struct, frozen=True, kw_only=True):
    """The order as REST would have answered it."""

    id: RequestId = UNSET
    type: Literal["placed", "amended", "canceled"]
    order: OrderView
    sequence: int
    replayed: bool
    """True: this is the first answer again, to an order that was sent before."""


class BatchAnswer(Struct, frozen=True, kw_only=True):
    """What REST answers to a batch: a result for each item, in their order."""

    id: RequestId = UNSET
    type: Literal["batch"] = "batch"
    items: list[BatchItemView]
    sequence: int
    replayed: bool


class CanceledAll(Struct, frozen=True, kw_only=True):
    id: RequestId = UNSET
    type: Literal["canceled_all"] = "canceled_all"
    canceled: int
    sequence: int


class CanceledAllAfter(Struct, frozen=True, kw_only=True):
    """When the account's dead-man's switch goes off; null: it is disarmed."""

    id: RequestId = UNSET
    type: Literal["cancel_all_after"] = "cancel_all_after"
    account: str
    deadline: str | None
    sequence: int


class ErrorMessage(Struct, frozen=True, kw_only=True):
    """The request `id` was not done; without an id, what is wrong with the connection."""

    id: RequestId = UNSET
    type: Literal["error"] = "error"
    problem: ProblemView


def order_update(change: OrderChange, instrument: Instrument) -> OrderUpdate:
    return OrderUpdate(
        sequence=change.sequence,
        index=change.index,
        event=change.event,
        order=order_view(
            change.order,
            instrument,
            status=change.status,
            reason=change.reason,
            updated_at=change.time,
            sequence=change.sequence,
        ),
        trade=None if change.trade is None else trade_view(change.trade, instrument, change.time),
        priority_kept=change.priority_kept,
    )


def open_order_view(order: OpenOrder, instrument: Instrument) -> OrderView:
    return order_view(
        order.order, instrument, status=order.status, reason=None, updated_at=order.time, sequence=order.sequence
    )


def heartbeat(time: int, sequence: int) -> bytes:
    return encode(Heartbeat(time=format_time(time), sequence=sequence))


def wrapped_trade(trade: bytes) -> bytes:
    """A TradeMessage around the JSON of its trade, which is encoded already."""
    return b'{"channel":"trades","type":"update","trade":' + trade + b"}"


def sides(instrument: Instrument, levels: dict[int, int]) -> tuple[list[Level], list[Level]]:
    """Bids and asks, best first, of levels by key (asks by price, bids by negated price)."""
    price_of, quantity_of = instrument.tick.format, instrument.lot.format
    bids, asks = [], []
    for key in sorted(levels):
        quantity = levels[key]
        written = quantity_of(quantity) if quantity else "0"
        if key < 0:
            bids.append((price_of(-key), written))
        else:
            asks.append((price_of(key), written))
    return bids, asks


def accounts_listed(accounts: Sequence[str] | None) -> list[str] | None:
    return None if accounts is None else list(accounts)
