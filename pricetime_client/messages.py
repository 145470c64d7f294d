"""What the streams say, as structs, and how a message becomes one. Pure."""

from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Raw, Struct

from pricetime_client.views import Candle, Instrument, Level, Order, Problem, Ticker, Trade

Channel = Literal["trades", "book", "ticker", "candles", "orders", "status"]


class TradeMessage(Struct, frozen=True, kw_only=True):
    channel: Literal["trades"]
    type: Literal["update"]
    trade: Trade


class BookSnapshot(Struct, frozen=True, kw_only=True):
    """Replaces whatever one has."""

    channel: Literal["book"]
    type: Literal["snapshot"]
    symbol: str
    levels: int | None
    last_sequence: int
    bids: list[Level]
    asks: list[Level]


class BookChange(Struct, frozen=True, kw_only=True):
    """New quantities of price levels; 0 removes the level."""

    channel: Literal["book"]
    type: Literal["change"]
    symbol: str
    levels: int | None
    first_sequence: int
    last_sequence: int
    bids: list[Level]
    asks: list[Level]


class TickerMessage(Struct, frozen=True, kw_only=True):
    channel: Literal["ticker"]
    type: Literal["update"]
    symbol: str
    ticker: Ticker


class CandleMessage(Struct, frozen=True, kw_only=True):
    """Replaces what was said before of the same `open_time`."""

    channel: Literal["candles"]
    type: Literal["update"]
    symbol: str
    interval: str
    sequence: int
    candle: Candle


class StatusMessage(Struct, frozen=True, kw_only=True):
    channel: Literal["status"]
    type: Literal["update"]
    symbol: str
    sequence: int
    instrument: Instrument


class OrdersSnapshot(Struct, frozen=True, kw_only=True):
    """The open orders, oldest first: replaces whatever one has. `more`: another part of it follows."""

    channel: Literal["orders"]
    type: Literal["snapshot"]
    sequence: int
    accounts: list[str] | None
    orders: list[Order]
    more: bool


class OrderUpdate(Struct, frozen=True, kw_only=True):
    """One thing that happened to one order, and the order after it."""

    channel: Literal["orders"]
    type: Literal["update"]
    sequence: int
    index: int
    event: str
    order: Order
    trade: Trade | None
    priority_kept: bool | None


Message = (
    TradeMessage
    | BookSnapshot
    | BookChange
    | TickerMessage
    | CandleMessage
    | StatusMessage
    | OrdersSnapshot
    | OrderUpdate
)


class Heartbeat(Struct, frozen=True, kw_only=True):
    """Everything up to the journal sequence has been sent."""

    type: Literal["heartbeat"]
    time: datetime
    sequence: int


class GoingAway(Struct, frozen=True, kw_only=True):
    type: Literal["going_away"]
    reconnect_after_ms: int


class Subscribed(Struct, frozen=True, kw_only=True):
    type: Literal["subscribed"]
    id: int
    sequence: int


class Answered(Struct, frozen=True, kw_only=True):
    """What became of a request about orders. `body`: its JSON as REST would have had it."""

    id: int
    sequence: int
    body: bytes


class Failed(Struct, frozen=True, kw_only=True):
    """Without an `id` the whole connection is meant."""

    type: Literal["error"]
    problem: Problem
    id: int | None = None


Heard = Message | Heartbeat | GoingAway | Subscribed | Answered | Failed


class _Envelope(Struct, frozen=True):
    type: str = ""
    channel: str = ""


class _Answer(Struct, frozen=True):
    id: int
    sequence: int = 0
    order: Raw = Raw(b"")


_envelope = msgspec.json.Decoder(_Envelope)
_answer = msgspec.json.Decoder(_Answer)
ANSWERS = ("placed", "amended", "canceled", "canceled_all", "batch", "cancel_all_after", "cancel_on_disconnect")
_decoders: dict[tuple[str, str], msgspec.json.Decoder[Heard]] = {
    ("trades", "update"): msgspec.json.Decoder(TradeMessage),
    ("book", "snapshot"): msgspec.json.Decoder(BookSnapshot),
    ("book", "change"): msgspec.json.Decoder(BookChange),
    ("ticker", "update"): msgspec.json.Decoder(TickerMessage),
    ("candles", "update"): msgspec.json.Decoder(CandleMessage),
    ("status", "update"): msgspec.json.Decoder(StatusMessage),
    ("orders", "snapshot"): msgspec.json.Decoder(OrdersSnapshot),
    ("orders", "update"): msgspec.json.Decoder(OrderUpdate),
    ("", "heartbeat"): msgspec.json.Decoder(Heartbeat),
    ("", "going_away"): msgspec.json.Decoder(GoingAway),
    ("", "subscribed"): msgspec.json.Decoder(Subscribed),
    ("", "error"): msgspec.json.Decoder(Failed),
}


def heard(text: str | bytes) -> Heard | None:
    """None for what a newer exchange says, which nobody here asked for."""
    envelope = _envelope.decode(text)
    if not envelope.channel and envelope.type in ANSWERS:
        return _answered(text)
    decoder = _decoders.get((envelope.channel, envelope.type))
    return None if decoder is None else decoder.decode(text)


def _answered(text: str | bytes) -> Answered:
    """An order is within its answer; what else there is, is beside the envelope."""
    answer = _answer.decode(text)
    whole = text.encode() if isinstance(text, str) else text
    return Answered(id=answer.id, sequence=answer.sequence, body=bytes(answer.order) or whole)
